"""`fit` continues the run in a folder by itself, also after a kill."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from checkpoints import assert_same, everything, names, small_model, weights_of

import keras_ltssl as lt

EPOCHS = 4


def new_model(loss=None):
    keras.utils.set_random_seed(3)
    encoder = keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.3, seed=5),
        ]
    )
    model = lt.models.ContrastiveModel(
        encoder,
        augmenter=lt.layers.TwoViews(lt.layers.RandomResizedCrop(8, 8, seed=1)),
    )
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        loss=loss or lt.losses.TASELoss(0.2, num_prototypes=4, warmup_steps=3),
    )
    return model


def new_batches(batch_size=50):
    images, _ = lt.datasets.load_digits()
    return lt.datasets.ImageBatches(
        images[:150], batch_size=batch_size, seed=2, workers=2
    )


def run(output, *callbacks, model=None, data=None, interval=1, **arguments):
    """Trains as a user does, who starts the same lines after every kill."""
    model = new_model() if model is None else model
    data = new_batches() if data is None else data
    history = model.fit(
        data,
        **{"epochs": EPOCHS, "verbose": 0, **arguments},
        callbacks=[
            *callbacks,
            keras.callbacks.CSVLogger(Path(output) / "log.csv", append=True),
            lt.callbacks.ResumableCheckpoint(
                Path(output) / "checkpoints", interval
            ),
        ],
    )
    return model, history


class Stop(keras.callbacks.Callback):
    """Ends the training in the middle of an epoch."""

    def __init__(self, epoch, act):
        super().__init__()
        self.at, self.act = epoch, act

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.at and batch == 1:
            self.act()


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def killed(output, epoch, interval=1):
    output.mkdir()
    process = subprocess.run(
        [sys.executable, __file__, str(output), str(epoch), str(interval)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]


def log_of(output):
    return (output / "log.csv").read_bytes()


@pytest.fixture
def whole(tmp_path):
    """Trains without disturbance."""
    (tmp_path / "whole").mkdir()
    model, _ = run(tmp_path / "whole")
    return tmp_path / "whole", weights_of(model)


@pytest.fixture
def two_epochs(tmp_path):
    """A folder with a run of two epochs."""
    (tmp_path / "run").mkdir()
    run(tmp_path / "run", epochs=2)
    return tmp_path / "run"


# With an interval of 2, a run that is killed in its fourth epoch has lost the
# third one, which is in the log. With one of 9, there is no checkpoint.
@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("interval", "saved", "trained"),
    [(2, ["epoch-000002"], [2, 3]), (9, [], [0, 1, 2, 3])],
)
def test_the_same_lines_after_a_kill_end_as_an_undisturbed_run(
    tmp_path, whole, interval, saved, trained
):
    killed(tmp_path / "killed", 3, interval)
    assert names(tmp_path / "killed" / "checkpoints") == saved
    assert log_of(tmp_path / "killed").count(b"\n") == 1 + 3
    model, history = run(tmp_path / "killed")
    assert history.epoch == trained
    assert_same(weights_of(model), whole[1])
    assert log_of(tmp_path / "killed") == log_of(whole[0])


# Keras reads the only batches of such data while it looks for their shapes.
@pytest.mark.every_backend
@pytest.mark.parametrize("batch_size", [75, 150])
def test_data_of_one_or_two_batches_goes_on_in_its_own_order(
    tmp_path, batch_size
):
    seen = {}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        seen[name] = []
        for epochs in (3,) if name == "whole" else (1, 2, 3):
            data = new_batches(batch_size)
            note = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs, d=data, n=name: seen[
                    n
                ].append(d.epoch)
            )
            run(tmp_path / name, note, data=data, epochs=epochs)
    assert seen["parts"] == seen["whole"]


@pytest.mark.every_backend
def test_a_finished_run_is_restored_and_not_trained(
    tmp_path, two_epochs, capfd
):
    before = log_of(two_epochs)
    model, history = run(two_epochs, epochs=2, verbose=2)
    assert (history.epoch, history.history) == ([], {})
    assert model.history is history
    said = capfd.readouterr().out
    assert "has all 2 epochs already, so there is nothing left" in said
    assert str(two_epochs / "checkpoints") in said
    assert log_of(two_epochs) == before
    other = new_model()
    other.build((None, 8, 8, 1))
    lt.callbacks.ResumableCheckpoint(two_epochs / "checkpoints").restore(other)
    assert_same(everything(model), everything(other))
    # The folder is free again, also for longer training.
    _, history = run(two_epochs, epochs=3)
    assert history.epoch == [2]


def test_a_finished_run_keeps_a_log_that_fit_would_begin_anew(two_epochs):
    before = log_of(two_epochs)
    model = new_model()
    model.fit(
        new_batches(),
        epochs=2,
        verbose=0,
        callbacks=[
            keras.callbacks.CSVLogger(two_epochs / "log.csv"),
            lt.callbacks.ResumableCheckpoint(two_epochs / "checkpoints"),
        ],
    )
    assert log_of(two_epochs) == before


def test_it_says_that_a_run_is_continued_unless_asked_not_to(two_epochs, capfd):
    run(two_epochs, epochs=3, verbose=2)
    assert "checkpoints: 2 of 3 epochs are done" in capfd.readouterr().out
    run(two_epochs, epochs=4, verbose=0)
    assert capfd.readouterr().out == ""
    run(two_epochs, epochs=2, verbose=2)
    assert "has 4 epochs already" in capfd.readouterr().out


def test_another_first_epoch_is_refused_before_anything_changes(two_epochs):
    model = new_model()
    model.build((None, 8, 8, 1))
    before, log = everything(model), log_of(two_epochs)
    for epoch in (0, 1, 3):
        with pytest.raises(
            ValueError,
            match=rf"run of 2 epochs.*initial_epoch=2.*initial_epoch={epoch}",
        ):
            run(two_epochs, model=model, initial_epoch=epoch)
    assert_same(everything(model), before)
    assert log_of(two_epochs) == log
    _, history = run(two_epochs, model=model, initial_epoch=2)
    assert history.epoch == [2, 3]


def test_a_run_of_another_loss_is_not_continued(two_epochs):
    model = new_model(lt.losses.NTXentLoss(0.2))
    with pytest.raises(
        ValueError, match="loss was 'TASELoss' and is 'NTXentLoss'"
    ):
        run(two_epochs, model=model)
    assert names(two_epochs / "checkpoints") == ["epoch-000001", "epoch-000002"]
    run(two_epochs, epochs=3)  # The folder is not locked.


def test_with_resume_false_a_folder_that_holds_a_run_is_refused(two_epochs):
    log = log_of(two_epochs)
    checkpoint = lt.callbacks.ResumableCheckpoint(
        two_epochs / "checkpoints", resume=False
    )
    logger = keras.callbacks.CSVLogger(two_epochs / "log.csv", append=True)
    model = new_model()
    arguments = {"epochs": 3, "verbose": 0, "callbacks": [checkpoint, logger]}
    with pytest.raises(ValueError, match=r"call `restore\(model\)` first"):
        model.fit(new_batches(), **arguments)
    assert log_of(two_epochs) == log
    checkpoint.restore(model)
    assert model.fit(new_batches(), **arguments).epoch == [2]


@pytest.mark.every_backend
def test_the_fit_of_another_keras_model_is_refused_as_it_was(tmp_path):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.01), loss="mse")
    x = np.zeros((8, 3), "float32")

    def fit(epochs, initial_epoch=0, restores=False):
        checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
        if restores:
            assert checkpoint.restore(model) == initial_epoch
        model.fit(
            x,
            x[:, :2],
            epochs=epochs,
            initial_epoch=initial_epoch,
            verbose=0,
            callbacks=[checkpoint],
        )

    fit(1)
    with pytest.raises(ValueError, match=r"call `restore\(model\)` first"):
        fit(2)
    fit(2, initial_epoch=1, restores=True)
    assert names(tmp_path) == ["epoch-000001", "epoch-000002"]


@pytest.mark.every_backend
@pytest.mark.parametrize("with_same", [True, False])
def test_an_interrupted_cell_of_a_notebook_goes_on_when_run_again(
    tmp_path, whole, with_same
):
    model, data = new_model(), new_batches()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    arguments = {"epochs": EPOCHS, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, callbacks=[checkpoint, Stop(2, interrupt)], **arguments)
    if not with_same:
        checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    history = model.fit(data, callbacks=[checkpoint], **arguments)
    assert history.epoch == [2, 3]
    assert_same(weights_of(model), whole[1])


def test_a_run_that_was_restored_by_hand_needs_no_initial_epoch(
    two_epochs, whole
):
    model, data = new_model(), new_batches()
    model.build((None, 8, 8, 1))
    checkpoint = lt.callbacks.ResumableCheckpoint(two_epochs / "checkpoints")
    checkpoint.restore(model)
    model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[checkpoint])
    assert_same(weights_of(model), whole[1])


def test_data_that_is_ahead_of_keras_goes_on_with_its_own_next_epoch(tmp_path):
    model, data = new_model(), new_batches()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    model.fit(data, epochs=2, verbose=0, callbacks=[checkpoint])
    # Keras begins to count anew, and the data goes on.
    model.fit(data, epochs=1, verbose=0, callbacks=[checkpoint])
    assert data.epoch == 3
    data = new_batches()
    again = lt.callbacks.ResumableCheckpoint(tmp_path)
    history = new_model().fit(data, epochs=2, verbose=0, callbacks=[again])
    assert history.epoch == [1]
    assert data.epoch == 4


def test_a_callback_whose_state_is_not_saved_is_named(tmp_path):
    sampler = keras.callbacks.Callback()
    sampler.get_state, sampler.set_state = dict, lambda arrays: None
    with pytest.warns(UserWarning, match="not hold the state of Callback"):
        run(tmp_path, sampler, epochs=1)
    checkpoint = lt.callbacks.ResumableCheckpoint(
        tmp_path / "other", callbacks=[sampler]
    )
    new_model().fit(new_batches(), verbose=0, callbacks=[sampler, checkpoint])


class Pairs(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        images, _ = lt.datasets.load_digits()
        return images[20 * index : 20 * index + 20]


@pytest.mark.parametrize(
    "data",
    [
        lambda: lt.datasets.load_digits()[0][:60],
        lambda: keras.ops.convert_to_tensor(lt.datasets.load_digits()[0][:60]),
        Pairs,
    ],
    ids=["array", "tensor", "PyDataset"],
)
def test_the_model_builds_itself_from_what_it_trains_on(tmp_path, data):
    run(tmp_path, data=data(), epochs=1)
    model, history = run(tmp_path, data=data(), epochs=2)
    assert history.epoch == [1]
    assert model.built


def test_a_generator_cannot_build_a_model_and_an_error_says_so(tmp_path):
    images = lt.datasets.load_digits()[0][:60]

    def batches():
        while True:
            yield (images,)

    arguments = {"steps_per_epoch": 1, "shuffle": False}
    run(tmp_path, data=batches(), epochs=1, **arguments)
    with pytest.raises(ValueError, match="must be built and compiled before"):
        run(tmp_path, data=batches(), epochs=2, **arguments)


def test_a_folder_in_use_is_left_alone_with_its_log(two_epochs):
    log = two_epochs / "log.csv"
    with open(log, "ab") as file:
        file.write(b"2,1.0,1.0\r\n")  # The other training has just logged it.
    before = log.read_bytes()
    hold, done = threading.Event(), threading.Event()
    checkpoint = lt.callbacks.ResumableCheckpoint(two_epochs / "checkpoints")
    model = new_model()
    model.build((None, 8, 8, 1))
    checkpoint.restore(model)

    def train():
        checkpoint.on_train_begin()
        hold.set()
        done.wait(60)

    thread = threading.Thread(target=train)
    thread.start()
    assert hold.wait(60)
    try:
        with pytest.raises(ValueError, match="in use: another training of"):
            run(two_epochs)
    finally:
        done.set()
        thread.join()
    assert log.read_bytes() == before


def test_two_callbacks_of_one_fit_still_need_two_folders(two_epochs):
    other = lt.callbacks.ResumableCheckpoint(two_epochs / "checkpoints")
    with pytest.raises(ValueError, match="in use: another training of this"):
        run(two_epochs, other)


def test_every_process_must_find_what_the_first_one_finds(
    two_epochs, monkeypatch
):
    processes = lt.callbacks.resumable_checkpoint.processes

    def first(value, model):
        # It does not fail, and finds no checkpoint.
        return value if isinstance(value, tuple) else None

    monkeypatch.setattr(processes, "of_first", first)
    with pytest.raises(ValueError, match="this process finds epoch 2"):
        run(two_epochs)


# What is in a log.


def small_run(output, epochs=2):
    """Trains a model that compiles fast; returns the rows of its log."""
    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    run(output, model=small_model(), data=x, epochs=epochs)
    return (output / "log.csv").read_text().splitlines()


def epochs_of(rows):
    return [row.split(",")[0] for row in rows]


def append(output, text):
    with open(output / "log.csv", "a", newline="") as file:
        file.write(text)


def test_rows_of_other_runs_in_the_same_log_stay(tmp_path):
    append(tmp_path, "epoch,loss,val_loss\r\n0,9.0,NA\r\n7,9.0,NA\r\n")
    small_run(tmp_path)
    append(tmp_path, "2,5.0,NA\r\n3,5.0,NA\r\n")  # Lost.
    rows = small_run(tmp_path, epochs=3)
    assert epochs_of(rows) == ["epoch", "0", "7", "0", "1", "2"]
    assert "5.0" not in "".join(rows)


def test_a_row_that_a_kill_has_torn_is_dropped(tmp_path):
    small_run(tmp_path)
    append(tmp_path, "1")  # The beginning of row 12.
    assert epochs_of(small_run(tmp_path, 3)) == ["epoch", "0", "1", "2"]


def test_a_log_that_this_run_has_not_written_is_left_as_it_is(tmp_path):
    small_run(tmp_path)
    (tmp_path / "log.csv").unlink()
    (tmp_path / "checkpoints" / "logs.json").unlink()
    append(tmp_path, "epoch,loss,val_loss\r\n7,9.0,NA\r\n")
    assert epochs_of(small_run(tmp_path, 3)) == ["epoch", "7", "2"]


def test_a_log_goes_with_its_run_to_another_place(tmp_path):
    (tmp_path / "here").mkdir()
    small_run(tmp_path / "here")
    append(tmp_path / "here", "2,5.0,NA\r\n")
    (tmp_path / "here").rename(tmp_path / "there")
    rows = small_run(tmp_path / "there", 3)
    assert epochs_of(rows) == ["epoch", "0", "1", "2"]
    assert "5.0" not in "".join(rows)


def test_a_second_fit_of_one_process_loses_no_rows(tmp_path):
    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    model = small_model()
    callbacks = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True),
        lt.callbacks.ResumableCheckpoint(tmp_path),
    ]
    for _ in range(2):
        model.fit(x, epochs=2, verbose=0, callbacks=callbacks)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert epochs_of(rows) == ["epoch", "0", "1", "0", "1"]


if __name__ == "__main__":
    import on_gpu  # noqa: F401  As in the process that resumes the run.

    _, folder, epoch, interval = sys.argv
    run(folder, Stop(int(epoch), kill), interval=int(interval))
