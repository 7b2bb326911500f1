"""A classifier of few labels, and its use without this package."""

import importlib.util
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
ONNX_WRITER = {"tensorflow": "tf2onnx", "torch": "onnx", "jax": "jax2onnx"}


def without(package):
    """Python code that runs a script as if a package were not installed."""
    return (
        f"import runpy, sys; sys.modules[{package!r}] = None; "
        f"sys.path.insert(0, {str(EXAMPLES)!r}); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
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


@pytest.fixture(scope="module")
def writes_onnx():
    names = ("onnxruntime", ONNX_WRITER[keras.backend.backend()])
    return all(importlib.util.find_spec(name) for name in names)


@pytest.fixture(scope="module")
def trained(writes_onnx, tmp_path_factory):
    """A folder with classifiers, what was printed, and a photo."""
    folder = tmp_path_factory.mktemp("finetune")
    printed = run(
        EXAMPLES / "finetune.py",
        "--data=digits",
        "--imbalance=20",
        "--pretrain_epochs=1",
        "--epochs=3",
        f"--output={folder}",
        *(["--export=onnx"] if writes_onnx else []),
    )
    pixels = np.full((20, 30, 3), 200, "uint8")
    keras.utils.save_img(folder / "photo.png", pixels)
    return folder, printed


def class_of(folder, script, classifier, package):
    said = run(
        *("-c", without(package), EXAMPLES / script),
        *(folder / classifier, folder / "photo.png"),
    )
    return re.search(r"photo.png: (class \d, probability \d+\.\d%)", said)[1]


def test_the_best_of_four_classifiers_is_saved_and_used_elsewhere(trained):
    folder, printed = trained
    rows = re.findall(
        r"^((?:frozen|whole), \S+)\s+(\S+)%", printed, re.MULTILINE
    )
    assert [name for name, _ in rows] == [
        "frozen, plain",
        "frozen, logit-adjusted",
        "whole, plain",
        "whole, logit-adjusted",
    ]
    assert all(5 < float(accuracy) <= 100 for _, accuracy in rows)
    assert class_of(folder, "classify.py", "classifier.keras", "keras_ltssl")


def test_the_classifier_as_onnx_says_the_same_without_keras(
    trained, writes_onnx
):
    if not writes_onnx:
        pytest.skip("needs onnxruntime and what writes ONNX")
    folder, _ = trained
    assert class_of(
        folder, "classify_onnx.py", "classifier.onnx", "keras"
    ) == class_of(folder, "classify.py", "classifier.keras", "keras_ltssl")


def refusal_of(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert "Pretraining" not in done.stdout
    return done.stderr


def test_an_export_that_cannot_work_is_refused_before_training():
    if keras.backend.backend() != "torch":
        pytest.skip("There it works.")
    said = refusal_of(EXAMPLES / "finetune.py", "--export=saved_model")
    assert "`--export` must run on TensorFlow or JAX" in said


def test_onnx_is_refused_before_training_without_what_writes_it():
    writer = ONNX_WRITER[keras.backend.backend()]
    said = refusal_of(
        "-c", without(writer), EXAMPLES / "finetune.py", "--export=onnx"
    )
    assert f"`--export` must find the package {writer}" in said
