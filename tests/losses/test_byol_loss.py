"""BYOL's loss: against loops, closed forms, and what it refuses."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference


def projections(count=6, dim=5, views=4, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(count, views, dim)).astype("float32")


@pytest.mark.every_backend
def test_it_equals_the_slow_reference_at_any_scale():
    z = projections()
    z[0] *= 1e-20
    z[1] *= 1e15
    expected = reference.normalized_mse(
        z[:, :2].astype("float64"), z[:, 2:].astype("float64")
    )
    ours = lt.losses.normalized_mse(z[:, :2], z[:, 2:])
    np.testing.assert_allclose(ops.convert_to_numpy(ours), expected, atol=1e-5)
    loss = lt.losses.BYOLLoss()
    np.testing.assert_allclose(float(loss(None, z)), expected.mean(), rtol=1e-5)


def test_swapping_the_views_does_not_matter():
    z = projections()
    swapped = z[:, [1, 0, 3, 2]]
    one, two = (
        lt.losses.normalized_mse(p[:, :2], p[:, 2:]) for p in (z, swapped)
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(one), ops.convert_to_numpy(two), atol=1e-6
    )


@pytest.mark.every_backend
def test_gradient_steps_move_predictions_to_targets_and_targets_nowhere():
    class Projections(keras.layers.Layer):
        def build(self, _):
            self.z = self.add_weight(shape=(6, 4, 5), name="z")

        def call(self, x):
            return ops.take(self.z, x, axis=0)

    model = keras.Sequential([keras.Input((), dtype="int32"), Projections()])
    model.compile(keras.optimizers.SGD(3.0), loss=lt.losses.BYOLLoss())
    start = projections()
    model.layers[0].z.assign(start)
    before = model.evaluate(np.arange(6), np.arange(6), verbose=0)
    model.fit(np.arange(6), np.arange(6), epochs=20, verbose=0)
    after = model.evaluate(np.arange(6), np.arange(6), verbose=0)
    z = ops.convert_to_numpy(model.layers[0].z)
    assert after < 0.2 * before
    np.testing.assert_array_equal(z[:, 2:], start[:, 2:])


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [(projections(2000, 64), 1 / np.sqrt(64)), (np.ones((9, 4, 8)), 0.0)],
)
def test_collapse_shows_in_the_spread_that_is_logged(predictions, expected):
    loss = lt.losses.BYOLLoss()
    state = lt.layers.LossState(loss)
    z = state(ops.convert_to_tensor(predictions, "float32"), training=False)
    loss(None, z)
    (means,) = state.metrics
    spread = float(means.result()["embedding_std"])
    np.testing.assert_allclose(spread, expected, atol=2e-3)


@pytest.mark.parametrize("shape", [(6, 2, 5), (6, 4), (6, 3, 5)])
def test_projections_without_targets_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(batch, 4, dim\)"):
        lt.losses.BYOLLoss()(None, np.ones(shape, "float32"))


def test_shapes_that_do_not_fit_are_refused_by_name():
    z = projections(views=2)
    with pytest.raises(ValueError, match="`targets` must have shape"):
        lt.losses.normalized_mse(z, z[:, :1])
    with pytest.raises(ValueError, match="must have the same shape"):
        lt.losses.normalized_mse(z, z[:, :, :3])


def test_a_batch_of_one_is_not_compared_with_all_of_another():
    z = projections(views=2)
    with pytest.raises(ValueError, match="must have the same shape"):
        lt.losses.normalized_mse(z, z[:1])
    with pytest.raises(ValueError, match="must have the same shape"):
        lt.losses.normalized_mse(z[:1], z)


def test_colt_over_byol_is_refused_with_what_is_left_of_it():
    with pytest.raises(ValueError, match="OODSampler"):
        lt.losses.COLTLoss(base_loss=lt.losses.BYOLLoss())


def test_serialization_keeps_the_configuration():
    loss = lt.losses.BYOLLoss(reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, lt.losses.BYOLLoss)
    assert again.get_config() == loss.get_config()
