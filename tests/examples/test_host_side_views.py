"""Views made on the host feed `fit` on every backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from examples import host_side_views

EXAMPLE = Path(__file__).parents[2] / "examples" / "host_side_views.py"
SIZE, SAMPLES, BATCH = 8, 10, 4


def image():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (SIZE, SIZE, 3)).astype("uint8")


def pipeline(maker, images):
    if maker == "grain":
        pytest.importorskip("grain")
        data = host_side_views.grain_data(images, BATCH)
        return data, -(-len(images) // BATCH)
    reason = f"tf.data needs TensorFlow, {maker} its package"
    pytest.importorskip("tensorflow", reason=reason)
    if maker == "keras_cv":
        pytest.importorskip("keras_cv", reason=reason)
    layers = getattr(host_side_views, f"{maker}_layers")(SIZE, SIZE)
    return host_side_views.tf_data(images, layers, BATCH), None


def batches(data, steps):
    """One epoch, as NumPy."""
    if steps is None:
        return [(views.numpy(), ids.numpy()) for views, ids in data]
    return [data[step] for step in range(steps)]


@pytest.mark.parametrize("maker", ["keras_cv", "keras", "grain"])
def test_every_view_is_drawn_anew_and_a_method_with_ids_trains(maker):
    # The same image many times, so that only the views can differ.
    images = np.repeat(image()[None], SAMPLES, axis=0)
    data, steps = pipeline(maker, images)

    epoch = batches(data, steps)
    views = np.concatenate([views for views, _ in epoch])
    assert views.shape[1:] == (2, SIZE, SIZE, 3)
    assert views.dtype == np.float32
    assert views.min() >= 0
    assert views.max() <= 255
    folded = views.reshape(-1, 2, SIZE * SIZE * 3)
    assert (folded[:, 0] != folded[:, 1]).any(axis=-1).all()
    # Threads that race for the seed of a layer of Keras may draw the same.
    folded = folded.reshape(-1, SIZE * SIZE * 3)
    assert len(np.unique(folded, axis=0)) > 0.5 * len(folded)
    if steps is None:
        second = np.concatenate([views for views, _ in batches(data, steps)])
        assert not np.array_equal(views, second)

    model = lt.models.ContrastiveModel(
        lt.models.small_convnet((SIZE, SIZE, 3), width=2),
        projector=keras.layers.Dense(4),
    )
    model.compile("sgd", loss=lt.losses.COLTLoss(num_samples=SAMPLES))
    history = model.fit(
        data, epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()
    _, seen = model.loss_state.parts["tailness"].read()
    assert ops.convert_to_numpy(seen).all()


def test_grain_draws_the_same_views_for_the_same_seed():
    pytest.importorskip("grain")
    images = np.repeat(image()[None], SAMPLES, axis=0)
    same, again, other = (
        host_side_views.grain_data(images, BATCH, seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(same[0], again[0])
    np.testing.assert_array_equal(same[1], again[1])
    assert not np.array_equal(same[0], other[0])


def test_the_example_runs_as_a_command():
    pytest.importorskip("grain")
    result = subprocess.run(
        [
            sys.executable,
            str(EXAMPLE),
            "--dataset=digits",
            "--views=grain",
            "--epochs=1",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "many" in result.stdout
    assert "\ngrain " in result.stdout
