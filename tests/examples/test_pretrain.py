"""The example as a user runs it, killed and resumed, and its bad input."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from keras_ltssl.callbacks.checkpoint_files import read_checkpoint

PRETRAIN = Path(__file__).parents[2] / "examples" / "pretrain.py"
FLAGS = ["--dataset=digits", "--imbalance=5", "--batch_size=64", "--epochs=8"]


def command(output, *flags):
    return [sys.executable, str(PRETRAIN), *FLAGS, f"--output={output}", *flags]


def environment(output):
    """Returns an environment in which runs side by side compile only once."""
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(Path(output).parent / "compiled"),
    }


def run(output, *flags):
    return subprocess.run(
        command(output, *flags),
        capture_output=True,
        text=True,
        check=False,
        env=environment(output),
    )


@pytest.fixture
def pool(tmp_path):
    """Digits that lie on their side."""
    images, _ = lt.datasets.load_digits()
    path = tmp_path / "pool.npz"
    np.savez(path, x=np.rot90(images[:300], axes=(1, 2)))
    return path


def without_times(history):
    lines = [line.split(",") for line in history.read_text().splitlines()]
    at = lines[0].index("ood_seconds")
    return [line[:at] + line[at + 1 :] for line in lines]


def encoder_weights(output):
    encoder = keras.models.load_model(Path(output) / "encoder.keras")
    return [ops.convert_to_numpy(weight) for weight in encoder.weights]


def test_killed_in_mid_epoch_and_resumed_ends_with_the_same_weights(
    tmp_path, pool
):
    # COLT chooses at epochs 1 and 6; killed in between, it has to go on
    # with the choice, the tailness, the prior and the prototypes it had, and
    # MoCo with its queue and its momentum encoder.
    method = (
        "--framework=moco",
        "--queue_size=150",
        "--method=ts+tase+gh+colt",
        f"--ood={pool}",
    )
    whole = run(tmp_path / "whole", *method)
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert "75 of 300" in whole.stdout

    output = tmp_path / "killed"
    process = subprocess.Popen(
        command(output, *method),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(output),
    )
    deadline = time.monotonic() + 300
    while not list(output.glob("checkpoints/epoch-00000[2-9]")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (output / "encoder.keras").exists()

    resumed = run(output, *method, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "Epoch 1/8" not in resumed.stdout
    for one, other in zip(
        encoder_weights(tmp_path / "whole"),
        encoder_weights(output),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    one, other = (
        without_times(folder / "history.csv")
        for folder in (tmp_path / "whole", output)
    )
    assert one == other
    one = (tmp_path / "whole" / "report.json").read_text()
    assert (output / "report.json").read_text() == one

    # What a run leaves behind.
    for name in (
        "class_accuracy",
        "class_similarity",
        "embedding",
        "ood_choice",
        "tail_diagnosis",
        "temperature",
    ):
        assert (output / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert "many  medium" in resumed.stdout

    again = run(output, *method)
    assert again.returncode != 0
    assert "or pass --resume" in again.stderr
    other = run(output, *method, "--resume", "--seed=1")
    assert other.returncode != 0
    assert "{'seed': (0, 1)}" in other.stderr


def test_stopped_by_sigterm_it_says_how_to_resume(tmp_path):
    output = tmp_path / "stopped"
    process = subprocess.Popen(
        [*command(output), "--epochs=999"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(output),
    )
    deadline = time.monotonic() + 300
    while not list(output.glob("checkpoints/epoch-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    newest = max(output.glob("checkpoints/epoch-*"))
    assert told.splitlines()[-1] == (
        f"Stopped by SIGTERM. Last checkpoint: {newest}. Go on with the same "
        "flags and --resume."
    )
    assert read_checkpoint(newest).epoch == int(newest.name[6:])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method=moco"], "plain, focal, tase, or parts joined by +"),
        (["--queue_size=9"], "goes with --framework=moco"),
        (
            ["--framework=byol", "--method=tase"],
            "no negatives and no temperature",
        ),
        (["--method=gh", "--ood=x.npz"], "what colt chooses from"),
        (["--imbalance=0.5"], "`imbalance` must be a finite number >= 1"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_written(
    tmp_path, flags, message
):
    output = tmp_path / "run"
    result = run(output, *flags)
    assert result.returncode != 0
    assert message in result.stderr
    assert not output.exists()


def test_a_truncated_file_is_named(tmp_path):
    broken = tmp_path / "images.npz"
    np.savez(broken, x_train=np.zeros((4, 8, 8, 1), "uint8"))
    broken.write_bytes(broken.read_bytes()[:-40])
    result = run(tmp_path / "run", f"--dataset={broken}")
    assert result.returncode != 0
    assert str(broken) in result.stderr
