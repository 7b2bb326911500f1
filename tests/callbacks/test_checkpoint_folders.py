"""A folder of checkpoints is for one run and one process; disks may be full."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from checkpoints import (
    assert_same,
    everything,
    hooks,
    names,
    pretend,
    small_model,
    weights_of,
)

import keras_ltssl as lt
from keras_ltssl.callbacks import resumable_checkpoint

# A folder that holds a run already.


def test_an_earlier_run_is_not_replaced_without_restoring_it(folder):
    before = sorted(folder.rglob("*"))
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    with pytest.raises(
        ValueError, match=r"holds a run of 3 epochs: call `restore\(model\)`"
    ):
        pretend(small_model(), checkpoint, 1)
    assert sorted(folder.rglob("*")) == before
    model = small_model()
    assert checkpoint.restore(model) == 3
    pretend(model, checkpoint, 4, start=3)
    assert names(folder) == ["epoch-000003", "epoch-000004"]


@pytest.mark.every_backend
def test_a_second_fit_of_the_same_callback_goes_on_with_its_run(tmp_path):
    model = small_model()
    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)

    def fit(**arguments):
        model.fit(x, verbose=0, callbacks=[checkpoint], **arguments)

    fit(epochs=2)
    fit(epochs=4, initial_epoch=2)
    assert names(tmp_path) == ["epoch-000003", "epoch-000004"]
    # Keras begins to count anew, so what is newest has a lower number.
    fit(epochs=1)
    assert names(tmp_path) == ["epoch-000001"]
    other = small_model()
    assert lt.callbacks.ResumableCheckpoint(tmp_path).restore(other) == 1
    assert_same(weights_of(other), weights_of(model))


def test_an_epoch_that_is_trained_once_more_replaces_its_checkpoint(tmp_path):
    model = small_model()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    pretend(model, checkpoint, 3)
    before = weights_of(model)
    pretend(model, checkpoint, 3, start=2)
    assert names(tmp_path) == ["epoch-000002", "epoch-000003"]
    other = small_model()
    lt.callbacks.ResumableCheckpoint(tmp_path).restore(other)
    assert_same(everything(other), everything(model))
    assert (before[0] != weights_of(other)[0]).any()
    assert not (tmp_path / "replaced").exists()


def test_going_on_at_another_epoch_than_was_restored_is_refused(folder):
    model = small_model()
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    checkpoint.restore(model)
    with pytest.raises(ValueError, match="pass `initial_epoch=3`"):
        pretend(model, checkpoint, 5)


def test_what_was_restored_into_another_model_is_no_leave_to_train(folder):
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    checkpoint.restore(small_model())
    with pytest.raises(ValueError, match="holds a run of 3 epochs"):
        pretend(small_model(), checkpoint, 4, start=3)


def test_a_run_that_has_gone_on_since_it_was_restored_is_kept(folder):
    one, other = small_model(), small_model()
    late, soon = (lt.callbacks.ResumableCheckpoint(folder) for _ in range(2))
    late.restore(one)
    soon.restore(other)
    pretend(other, soon, 5, start=3)
    with pytest.raises(ValueError, match="holds a run of 5 epochs"):
        pretend(one, late, 4, start=3)
    assert names(folder) == ["epoch-000004", "epoch-000005"]


def test_foreign_files_of_a_like_name_stay(folder):
    foreign = [
        folder / "epoch-000001.txt",
        folder / "epoch-000099" / "photo.png",
        folder / "epoch-1" / "weights.npz",
        folder / "epoch-000002" / "notes.txt",
        folder / "unfinished.txt",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    checkpoint, model = lt.callbacks.ResumableCheckpoint(folder), small_model()
    assert checkpoint.restore(model) == 3
    pretend(model, checkpoint, 5, start=3)
    assert all(path.read_text() == "mine" for path in foreign)
    assert [p.name for p in (folder / "epoch-000002").iterdir()] == [
        "notes.txt"
    ]
    assert not (folder / "epoch-000003").exists()
    again = lt.callbacks.ResumableCheckpoint(folder)
    assert again.restore(small_model()) == 5


def test_checkpoints_of_another_run_stay(folder, tmp_path):
    model = small_model()
    pretend(model, lt.callbacks.ResumableCheckpoint(tmp_path / "other"), 1)
    shutil.copytree(
        tmp_path / "other" / "epoch-000001", folder / "epoch-000001"
    )
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    checkpoint.restore(model)
    pretend(model, checkpoint, 5, start=3)
    assert names(folder) == ["epoch-000001", "epoch-000004", "epoch-000005"]


@pytest.mark.parametrize("name", ["epoch-000002", "unfinished"])
def test_foreign_files_in_the_way_are_named_before_training(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "photo.png").write_text("mine")
    with pytest.raises(
        ValueError, match=f"{name} has the name of a checkpoint"
    ):
        pretend(small_model(), lt.callbacks.ResumableCheckpoint(tmp_path), 3)
    assert (tmp_path / name / "photo.png").read_text() == "mine"


# Two trainings at once.

HOLDER = """
import sys
import keras
import keras_ltssl as lt
checkpoint = lt.callbacks.ResumableCheckpoint(sys.argv[1])
checkpoint.set_model(keras.Sequential([keras.Input((1,))]))
checkpoint.on_train_begin()
print("training", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_another_process_trains_in_is_refused(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "training\n"
        model, checkpoint = (
            small_model(),
            lt.callbacks.ResumableCheckpoint(tmp_path),
        )
        with pytest.raises(
            ValueError,
            match=f"in use: another training of process {process.pid}",
        ) as e:
            pretend(model, checkpoint, 1)
        assert str(tmp_path) in str(e.value)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    pretend(model, checkpoint, 1)
    assert names(tmp_path) == ["epoch-000001"]


def test_two_callbacks_of_one_fit_need_two_folders(tmp_path):
    callbacks = [lt.callbacks.ResumableCheckpoint(tmp_path) for _ in range(2)]
    with pytest.raises(ValueError, match=rf"of this process \({os.getpid()}\)"):
        hooks(small_model(), callbacks, 1).on_train_begin()


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_not_damaged(
    folder, monkeypatch
):
    read = resumable_checkpoint.read_checkpoint

    def read_slowly(path):
        if path.name == "epoch-000003":  # A run that trains is faster.
            path.rename(folder / "epoch-000004")
            manifest = folder / "epoch-000004" / "manifest.json"
            text = manifest.read_text()
            manifest.write_text(text.replace('"epoch": 3', '"epoch": 4'))
        return read(path)

    monkeypatch.setattr(resumable_checkpoint, "read_checkpoint", read_slowly)
    assert lt.callbacks.ResumableCheckpoint(folder).restore(small_model()) == 4


def test_all_processes_stop_when_the_first_one_cannot_write(
    tmp_path, monkeypatch
):
    processes = resumable_checkpoint.processes
    says = ["disk is full", None, 0, False]  # And which run it trains.
    monkeypatch.setattr(processes, "process", lambda model: (1, 2))
    monkeypatch.setattr(processes, "of_first", lambda value, model: says)
    model = small_model()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path / "run")
    with pytest.raises(ValueError, match="first process has stopped: disk is"):
        pretend(model, checkpoint, 1)
    says[0] = None
    pretend(model, checkpoint, 1)
    assert not (tmp_path / "run").exists()


def test_a_fit_in_another_thread_needs_another_folder(tmp_path):
    model = small_model()
    hold, done = threading.Event(), threading.Event()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)

    def train():
        fit = hooks(model, [checkpoint], 1)
        fit.on_train_begin()
        hold.set()
        done.wait(60)

    thread = threading.Thread(target=train)
    thread.start()
    assert hold.wait(60)
    other = lt.callbacks.ResumableCheckpoint(tmp_path)
    try:
        with pytest.raises(ValueError, match="in use: another training of"):
            pretend(small_model(), other, 1)
    finally:
        done.set()
        thread.join()
    pretend(small_model(), other, 1)  # The thread ended without a word.


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 5:
            raise KeyboardInterrupt


