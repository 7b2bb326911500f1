"""`keras-ltssl pretrain` on a folder of photos, and its run folder."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.command.run_folder import RunFolder

# As in the fixture `pretrain`.
FLAGS = ["--image_size=16", "--batch_size=16", "--epochs=2"]


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_file(name="run"):
    with open(f"{name}/run.json", encoding="utf-8") as file:
        return json.load(file)


def as_process(folder, *arguments):
    """Starts the command as a user does, in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "keras_ltssl", "pretrain", "photos", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_for(pattern, folder, process):
    deadline = time.monotonic() + 300
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.every_backend
def test_a_folder_of_photos_becomes_an_encoder_and_features(photos, pretrain):
    code, told, _ = pretrain()
    assert code == 0
    assert "Found 24 images" in told
    assert "Training simclr plain on 24 images" in told
    assert "epoch 2 of 2, loss" in told

    settings = run_file()
    assert settings["directory"] == str(photos.resolve())
    assert settings["image_size"] == [16, 16]
    assert settings["backend"] == keras.backend.backend()
    assert settings["num_images"] == settings["num_files"] == 24
    assert settings["skipped"] == []
    assert settings["seconds"] > 0
    images = rows_of("run/images.csv")
    assert [row["path"] for row in images] == sorted(
        path.relative_to(photos).as_posix() for path in photos.rglob("*.png")
    )
    assert {row["label"] for row in images} == {""}
    history = rows_of("run/history.csv")
    assert len(history) == 2
    assert all(float(row["effective_rank"]) > 1 for row in history)
    assert all(float(row["contrastive_accuracy"]) >= 0 for row in history)

    assert "Written: " in told
    assert Path("run/report.html").stat().st_size > 10_000

    encoder = keras.saving.load_model("run/encoder.keras")
    features = np.load("run/features.npy")
    assert features.dtype == np.float32
    assert features.shape == (24, encoder.output_shape[-1])
    clean = lt.datasets.read_images(
        [photos / row["path"] for row in images], image_size=(16, 16)
    )
    expected = encoder.predict(clean, verbose=0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_killed_and_started_again_it_ends_as_if_nothing_had_been(
    photos, tmp_path, pretrain, monkeypatch
):
    assert pretrain("--output=whole", "--epochs=6")[0] == 0
    process = as_process(tmp_path, *FLAGS, "--output=killed", "--epochs=6")
    wait_for("killed/checkpoints/epoch-00000[2-5]", tmp_path, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "features.npy").exists()

    code, told, _ = pretrain("--output=killed", "--epochs=6")
    assert code == 0
    assert " of 6 epochs" in told
    np.testing.assert_array_equal(
        np.load("killed/features.npy"), np.load("whole/features.npy")
    )
    assert rows_of("killed/history.csv") == rows_of("whole/history.csv")


def test_a_finished_run_is_not_trained_again(finished, pretrain):
    before = np.load("run/features.npy")
    seconds = run_file()["seconds"]
    code, told, _ = pretrain()
    assert code == 0
    assert "after 2 of 2 epochs" in told
    assert "loss" not in told
    np.testing.assert_array_equal(np.load("run/features.npy"), before)
    assert run_file()["seconds"] == seconds


def test_stopped_it_says_how_to_go_on(photos, tmp_path):
    process = as_process(tmp_path, *FLAGS, "--epochs=9999")
    wait_for("run/checkpoints/epoch-*", tmp_path, process)
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert told.splitlines()[-1].startswith("Stopped by SIGTERM. ")
    assert told.splitlines()[-1].endswith(
        " of 9999 epochs are saved in run. To go on, enter the same command "
        "again."
    )


def test_bad_files_are_left_out_and_listed(photos, pretrain):
    (photos / "empty.png").write_bytes(b"")
    (photos / "fox" / "text.jpg").write_text("a fox")
    code, _, told = pretrain()
    assert code == 0
    assert "2 of 26 images in 'photos' cannot be read" in told
    assert "They are left out. run/run.json lists them." in told
    settings = run_file()
    assert (settings["num_files"], settings["num_images"]) == (26, 24)
    assert [
        (each["path"], bool(each["reason"])) for each in settings["skipped"]
    ] == [("empty.png", True), ("fox/text.jpg", True)]


@pytest.mark.parametrize(
    "flags",
    [
        [
            *("--framework=moco", "--method=focal+ts", "--optimizer=sgd"),
            *("--color_mode=grayscale", "--nohorizontal_flip"),
        ],
        ["--framework=byol", "--method=bcl+gh"],
        [
            *("--framework=sdclr", "--method=tase"),
            *("--precision=mixed_bfloat16", "--image_size=12x20"),
        ],
        ["--backbone=mobilenet", "--image_size=32", "--epochs=1"],
    ],
    ids=["moco", "byol", "sdclr", "mobilenet"],
)
def test_each_flag_trains(photos, pretrain, flags):
    policy = keras.config.dtype_policy()
    code, _, told = pretrain(*flags)
    assert code == 0, told
    assert np.isfinite(np.load("run/features.npy")).all()
    assert keras.config.dtype_policy() == policy


def test_names_of_subfolders_can_be_labels(finished, pretrain):
    assert pretrain("--folder_labels")[0] == 0
    for row in rows_of("run/images.csv"):
        assert row["label"] == row["path"].partition("/")[0]


def test_labels_come_from_a_file_and_stay(finished, pretrain):
    first = os.path.abspath("photos/fox/0.png")
    with open("labels.csv", "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "path", "note"])
        writer.writerow(["a, b", first, "an absolute path"])
        writer.writerow(["bird", "./owl/1.png", ""])
        writer.writerow(["", "owl/4.png", "not labeled yet"])
    assert pretrain("--labels=labels.csv")[0] == 0
    labels = {r["path"]: r["label"] for r in rows_of("run/images.csv")}
    assert labels["fox/0.png"] == "a, b"
    assert labels["owl/1.png"] == "bird"
    assert sum(map(bool, labels.values())) == 2
    # Labels do not belong to the training, so they may be left out later.
    assert pretrain()[0] == 0
    assert labels == {r["path"]: r["label"] for r in rows_of("run/images.csv")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image_size=0"], "number of pixels >= 1, .*: --image_size=0"),
        (["--image_size=64x"], "--image_size=64x"),
        (["--method=simclr"], "`--method` must be one of plain, focal, tase"),
        (["--method=colt"], "with any of ts, gh, bcl. Received"),
        (["--framework=byol", "--method=ts"], "BYOL has no negatives"),
        (["--temperature=0"], "`--temperature` must be a number > 0"),
        (["--rand_augment=2"], "from 0 to 1. Received: --rand_augment=2"),
        (["--weight_decay=-1"], "`--weight_decay` must be a number >= 0"),
        (["--labels=a.csv", "--folder_labels"], "from one place"),
        (["--labels=none.csv"], "must be a CSV file. Received: .*none.csv"),
        (["--output=photos/run"], "must lie outside of the photos"),
        (["--output=photos"], "must lie outside of the photos"),
        (["--output=file"], "--output=file, which is a file"),
        (["--output=full"], "which holds thesis.txt"),
        (["--backbone=resnet19"], "small_convnet, resnet18, or a network.*19"),
        (["--backbone=xception"], "--image_size=16.* at least 71 x 71 pixels"),
        (["--weights=imagenet"], "`weights` must be None for small_convnet"),
    ],
)
def test_what_is_wrong_is_a_sentence_before_anything_is_written(
    photos, tmp_path, pretrain, flags, message
):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    before = sorted(tmp_path.rglob("*"))
    code, _, told = pretrain(*flags)
    assert code == 1
    assert told.count("\n") == 1
    assert re.search(message, told), told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_two_good_images_is_refused(
    photos, tmp_path, run, pretrain
):
    for name, message in (
        ("nothing", "nothing, which does not exist"),
        ("empty", "must hold image files"),
        ("one", "must hold at least two images"),
        ("bad", "These are more than half of the images"),
    ):
        if name != "nothing":
            (tmp_path / name).mkdir()
        if name == "one":
            os.link(photos / "fox" / "0.png", tmp_path / name / "0.png")
        if name == "bad":
            for number in range(3):
                (tmp_path / name / f"{number}.png").write_bytes(b"")
        code, _, told = run("pretrain", name, *FLAGS)
        assert code == 1
        assert message in told
        assert "Traceback" not in told
        assert not (tmp_path / "run").exists()


def test_fewer_images_than_a_batch_are_one_batch(photos, pretrain):
    code, told, _ = pretrain("--batch_size=100")
    assert code == 0
    assert "An epoch is one batch of 24, since `batch_size` is 100." in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,class\n", "names the columns path and label. Received: "),
        ("", "with no columns"),
        ("path,label\nfox/1.png,fox\n", "1 other path, 'fox/1.png'; a path in"),
        ("path,label\nfox/0.png,a\nfox/0.png,b\n", "'a' and 'b' for 'fox/0"),
    ],
)
def test_wrong_labels_are_named(photos, pretrain, content, message):
    with open("labels.csv", "w") as file:
        file.write(content)
    code, _, told = pretrain("--labels=labels.csv")
    assert code == 1
    assert message in told
    assert not os.path.exists("run")


