import colorsys
import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_ltssl.layers.random_color_distortion import (
    RandomColorDistortion,
    jitter_colors,
)

rng = np.random.default_rng(0)
# Far from black and white, so that nothing is clipped but on purpose.
colored = rng.uniform(100, 150, (512, 4, 4, 3)).astype("float32")
copies = np.repeat(rng.uniform(100, 150, (1, 4, 4, 3)), 512, axis=0)
copies = copies.astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def is_gray(images):
    return np.ptp(images, axis=-1).max(axis=(1, 2)) < 1e-2


def slow_jitter(image, brightness, contrast, saturation, hue):
    """Pixel by pixel, with the hue of the standard library."""

    def clipped(x):
        return min(max(x, 0.0), 1.0)

    def luminance(pixel):
        if len(pixel) == 1:
            return pixel[0]
        return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]

    channels = image.shape[2]
    pixels = [
        [clipped(brightness * x) for x in pixel]
        for pixel in image.reshape(-1, channels).tolist()
    ]
    mean = sum(luminance(pixel) for pixel in pixels) / len(pixels)
    out = []
    for pixel in pixels:
        new = [clipped(mean + contrast * (x - mean)) for x in pixel]
        if channels == 3:
            gray = luminance(new)
            new = [clipped(gray + saturation * (x - gray)) for x in new]
            h, s, v = colorsys.rgb_to_hsv(*new)
            new = colorsys.hsv_to_rgb((h + hue) % 1.0, s, v)
        out.append(new)
    return np.reshape(out, image.shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_equals_slow_reference(channels):
    images = rng.random((512, 4, 4, channels)).astype("float32")
    images[0, 0] = 0.0
    images[0, 1] = 1.0
    images[1, 0] = 0.5
    amounts = [
        rng.uniform(0, 2, 512),
        rng.uniform(0, 2, 512),
        rng.uniform(0, 2, 512),
        np.linspace(-0.5, 0.5, 512),
    ]
    amounts = [amount.astype("float32") for amount in amounts]
    expected = [
        slow_jitter(image, *(amount[i] for amount in amounts))
        for i, image in enumerate(images)
    ]
    out = jitter_colors(images, *map(ops.convert_to_tensor, amounts))
    np.testing.assert_allclose(numpy(out), expected, atol=1e-5)


def test_every_image_draws_its_own_and_calls_differ():
    layer = RandomColorDistortion(jitter_probability=1.0, grayscale=0.0, seed=0)
    first, second = (numpy(layer(copies, training=True)) for _ in range(2))
    assert len({image.tobytes() for image in first}) == 512
    assert np.abs(first - second).max(axis=(1, 2, 3)).min() > 0


def test_jitter_and_gray_come_with_the_probabilities_asked_for():
    before = copies.copy()
    out = numpy(RandomColorDistortion(seed=0)(copies, training=True))
    np.testing.assert_array_equal(copies, before)
    gray = is_gray(out)
    # An image that is gray may be jittered as well; the others tell.
    untouched = (np.abs(out - copies) < 1e-2).all(axis=(1, 2, 3))
    assert abs(gray.mean() - 0.2) < 0.06
    assert abs(untouched[~gray].mean() - 0.2) < 0.06


def test_brightness_and_contrast_reach_the_strength_both_ways():
    one_channel = copies[..., :1]
    layer = RandomColorDistortion(jitter=0.2, jitter_probability=1.0, seed=0)
    out = numpy(layer(one_channel, training=True))
    axes = (1, 2, 3)
    brightness = out.mean(axes) / one_channel.mean(axes)
    both = out.std(axes) / one_channel.std(axes)
    for amount in (brightness, both / brightness):
        assert 0.8 - 1e-3 <= amount.min() < 0.81
        assert 1.19 < amount.max() <= 1.2 + 1e-3
        assert abs(amount.mean() - 1) < 0.02
    assert abs(np.corrcoef(brightness, both / brightness)[0, 1]) < 0.2


def test_hue_turns_by_up_to_a_quarter_of_the_strength_both_ways():
    colors = np.tile(np.array([120, 60, 60], "float32"), (512, 4, 4, 1))
    layer = RandomColorDistortion(
        jitter=0.4, jitter_probability=1.0, grayscale=0.0, seed=0
    )
    out = numpy(layer(colors, training=True))[:, 0, 0]
    hue = np.array([colorsys.rgb_to_hsv(*color)[0] for color in out])
    hue = np.where(hue > 0.5, hue - 1, hue)
    assert -0.1 - 1e-3 <= hue.min() < -0.095
    assert 0.095 < hue.max() <= 0.1 + 1e-3
    assert abs(hue.mean()) < 0.01


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1)])
def test_result_stays_in_the_value_range(value_range):
    low, high = value_range
    extreme = rng.uniform(low, high, (512, 4, 4, 3)).astype("float32")
    layer = RandomColorDistortion(
        jitter=0.9, jitter_probability=1.0, value_range=value_range, seed=0
    )
    out = numpy(layer(extreme, training=True))
    assert out.min() >= low - 1e-4 * high
    assert out.max() <= high * (1 + 1e-6)
    assert out.std() > 0.1 * high


def test_one_channel_stays_one_channel():
    layer = RandomColorDistortion(grayscale=1.0, seed=0)
    images = rng.integers(0, 256, (512, 4, 4, 1)).astype("uint8")
    out = numpy(layer(images, training=True))
    assert out.shape == images.shape
    assert out.dtype == "float32"


def test_nothing_happens_when_not_training_or_at_strength_zero():
    layer = RandomColorDistortion(jitter_probability=1.0, seed=0)
    np.testing.assert_array_equal(
        numpy(layer(colored, training=False)), colored
    )
    still = RandomColorDistortion(jitter=0.0, grayscale=0.0)
    np.testing.assert_array_equal(numpy(still(colored, training=True)), colored)


def test_gray_is_luminance():
    layer = RandomColorDistortion(jitter=0.0, grayscale=1.0)
    out = numpy(layer(colored, training=True))
    expected = colored @ np.array([0.299, 0.587, 0.114])
    assert is_gray(out).all()
    np.testing.assert_allclose(out[..., 0], expected, rtol=1e-5)


def test_half_precision_only_rounds_the_outcome():
    full, half = (
        RandomColorDistortion(seed=5, dtype=dtype)(colored, training=True)
        for dtype in ("float32", "mixed_float16")
    )
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    np.testing.assert_array_equal(numpy(half), numpy(full).astype("float16"))


def test_config_round_trip_gives_the_same_distortions():
    layer = RandomColorDistortion(
        jitter=0.3,
        jitter_probability=0.7,
        grayscale=0.1,
        value_range=(0, 200),
        seed=4,
    )
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(
        numpy(again(colored, training=True)),
        numpy(layer(colored, training=True)),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"jitter": 1.0},
        {"jitter": -0.1},
        {"jitter_probability": 1.1},
        {"grayscale": -0.1},
        {"value_range": (1, 0)},
        {"value_range": (1, 2, 3)},
    ],
)
def test_bad_argument_is_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        RandomColorDistortion(**arguments)


@pytest.mark.parametrize("shape", [(2, 6, 6, 2), (6, 6, 3)])
def test_images_of_other_channels_or_rank_are_refused(shape):
    with pytest.raises(ValueError, match="one or three channels"):
        RandomColorDistortion()(np.zeros(shape))


def test_channels_first_is_refused():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last"):
            RandomColorDistortion()
    finally:
        keras.config.set_image_data_format(before)