@pytest.mark.every_backend
@pytest.mark.parametrize("with_same", [True, False])
def test_an_interrupted_fit_holds_up_none_after_it(tmp_path, with_same):
    model = small_model()
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    arguments = {"batch_size": 16, "verbose": 0, "shuffle": False}
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, epochs=3, callbacks=[checkpoint, Interrupt()], **arguments)
    # In a notebook the traceback keeps the first one alive.
    again = checkpoint
    if not with_same:
        again = lt.callbacks.ResumableCheckpoint(tmp_path)
    start = again.restore(model)
    assert start == 2
    model.fit(x, epochs=3, initial_epoch=start, callbacks=[again], **arguments)
    assert names(tmp_path) == ["epoch-000002", "epoch-000003"]


# A disk that is full.


def assert_last_one_is_whole(folder):
    assert names(folder) == ["epoch-000002", "epoch-000003"]
    assert not (folder / "unfinished").exists()
    other = lt.callbacks.ResumableCheckpoint(folder)
    assert other.restore(small_model()) == 3


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(folder):
    model, checkpoint = small_model(), lt.callbacks.ResumableCheckpoint(folder)
    checkpoint.restore(model)
    fit = hooks(model, [checkpoint], 4)
    fit.on_train_begin()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as e:
            fit.on_epoch_end(3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{folder / 'epoch-000004'} could not be written" in str(e.value)
    assert "The last one, epoch-000003, stays" in str(e.value)
    assert_last_one_is_whole(folder)


def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(
    three_epochs, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small disk")
    try:
        folder = shutil.copytree(three_epochs, disk / "run")
        model = small_model()
        checkpoint = lt.callbacks.ResumableCheckpoint(folder)
        checkpoint.restore(model)
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - 4096))
        with pytest.raises(
            OSError,
            match=r"No space left on device. It needs \d+ bytes, and \d+",
        ) as e:
            pretend(model, checkpoint, 4, start=3)
        assert f"and {4096} are free" in str(e.value)
        assert str(folder) in str(e.value)
        assert_last_one_is_whole(folder)
        filler.unlink()
        pretend(model, checkpoint, 4, start=3)
        assert names(folder) == ["epoch-000003", "epoch-000004"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
