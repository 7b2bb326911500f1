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

PRETRAIN = Path(__file__).parents[2] / "examples" / "pretrain.py"
FLAGS = ["--dataset=digits", "--imbalance=5", "--batch_size=64", "--epochs=12"]


def command(output, *flags):
    return [sys.executable, str(PRETRAIN), *FLAGS, f"--output={output}", *flags]


def run(output, *flags):
    return subprocess.run(
        command(output, *flags), capture_output=True, text=True, check=False
    )


def encoder_weights(output):
    encoder = keras.models.load_model(Path(output) / "encoder.keras")
    return [ops.convert_to_numpy(weight) for weight in encoder.weights]


def test_killed_in_mid_epoch_and_resumed_ends_with_the_same_weights(tmp_path):
    whole = run(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr[-2000:]

    output = tmp_path / "killed"
    process = subprocess.Popen(
        command(output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not list(output.glob("checkpoints/epoch-00000[2-9]")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (output / "encoder.keras").exists()

    resumed = run(output, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "Epoch 1/12" not in resumed.stdout
    for one, other in zip(
        encoder_weights(tmp_path / "whole"),
        encoder_weights(output),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    for name in ("history.csv", "report.json"):
        one = (tmp_path / "whole" / name).read_text()
        assert (output / name).read_text() == one

    # What a run leaves behind.
    for name in ("class_accuracy", "temperature", "embedding"):
        assert (output / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert "many  medium" in resumed.stdout

    again = run(output)
    assert again.returncode != 0
    assert "or pass --resume" in again.stderr
    other = run(output, "--resume", "--seed=1")
    assert other.returncode != 0
    assert "{'seed': (0, 1)}" in other.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method=moco"], "should be one of <simclr|focal|ts|tase>"),
        (["--imbalance=0.5"], "`imbalance` must be >= 1"),
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
