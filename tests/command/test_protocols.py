"""Lists of labeled images, files of settings, and the probes of the report."""

import csv
import json
import os
import random
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
from keras_ltssl_command import protocol_files, subcommands

CLASSES = 30
PROTOCOL = """
# Settings of a small set.
--image_size=12
--batch_size=64
--epochs=3
--smallest_crop=0.3

--groups=thirds
--shots=2
--draws=2
"""
FLAGS = [
    "--protocol=small.flags",
    *(f"--{name}={name}.txt" for name in ("train", "probe", "test")),
]


def make_set(folder):
    """Makes 300 files of 30 classes, their lists and a file of flags."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    counts = {
        "train": lt.datasets.long_tail_counts(16, CLASSES, 8),
        "probe": np.full(CLASSES, 2),
        "test": np.full(CLASSES, 2),
    }
    colors = rng.integers(0, 256, (CLASSES, 3))
    for part, of_class in counts.items():
        lines = []
        for label, count in enumerate(of_class):
            for number in range(count):
                name = f"{part}/{label:02}/{number}.jpg"
                path = folder / "photos" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = colors[label] + rng.normal(0, 20, (24, 32, 3))
                image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(path)
                lines.append(f"{name} {label}\n")
        random.Random(0).shuffle(lines)
        (folder / f"{part}.txt").write_text("".join(lines))
    (folder / "small.flags").write_text(PROTOCOL)
    return folder


@pytest.fixture
def listed(tmp_path):
    """A folder with `photos`, lists of them, and `small.flags`."""
    return make_set(tmp_path)


@pytest.fixture
def pretrain(listed, run):
    """Calls `pretrain photos` with the lists and settings."""
    return lambda *arguments: run("pretrain", "photos", *FLAGS, *arguments)


def lines_of(name):
    return [line.rsplit(" ", 1) for line in Path(name).read_text().splitlines()]


def run_file(name="run"):
    return json.loads(Path(name, "run.json").read_text())


def test_killed_and_resumed_lists_become_the_same_report(listed, pretrain):
    code, told, error = pretrain("--output=whole")
    assert code == 0, error
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "keras_ltssl", "pretrain", "photos"),
            *(*FLAGS, "--output=killed"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 300
    while not list(listed.glob("killed/checkpoints/epoch-00000[12]")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (listed / "killed" / "probes.json").exists()
    code, told, _ = pretrain("--output=killed")
    assert code == 0
    assert " of 3 epochs" in told

    for name in ("features", "probe_features", "test_features"):
        np.testing.assert_array_equal(
            np.load(f"killed/{name}.npy"), np.load(f"whole/{name}.npy")
        )
    text = Path("killed/probes.json").read_text()
    assert text == Path("whole/probes.json").read_text()

    # Rows are those of the lists.
    names, labels = zip(*lines_of("train.txt"), strict=True)
    with open("killed/images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == list(names)
    assert [row["label"] for row in rows] == list(labels)
    encoder = keras.saving.load_model("killed/encoder.keras")
    tested, truth = zip(*lines_of("test.txt"), strict=True)
    images = lt.datasets.read_images(
        [f"photos/{name}" for name in tested], image_size=(12, 12)
    )
    features = np.load("killed/test_features.npy")
    np.testing.assert_allclose(
        features, encoder.predict(images, verbose=0), rtol=1e-4, atol=1e-5
    )

    # Numbers are those of the probes on these features.
    report = lt.evaluation.LongTailReport.from_json(text)
    counts = np.bincount(np.int64(labels))
    assert report.class_counts == tuple(counts.tolist())
    nearest = lt.evaluation.knn_probe(
        np.load("killed/features.npy"),
        np.int64(labels),
        features,
        np.int64(truth),
        k=1,
    )
    assert report.probes["knn1"].accuracy == nearest.accuracy
    assert report.probes["few_shot"].draw_accuracy.shape == (2, CLASSES)
    page = json.loads(Path("killed/report.json").read_text())
    assert page["probes"]["knn1"] == pytest.approx(report.summary()["knn1"])
    assert page["labels"]["labeled"] > 0
    assert (
        "A linear probe is right in" in Path("killed/report.html").read_text()
    )
    assert "few-shot" in told


def test_a_finished_run_embeds_nothing_again(pretrain):
    assert pretrain("--epochs=1")[0] == 0
    before = {
        file: file.stat().st_mtime_ns for file in Path("run").glob("*.npy")
    }
    assert len(before) == 3
    assert pretrain("--epochs=1")[0] == 0
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_features_of_another_run_are_replaced(pretrain):
    assert pretrain("--epochs=1")[0] == 0
    before = np.load("run/features.npy")
    np.save("run/features.npy", before + 1)
    Path("run/features.npy.json").unlink()  # As an earlier version left it.
    assert pretrain("--epochs=1")[0] == 0
    np.testing.assert_array_equal(np.load("run/features.npy"), before)


def test_flags_of_the_command_line_come_before_the_protocol(listed):
    os.chdir(listed)
    _, values = subcommands.parse(
        "pretrain", ["--epochs=7", "photos", "--protocol=small.flags"]
    )
    assert (values.epochs, values.image_size, values.shots) == (7, "12", 2)


@pytest.mark.parametrize("name", protocol_files.PROTOCOLS)
def test_each_published_set_has_a_protocol(name):
    folder, values = subcommands.parse("pretrain", ["x", f"--protocol={name}"])
    assert folder == "x"
    assert (values.backbone, values.image_size) == ("resnet50", "224")
    assert (values.batch_size, values.learning_rate) == (256, 0.5)
    assert values.epochs > values.gh_warmup > values.warmup_epochs
    assert values.groups == "thresholds"
    assert values.train is None
    text = protocol_files.protocol_file(name).read_text()
    assert "arXiv:" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_list_alone_trains_on_its_images(listed, run):
    listing = listed / "few.txt"
    lines = (listed / "train.txt").read_text().splitlines()
    listing.write_text("\n".join(lines[:20]))
    arguments = ("--image_size=12", "--epochs=1", "--train=few.txt")
    code, told, _ = run("pretrain", "photos", *arguments)
    assert code == 0
    assert "Found 20 images" in told
    assert len(np.load("run/features.npy")) == 20
    assert not Path("run/probes.json").exists()


def test_missing_files_of_a_list_are_left_out_and_named(listed, pretrain):
    for part in ("train", "probe"):
        missing = lines_of(f"{part}.txt")[0][0]
        Path("photos", missing).unlink()
    code, _, told = pretrain("--epochs=1", "--shots=1")
    assert code == 0, told
    assert "1 of 300 images" not in told
    assert "No such file or directory" in told
    settings = run_file()
    for part, key in (("train", "skipped"), ("probe", "probe_skipped")):
        (skipped,) = settings[key]
        assert skipped["path"] == lines_of(f"{part}.txt")[0][0]


def test_a_list_in_another_order_is_another_run(listed, pretrain):
    assert pretrain("--epochs=1")[0] == 0
    lines = Path("train.txt").read_text().splitlines(keepends=True)
    Path("train.txt").write_text("".join(reversed(lines)))
    code, _, told = pretrain("--epochs=1")
    assert code == 1
    assert "the images have another order" in told


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--protocol=cifar"], "one of imagenet_100_lt, .*--protocol=cifar"),
        (["--protocol=bad.flags"], "Unknown .*'epoch'"),
        (["--train=train.txt", "--test=test.txt"], "go together.*--train and"),
        (["--train=none.txt"], "`--train` must be a list.*none.txt"),
        (["--train=twice.txt"], "once. Received: twice.txt with 'a.jpg' twice"),
        (["--train=out.txt"], r"inside `directory`.*'\.\./a.jpg'"),
        (["--train=train.txt", "--folder_labels"], "from one place. .* and --"),
        (
            [*FLAGS, "--shots=3"],
            "allow the probes.*shots=3, and a class with 2",
        ),
        ([*FLAGS, "--test=one.txt"], "allow the probes.*labels that occur"),
        (["--blur=2"], "`--blur` must be a number from 0 to 1"),
        (["--smallest_crop=0"], "`--smallest_crop` must be a number above 0"),
        (["--pruned_share=1"], "`--pruned_share` must be a number between"),
        (["--period=0"], "`--period` must be a number > 0"),
    ],
)
def test_what_is_wrong_with_lists_is_said_before_training(
    listed, run, flags, message
):
    (listed / "bad.flags").write_text("--epoch=3\n")
    (listed / "twice.txt").write_text("a.jpg 0\n./a.jpg 1\n")
    (listed / "out.txt").write_text("../a.jpg 0\nb.jpg 0\n")
    (listed / "one.txt").write_text("test/00/0.jpg 77\ntest/00/1.jpg 77\n")
    code, _, told = run("pretrain", "photos", *flags)
    assert code == 1
    assert re.search(message, told), told
    assert "Traceback" not in told
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            [
                *("--method=ts+gh", "--temperature_min=0.1", "--period=4"),
                *("--temperature_max=0.9", "--gh_warmup=2", "--gh_ramp=1"),
            ],
            {"period": 4, "gh_warmup": 2},
        ),
        (["--framework=moco", "--queue_size=32"], {"queue_size": 32}),
        (["--framework=sdclr", "--pruned_share=0.5"], {"pruned_share": 0.5}),
        (
            ["--optimizer=sgd", "--warmup_epochs=1", "--blur=0.5"],
            {"warmup_epochs": 1, "blur": 0.5},
        ),
    ],
)
def test_settings_of_published_protocols_reach_the_training(
    listed, run, flags, expected, monkeypatch
):
    made = []
    compile_ = lt.models.ContrastiveModel.compile

    def watched(self, *arguments, **options):
        made.append(self)
        return compile_(self, *arguments, **options)

    monkeypatch.setattr(lt.models.ContrastiveModel, "compile", watched)
    arguments = ("--image_size=12", "--epochs=3", "--train=test.txt")
    assert run("pretrain", "photos", *arguments, *flags)[0] == 0
    settings = run_file()
    assert {name: settings[name] for name in expected} == expected
    (model,) = made
    if "gh_warmup" in expected:
        assert (model.loss.warmup_epochs, model.loss.ramp_epochs) == (2, 1)
        assert "0.1" in Path("run/history.csv").read_text()
    if "queue_size" in expected:
        assert model.get_config()["queue_size"] == 32
    if "pruned_share" in expected:
        assert model.pruned_share == 0.5
    if "warmup_epochs" in expected:
        schedule = model.optimizer._learning_rate
        assert schedule.warmup_steps == 1  # One batch is an epoch.
