import json
import math

import keras
import numpy as np
import pytest
from keras import ops

import reference
from keras_ltssl.views.crop_matrices import crop_and_resize
from keras_ltssl.views.random_resized_crop import RandomResizedCrop


def random_images(count=4, height=9, width=12, channels=3):
    rng = np.random.default_rng(1)
    shape = (count, height, width, channels)
    return rng.integers(0, 256, shape).astype("uint8")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def shares_and_ratios(windows, height, width):
    heights = windows[:, 2] - windows[:, 0]
    widths = np.abs(windows[:, 3] - windows[:, 1])
    return heights * widths / (height * width), widths / heights


def largest_gap_from_uniform(values, low, high):
    """Kolmogorov-Smirnov statistic."""
    expected = (np.sort(values) - low) / (high - low)
    steps = np.arange(1, len(values) + 1) / len(values)
    return np.max(np.abs(expected - steps))


@pytest.mark.every_backend
@pytest.mark.parametrize("size", [(6, 5), (20, 31)])
def test_crop_equals_slow_bilinear_reference(size):
    images = random_images()
    windows = np.array(
        [
            [0, 0, 9, 12],
            [1.25, 2.5, 4.75, 11.0],
            [6.1, 8.9, 6.9, 9.3],
            [3.0, 11.5, 8.0, 0.5],
        ],
        "float32",
    )
    crops = crop_and_resize(images, windows, *size)
    np.testing.assert_allclose(
        numpy(crops),
        reference.cropped(images, windows, *size),
        atol=1e-3,
    )


def test_mirrored_window_gives_mirrored_crop():
    images = random_images()
    windows = np.array([[1.0, 2.0, 8.0, 9.5]] * 4, "float32")
    plain = numpy(crop_and_resize(images, windows, 6, 5))
    mirrored = numpy(crop_and_resize(images, windows[:, [0, 3, 2, 1]], 6, 5))
    np.testing.assert_allclose(mirrored, plain[:, :, ::-1], atol=1e-3)


def test_whole_image_at_its_own_size_is_unchanged():
    images = random_images(1)
    crops = crop_and_resize(images, np.array([[0.0, 0.0, 9.0, 12.0]]), 9, 12)
    np.testing.assert_array_equal(numpy(crops), images)


def test_enlarging_agrees_with_keras_resize():
    images = random_images().astype("float32")
    layer = RandomResizedCrop(20, 31)
    expected = ops.image.resize(images, (20, 31), data_format="channels_last")
    np.testing.assert_allclose(
        numpy(layer(images, training=False)), numpy(expected), atol=1e-2
    )


def test_layer_returns_the_crops_of_the_windows_it_draws():
    images = random_images()
    layer = RandomResizedCrop(6, 5, horizontal_flip=0.5, seed=3)
    windows = numpy(
        RandomResizedCrop(6, 5, horizontal_flip=0.5, seed=3).draw_windows(
            8, 9, 12
        )
    )
    np.testing.assert_allclose(
        numpy(layer(images, training=True)),
        reference.cropped(images, windows, 6, 5),
        atol=1e-3,
    )


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 30), (8, 90)])
def test_every_window_lies_inside_the_image(height, width):
    layer = RandomResizedCrop(8, 8, horizontal_flip=0.5, seed=0)
    windows = numpy(layer.draw_windows(20_000, height, width))
    left = np.minimum(windows[:, 1], windows[:, 3])
    right = np.maximum(windows[:, 1], windows[:, 3])
    assert windows[:, 0].min() >= 0
    assert left.min() >= 0
    assert windows[:, 2].max() <= height * (1 + 1e-6)
    assert right.max() <= width * (1 + 1e-6)
    assert (windows[:, 2] > windows[:, 0]).all()
    assert (right > left).all()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 30), (8, 90)])
def test_area_is_uniform_whatever_the_shape_of_the_image(height, width):
    layer = RandomResizedCrop(8, 8, scale=(0.1, 1.0), seed=0)
    windows = numpy(layer.draw_windows(20_000, height, width))
    share, _ = shares_and_ratios(windows, height, width)
    assert largest_gap_from_uniform(share, 0.1, 1.0) < 0.015


