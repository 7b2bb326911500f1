"""What holds for every framework: evaluation, saving, and what is kept."""

import functools
import json
import subprocess
import sys

import combinations
import keras
import numpy as np
import pytest
from keras import ops

pytestmark = pytest.mark.every_backend

LOAD = """
import json, sys
import keras
import numpy as np

folder = sys.argv[1]
images = np.load(folder + "/images.npy")
found = {}
for name in json.loads(sys.argv[2]):
    encoder = keras.models.load_model(f"{folder}/{name}.keras")
    np.save(f"{folder}/{name}.npy", encoder.predict(images, verbose=0))
    found[name] = [[w.name, list(w.shape)] for w in encoder.weights]
found["keras_ltssl"] = "keras_ltssl" in sys.modules
print(json.dumps(found))
"""


def numpy(weights):
    return [ops.convert_to_numpy(weight) for weight in weights]


@functools.cache
def trained(framework):
    """Returns a model after two epochs, and what it was fitted on."""
    model, arguments = combinations.build("plain", framework)
    # Ready-made views, since a saved model forgets where its noise was.
    images = arguments.pop("x")
    arguments["x"] = np.stack([images, images**2], axis=1)
    model.fit(epochs=2, verbose=0, shuffle=False, **arguments)
    return model, arguments


@pytest.mark.parametrize("framework", ["MoCo v2", "BYOL", "SDCLR"])
def test_evaluation_changes_nothing_and_a_saved_model_goes_on(
    framework, tmp_path
):
    model, arguments = trained(framework)
    before = numpy(model.weights)
    model.evaluate(arguments["x"], verbose=0)
    for old, new in zip(before, numpy(model.weights), strict=True):
        np.testing.assert_array_equal(old, new)

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    for old, new in zip(before, numpy(again.weights), strict=True):
        np.testing.assert_array_equal(old, new)
    one, two = (
        m.fit(
            epochs=3, initial_epoch=2, verbose=0, shuffle=False, **arguments
        ).history
        for m in (model, again)
    )
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)


def test_finished_encoders_stand_alone_in_a_fresh_process(tmp_path):
    """They neither need this package nor bring a framework's state along."""
    expected, weights = {}, {}
    for framework in combinations.FRAMEWORKS:
        model, arguments = trained(framework)
        images = arguments["x"][:, 0]
        model.encoder.save(tmp_path / f"{framework}.keras")
        expected[framework] = model.encoder.predict(images, verbose=0)
        weights[framework] = [
            [w.name, list(w.shape)] for w in model.encoder.weights
        ]
    np.save(tmp_path / "images.npy", images)
    names = json.dumps(list(combinations.FRAMEWORKS))
    result = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path), names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert not found.pop("keras_ltssl")
    assert found == weights
    for framework, features in expected.items():
        loaded = np.load(tmp_path / f"{framework}.npy")
        np.testing.assert_allclose(loaded, features, atol=1e-6)
