"""Files of earlier versions load, and their training goes on."""

import json
import pathlib
import zipfile

import keras
import numpy as np
import pytest
from keras import ops
from saved import make

pytestmark = pytest.mark.every_backend

FOLDER = pathlib.Path(make.__file__).parent
IDS = {"byol": None, "sdclr_focal": None, "colt_tase": make.MIXED_IDS}


def made_by_a_newer_keras(path):
    """Returns whether a file is newer than this Keras, which cannot read it."""

    def number(version):
        return tuple(int(part) for part in version.split(".")[:2])

    with zipfile.ZipFile(path) as file:
        metadata = json.loads(file.read("metadata.json"))
    return number(metadata["keras_version"]) > number(keras.__version__)


@pytest.mark.parametrize("name", make.MODELS)
def test_a_saved_model_of_an_earlier_version_trains_on(name):
    if made_by_a_newer_keras(FOLDER / f"{name}.keras"):
        pytest.skip("Keras reads no files of a newer Keras")
    model = keras.models.load_model(FOLDER / f"{name}.keras")
    expected = np.load(FOLDER / f"{name}.npz")
    found = make.contents(model)
    assert sorted(found) == sorted(expected)
    for key, values in found.items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-4, atol=1e-6)
    assert model.loss.get_state() is model.loss_state
    before = [ops.convert_to_numpy(w).copy() for w in model.trainable_weights]
    model.loss_state.set_epoch(0)
    logs = make.train(model, IDS.get(name, make.IDS))
    assert np.isfinite(logs["loss"]).all()
    assert int(model.loss_state.step) == int(expected["step"]) + 2
    after = [ops.convert_to_numpy(w) for w in model.trainable_weights]
    moved = [
        not np.array_equal(a, b) for a, b in zip(before, after, strict=True)
    ]
    assert any(moved)


@pytest.mark.parametrize("name", make.MODELS)
def test_a_saved_file_is_small(name):
    assert (FOLDER / f"{name}.keras").stat().st_size < 60_000