def test_a_file_that_is_skipped_may_have_a_label(photos, pretrain):
    (photos / "empty.png").write_bytes(b"")
    with open("labels.csv", "w") as file:
        file.write("path,label\nempty.png,fox\nfox/0.png,fox\n")
    assert pretrain("--labels=labels.csv")[0] == 0


def test_a_run_goes_on_with_its_own_flags_only(finished, pretrain):
    before = run_file()
    code, _, told = pretrain("--temperature=0.3", "--image_size=8x16")
    assert code == 1
    assert "--temperature was 0.2, now 0.3" in told
    assert "--image_size was 16x16, now 8x16" in told
    assert run_file() == before


def test_a_run_goes_on_with_its_own_images_only(finished, pretrain):
    before = run_file()
    os.rename("photos/fox/0.png", "photos/fox/new.png")
    code, _, told = pretrain()
    assert code == 1
    assert "1 image was added ('fox/new.png'), 1 was removed" in told
    assert run_file() == before


def test_photos_may_be_moved_as_a_whole(finished, run, tmp_path):
    os.rename("photos", "elsewhere")
    assert run("pretrain", "elsewhere", *FLAGS)[0] == 0
    assert run_file()["directory"] == str(tmp_path / "elsewhere")


def test_a_folder_in_use_is_refused(photos, tmp_path, pretrain):
    code = (
        "import sys, pathlib\n"
        "from keras_ltssl.command.run_folder import RunFolder\n"
        "lock = RunFolder(pathlib.Path('run')).lock()\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout.readline() == "locked\n"
        code, _, told = pretrain()
        process.stdin.close()
    assert code == 1
    assert f"in use: another training of process {process.pid}" in told


def test_a_disk_that_is_too_small_is_refused(
    photos, tmp_path, pretrain, monkeypatch
):
    usage = type("usage", (), {"free": 1_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    code, _, told = pretrain()
    assert code == 1
    assert "`--output` must be on a disk with " in told
    assert "Received: --output=run, with 1.0 MB free" in told
    assert not (tmp_path / "run").exists()


def test_the_space_that_is_asked_for_is_what_checkpoints_take(
    finished, pretrain, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "keras_ltssl.command.disk_space.check_space",
        lambda folder, needed, what: asked.append(what),
    )
    assert pretrain()[0] == 0
    megabytes = float(asked[0].split(" of ")[1].split()[0])
    newest = RunFolder(Path("run")).checkpoints / "epoch-000002"
    size = sum(file.stat().st_size for file in newest.iterdir()) / 1e6
    assert size == pytest.approx(megabytes, rel=0.25)