def test_aspect_ratio_is_log_uniform_where_every_window_fits():
    layer = RandomResizedCrop(8, 8, scale=(0.08, 0.6), seed=0)
    windows = numpy(layer.draw_windows(20_000, 32, 32))
    _, ratio = shares_and_ratios(windows, 32, 32)
    gap = largest_gap_from_uniform(
        np.log(ratio), math.log(3 / 4), math.log(4 / 3)
    )
    assert gap < 0.015


def test_aspect_ratio_is_log_uniform_in_the_part_that_fits():
    # Nine tenths of a square: ratios from 0.9 to 1 / 0.9 fit.
    layer = RandomResizedCrop(8, 8, scale=(0.9, 0.9), seed=0)
    windows = numpy(layer.draw_windows(20_000, 32, 32))
    _, ratio = shares_and_ratios(windows, 32, 32)
    gap = largest_gap_from_uniform(np.log(ratio), math.log(0.9), -math.log(0.9))
    assert gap < 0.015


def test_ratio_is_the_nearest_that_fits_where_none_of_the_range_does():
    layer = RandomResizedCrop(8, 8, scale=(0.5, 0.5), seed=0)
    windows = numpy(layer.draw_windows(20_000, 8, 80))
    share, ratio = shares_and_ratios(windows, 8, 80)
    np.testing.assert_allclose(share, 0.5, rtol=1e-4)
    np.testing.assert_allclose(ratio, 5.0, rtol=1e-4)


def test_place_is_uniform():
    layer = RandomResizedCrop(8, 8, scale=(0.25, 0.25), ratio=(1, 1), seed=0)
    windows = numpy(layer.draw_windows(20_000, 32, 32))
    assert largest_gap_from_uniform(windows[:, 0], 0, 16) < 0.015
    assert largest_gap_from_uniform(windows[:, 1], 0, 16) < 0.015
    assert abs(np.corrcoef(windows[:, 0], windows[:, 1])[0, 1]) < 0.03


def test_flips_come_with_the_probability_asked_for():
    for probability in (0.0, 0.3, 1.0):
        layer = RandomResizedCrop(8, 8, horizontal_flip=probability, seed=0)
        windows = numpy(layer.draw_windows(20_000, 32, 32))
        flipped = np.mean(windows[:, 1] > windows[:, 3])
        assert abs(flipped - probability) < 0.015


def test_images_of_a_batch_get_different_windows():
    images = np.repeat(random_images(1), 4, axis=0)
    crops = numpy(RandomResizedCrop(6, 5, seed=0)(images, training=True))
    assert len({crop.tobytes() for crop in crops}) == 4


def test_same_seed_gives_same_crops_and_calls_differ():
    images = random_images()
    first, second = (RandomResizedCrop(6, 5, seed=5) for _ in range(2))
    one = numpy(first(images, training=True))
    np.testing.assert_array_equal(one, numpy(second(images, training=True)))
    assert np.abs(one - numpy(first(images, training=True))).max() > 1
    other = RandomResizedCrop(6, 5, seed=6)(images, training=True)
    assert np.abs(one - numpy(other)).max() > 1


def test_not_training_leaves_images_of_the_right_size_alone():
    images = random_images()
    out = numpy(RandomResizedCrop(9, 12, seed=0)(images, training=False))
    np.testing.assert_array_equal(out, images)
    assert out.dtype == "float32"


def test_uint8_and_float_images_give_the_same():
    images = random_images()
    crops = [
        numpy(RandomResizedCrop(6, 5, seed=5)(x, training=True))
        for x in (images, images.astype("float32"))
    ]
    np.testing.assert_array_equal(*crops)


def test_half_precision_only_rounds_the_outcome():
    # These values have no float16: casting first would lose them.
    images = 1000 + np.random.default_rng(0).random((4, 9, 12, 3), "float32")
    full, half = (
        RandomResizedCrop(6, 5, seed=5, dtype=dtype)(images, training=True)
        for dtype in ("float32", "mixed_float16")
    )
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    np.testing.assert_array_equal(numpy(half), numpy(full).astype("float16"))


