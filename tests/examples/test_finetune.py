"""A classifier of few labels, and its use without this package."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from examples import training

EXAMPLES = Path(__file__).parents[2] / "examples"
WITHOUT_PACKAGE = (
    "import runpy, sys; sys.modules['keras_ltssl'] = None; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.every_backend
def test_adjusted_cross_entropy_adds_log_shares_in_training():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype("float32")
    labels, shares = np.array([0, 1, 2, 2, 1]), np.array([0.7, 0.2, 0.1])
    moved = logits + np.log(shares)
    expected = np.log(np.exp(moved).sum(1)) - moved[np.arange(5), labels]

    found = training.adjusted_cross_entropy(shares)(labels, logits)

    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def test_equal_shares_leave_the_plain_loss_as_it_is():
    logits = np.array([[2.0, -1.0], [0.5, 0.0]], "float32")
    plain = keras.losses.sparse_categorical_crossentropy(
        np.array([0, 1]), logits, from_logits=True
    )

    found = training.adjusted_cross_entropy(np.ones(2))(
        np.array([0, 1]), logits
    )

    np.testing.assert_allclose(
        ops.convert_to_numpy(found), ops.convert_to_numpy(plain), rtol=1e-6
    )


def test_the_best_of_four_classifiers_is_saved_and_used_elsewhere(tmp_path):
    printed = run(
        EXAMPLES / "finetune.py",
        "--data=digits",
        "--imbalance=20",
        "--pretrain_epochs=1",
        "--epochs=3",
        f"--output={tmp_path}",
    )
    rows = re.findall(
        r"^((?:frozen|whole), \S+)\s+(\S+)%", printed, re.MULTILINE
    )
    photo = tmp_path / "photo.png"
    keras.utils.save_img(photo, np.full((20, 30, 3), 200, "uint8"))

    said = run(
        "-c",
        WITHOUT_PACKAGE,
        EXAMPLES / "classify.py",
        tmp_path / "classifier.keras",
        photo,
    )

    assert [name for name, _ in rows] == [
        "frozen, plain",
        "frozen, logit-adjusted",
        "whole, plain",
        "whole, logit-adjusted",
    ]
    assert all(5 < float(accuracy) <= 100 for _, accuracy in rows)
    assert re.search(r"photo.png: class \d, probability \d+\.\d%", said)


def test_an_export_that_cannot_work_is_refused_before_training():
    if keras.backend.backend() != "torch":
        pytest.skip("There it works.")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "finetune.py"), "--export"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert "`--export` must run on TensorFlow or JAX" in done.stderr
    assert "Pretraining" not in done.stdout
