import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_ltssl.views.per_sample_rand_augment import PerSampleRandAugment
from keras_ltssl.views.rand_augment_operations import OPERATIONS
from keras_ltssl.views.two_views import TwoViews

rng = np.random.default_rng(0)
images = rng.integers(20, 200, (60, 8, 8, 3)).astype("uint8")
always = np.ones(60, "float32")
strong = np.full(60, 22.0, "float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_operations_come_equally_often_with_the_probability_of_the_image():
    probability = np.linspace(0, 1, 60_000, dtype="float32")
    layer = PerSampleRandAugment(seed=0)
    operation, sign, place = map(numpy, layer.draw(60_000, probability))
    is_due = operation >= 0
    # Expected by sixths: 1/12, 3/12, ..., 11/12.
    shares = is_due.reshape(6, -1).mean(axis=1)
    np.testing.assert_allclose(shares, np.arange(1, 12, 2) / 12, atol=0.02)
    counts = np.bincount(operation[is_due], minlength=len(OPERATIONS))
    assert len(counts) == 15
    np.testing.assert_allclose(counts, 2000, atol=5 * 2000**0.5)
    assert set(sign) == {-1.0, 1.0}
    assert abs(sign.mean()) < 0.02
    for share in place.T:
        ordered = np.sort(share)
        assert np.abs(ordered - np.linspace(0, 1, 60_000)).max() < 0.01
    together = np.stack([operation, sign, *place.T])[:, is_due]
    apart = np.corrcoef(together) - np.eye(4)
    assert np.abs(apart).max() < 0.03


@pytest.mark.every_backend
def test_every_call_draws_anew_and_the_seed_decides():
    first, twin, other = (PerSampleRandAugment(seed=s) for s in (0, 0, 99))
    draws = [
        np.column_stack([numpy(part) for part in layer.draw(60, always)])
        for layer in (first, first, twin, twin, other)
    ]
    np.testing.assert_array_equal(draws[0], draws[2])
    np.testing.assert_array_equal(draws[1], draws[3])
    rows = np.concatenate([draws[0], draws[1], draws[4]])
    assert len({row.tobytes() for row in rows}) == 180


class InTraining(keras.layers.Layer):
    """Calls a layer as in training."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, images_shape, probability_shape, strength_shape):
        self.layer.build(images_shape, probability_shape, strength_shape)

    def call(self, images, probability, strength):
        return self.layer(images, probability, strength, training=True)

    def compute_output_shape(self, images_shape, *_, **__):
        return images_shape


def compiled(layer):
    """Compiles, as piece by piece JAX would need a minute for it."""
    inputs = [keras.Input((8, 8, 3)), keras.Input(()), keras.Input(())]
    return keras.Model(inputs, InTraining(layer)(*inputs)).predict_on_batch


def test_two_operations_are_the_two_drawn_one_after_the_other():
    """In any value range, and as much as the image shall get."""
    x = images.astype("float32")
    probability = np.repeat([0.0, 1.0], 30).astype("float32")
    strength = np.linspace(-10, 40, 60).astype("float32")
    layer, twin = (
        PerSampleRandAugment(2, (0, 1), 3),
        PerSampleRandAugment(seed=3),
    )
    out = 255 * compiled(layer)((x / 255, probability, strength))
    once = compiled(twin)
    clipped = np.clip(strength, 0, 30)
    expected = x
    for _ in range(2):
        expected = once((expected, probability, clipped))
    np.testing.assert_array_equal(out[:30], 255 * (x[:30] / 255))
    assert (out[30:] != x[30:]).any(axis=(1, 2, 3)).mean() > 0.9
    # Rounding may put a pixel on either side of a threshold.
    assert (np.abs(out - expected) > 1e-2).mean() < 0.005
    assert out.min() >= 0
    assert out.max() <= 255 + 1e-3
    np.testing.assert_array_equal(
        numpy(layer.seed_generator.state.value),
        numpy(twin.seed_generator.state.value),
    )


def test_nothing_happens_when_not_training():
    layer = PerSampleRandAugment(seed=0)
    out = numpy(layer(images, always, strong, training=False))
    assert out.dtype == "float32"
    np.testing.assert_array_equal(out, images)


def test_functional_model_knows_its_shape():
    inputs = [keras.Input((8, 8, 3)), keras.Input(()), keras.Input(())]
    outputs = PerSampleRandAugment()(*inputs)
    assert outputs.shape == (None, 8, 8, 3)
    model = keras.Model(inputs, outputs)
    data = [images.astype("float32"), always, strong]
    np.testing.assert_array_equal(model.predict_on_batch(data), images)


def test_a_layer_with_numbers_of_its_own_needs_none_in_the_call():
    layer = PerSampleRandAugment(seed=4, probability=0.5, strength=22)
    twin = PerSampleRandAugment(seed=4)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, TwoViews(layer)(inputs))
    x = images.astype("float32")
    out = model.predict_on_batch(x).reshape(120, 8, 8, 3)
    expected = compiled(twin)(
        [np.repeat(part, 2, axis=0) for part in (x, always / 2, strong)]
    )
    # Rounding may put a pixel on either side of a threshold.
    assert (np.abs(out - expected) > 1e-2).mean() < 0.005
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert (again.probability, again.strength) == (0.5, 22)


def test_without_numbers_of_its_own_a_call_has_to_give_them():
    with pytest.raises(ValueError, match="`probability` must be given"):
        PerSampleRandAugment(strength=20)(images)
    with pytest.raises(ValueError, match="`strength` must be given"):
        PerSampleRandAugment()(images, always)


def test_config_round_trip_gives_the_same_augmentations():
    layer = PerSampleRandAugment(2, (0, 200), seed=4)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.num_ops == 2
    assert again.value_range == (0, 200)
    for one, other in zip(
        again.draw(60, always), layer.draw(60, always), strict=True
    ):
        np.testing.assert_array_equal(numpy(one), numpy(other))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_ops", 0),
        ("num_ops", 1.5),
        ("num_ops", True),
        ("value_range", (1, 0)),
        ("value_range", (1, 2, 3)),
    ],
)
def test_bad_argument_is_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        PerSampleRandAugment(**{name: value})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 8, 8, 2), (2,), (2,)), "one or three channels"),
        (((8, 8, 3), (8,), (8,)), "height, width, channels"),
        (((2, 8, 8, 3), (3,), (2,)), "`probability` must have one number"),
        (((2, 8, 8, 3), (2,), (2, 1)), "`strength` must have one number"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        PerSampleRandAugment()(*map(np.zeros, shapes))