@pytest.mark.every_backend
def test_random_numbers_advance_in_compiled_predict_and_fit():
    class Trained(keras.Model):
        def __init__(self):
            super().__init__()
            self.crop = RandomResizedCrop(4, 4, seed=1)
            self.head = keras.layers.Dense(1)

        def call(self, images, training=None):
            crops = self.crop(images, training=training)
            return self.head(ops.mean(crops, axis=(1, 2)))

    model = Trained()
    model.compile("sgd", loss="mse")
    images = random_images(8).astype("float32") / 255
    model.fit(images, np.zeros((8, 1)), batch_size=4, epochs=2, verbose=0)
    state = numpy(model.crop.seed_generator.state.value)
    assert state.tolist() == [1, 4]
    model.predict(images, verbose=0)
    state = numpy(model.crop.seed_generator.state.value)
    assert state.tolist() == [1, 4]


def test_functional_model_takes_any_batch_size():
    inputs = keras.Input((9, 12, 3))
    model = keras.Model(inputs, RandomResizedCrop(6, 5)(inputs, training=True))
    model.compile()
    assert model.output_shape == (None, 6, 5, 3)
    for count in (3, 5):
        out = model.predict(random_images(count), verbose=0, batch_size=2)
        assert out.shape == (count, 6, 5, 3)


@pytest.mark.every_backend
def test_gradient_flows_to_the_images():
    kernel = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    inputs = keras.Input((9, 12, 1))
    outputs = RandomResizedCrop(4, 4)(kernel(inputs))
    model = keras.Model(inputs, ops.sum(outputs, axis=(1, 2, 3)))
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: y)
    model.fit(np.ones((2, 9, 12, 1)), np.zeros(2), verbose=0)
    # A crop of ones is 16 ones, whichever the window.
    np.testing.assert_allclose(numpy(kernel.kernel.value), 1 - 16, rtol=1e-4)


def test_config_round_trip():
    layer = RandomResizedCrop(
        6, 5, scale=(0.2, 0.9), ratio=(0.5, 2.0), horizontal_flip=0.5, seed=3
    )
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(config))
    )
    assert again.get_config() == layer.get_config()
    images = random_images()
    np.testing.assert_array_equal(
        numpy(again(images, training=True)), numpy(layer(images, training=True))
    )


@pytest.mark.every_backend
def test_saved_model_restarts_from_the_seed(tmp_path):
    """As with every layer of Keras: only `TwoViews` keeps the state."""
    inputs = keras.Input((9, 12, 3))
    model = keras.Model(
        inputs, RandomResizedCrop(6, 5, seed=2)(inputs, training=True)
    )
    images = random_images()
    first = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0), first, atol=1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"height": 0}, "`height`"),
        ({"width": 2.5}, "`width`"),
        ({"scale": (0.5, 0.1)}, "`scale`"),
        ({"scale": (0.0, 1.0)}, "`scale`"),
        ({"scale": (0.5, 1.1)}, "`scale`"),
        ({"scale": 0.5}, "`scale`"),
        ({"scale": (float("nan"), 1.0)}, "`scale`"),
        ({"ratio": (-1.0, 1.0)}, "`ratio`"),
        ({"ratio": (2.0, 1.0)}, "`ratio`"),
        ({"ratio": (1.0, float("inf"))}, "`ratio`"),
        ({"horizontal_flip": 1.5}, "`horizontal_flip`"),
        ({"horizontal_flip": -0.5}, "`horizontal_flip`"),
    ],
)
def test_bad_argument_is_named(arguments, named):
    with pytest.raises(ValueError, match=f"{named}.*Received"):
        RandomResizedCrop(**{"height": 8, "width": 8, **arguments})


def test_unknown_argument_is_refused():
    with pytest.raises((TypeError, ValueError)):
        RandomResizedCrop(8, 8, antialias=True)


@pytest.mark.parametrize("shape", [(9, 12, 3), (2, 2, 9, 12, 3)])
def test_anything_but_a_batch_of_images_is_refused(shape):
    with pytest.raises(ValueError, match="batch, height, width, channels"):
        RandomResizedCrop(8, 8)(np.zeros(shape))


def test_unknown_image_size_is_refused():
    with pytest.raises(ValueError, match="only the batch may be unknown"):
        RandomResizedCrop(8, 8)(keras.Input((None, None, 3)))


def test_channels_first_is_refused():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last"):
            RandomResizedCrop(8, 8)
    finally:
        keras.config.set_image_data_format(before)
