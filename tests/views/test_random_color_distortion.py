import colorsys
import itertools
import json

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.datasets import load_sample_image

import reference
from keras_ltssl.views.color_jitter import jitter_colors
from keras_ltssl.views.random_color_distortion import RandomColorDistortion

rng = np.random.default_rng(0)
# Far from black and white, so that nothing is clipped but on purpose.
colored = rng.uniform(100, 150, (512, 4, 4, 3)).astype("float32")
copies = np.repeat(rng.uniform(100, 150, (1, 4, 4, 3)), 512, axis=0)
copies = copies.astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def is_gray(images):
    return np.ptp(images, axis=-1).max(axis=(1, 2)) < 1e-2


def draw_images(channels):
    images = rng.random((40, 4, 4, channels)).astype("float32")
    images[0, 0] = 0.0
    images[0, 1] = 1.0
    images[1, 0] = 0.5
    amounts = [rng.uniform(0, 2, 40) for _ in range(3)]
    amounts.append(np.linspace(-0.5, 0.5, 40))
    return images, np.array(amounts, "float32")


@pytest.mark.every_backend
@pytest.mark.parametrize("channels", [1, 3])
def test_one_matrix_does_what_the_steps_do_without_clipping(channels):
    images, amounts = draw_images(channels)
    expected = [
        reference.jittered(image, amounts[:, i])
        for i, image in enumerate(images)
    ]
    out = jitter_colors(images, *map(ops.convert_to_tensor, amounts))
    np.testing.assert_allclose(numpy(out), expected, atol=1e-5)


def test_without_clipping_every_order_gives_the_same():
    images, amounts = draw_images(3)
    out = numpy(jitter_colors(images, *map(ops.convert_to_tensor, amounts)))
    for i, image in enumerate(images[:24]):
        order = list(itertools.permutations(range(4)))[i]
        np.testing.assert_allclose(
            out[i], reference.jittered(image, amounts[:, i], order), atol=1e-5
        )


def test_what_is_brought_back_from_beyond_white_is_not_lost():
    image = np.array([0.2, 0.8], "float32").reshape(1, 1, 2, 1)
    one = ops.ones(1)
    out = jitter_colors(image, 2 * one, 0.5 * one, one, 0 * one)
    # Doubled 0.4 and 1.6, halved about the mean 1.0.
    np.testing.assert_allclose(numpy(out).ravel(), [0.7, 1.0], atol=1e-6)
    steps = reference.jittered(image[0], (2, 0.5, 1, 0), clips_each=True)
    np.testing.assert_allclose(steps.ravel(), [0.55, 0.85], atol=1e-6)


def test_black_of_another_value_range_is_where_brightness_counts_from():
    images, amounts = draw_images(3)
    amounts = [ops.convert_to_tensor(amount) for amount in amounts]
    out = jitter_colors(4 * images - 1, *amounts, value_range=(-1, 3))
    expected = 4 * numpy(jitter_colors(images, *amounts)) - 1
    np.testing.assert_allclose(numpy(out), expected, atol=2e-5)


def test_hue_turns_as_that_of_hsv_does_but_keeps_the_luminance():
    images, _ = draw_images(3)
    turn = np.linspace(-0.1, 0.1, 40, dtype="float32")
    one = ops.ones(40)
    # A range that nothing leaves: clipping would change hue and luminance.
    out = jitter_colors(
        images, one, one, one, ops.convert_to_tensor(turn), value_range=(-9, 9)
    )
    before, after = images[2:].reshape(-1, 3), numpy(out)[2:].reshape(-1, 3)
    weights = [0.299, 0.587, 0.114]
    np.testing.assert_allclose(after @ weights, before @ weights, atol=1e-5)
    hues = [
        np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in pixels])
        for pixels in (before, after)
    ]
    turn = turn[2:].repeat(16)
    apart = (hues[1] - hues[0] - turn + 0.5) % 1 - 0.5
    assert np.abs(360 * apart).max() < 16
    assert np.abs(360 * apart).mean() < 8
    assert np.corrcoef(turn, (hues[1] - hues[0] + 0.5) % 1 - 0.5)[0, 1] > 0.9


def test_statistics_on_real_images_are_those_of_the_usual_steps():
    """The usual: in random order, hue of HSV, clipped after every step."""
    pictures = [
        load_sample_image(name)[:384:4, :640:4] / 255
        for name in ("china.jpg", "flower.jpg")
    ]
    tiles = np.reshape(pictures, (2, 6, 16, 10, 16, 3)).swapaxes(2, 3)
    tiles = tiles.reshape(-1, 16, 16, 3)
    layer, twin = (
        RandomColorDistortion(
            jitter_probability=1.0, grayscale=0.0, value_range=(0, 1), seed=0
        )
        for _ in range(2)
    )
    out = numpy(layer(tiles.astype("float32"), training=True))
    amounts = np.transpose(
        [numpy(amount) for amount in twin.draw_amounts(len(tiles))]
    )
    expected = np.stack(
        [
            reference.jittered(
                tile, one, rng.permutation(4), reference.hsv_turned, True
            )
            for tile, one in zip(tiles, amounts, strict=True)
        ]
    )
    of_channels = (0, 1, 2)
    np.testing.assert_allclose(
        out.mean(of_channels), expected.mean(of_channels), atol=0.012
    )
    np.testing.assert_allclose(
        out.std(of_channels), expected.std(of_channels), atol=0.015
    )
    for of_images in (np.mean, np.std):
        ours, theirs = (
            of_images(images, axis=(1, 2, 3)) for images in (out, expected)
        )
        assert abs(ours.mean() - theirs.mean()) < 0.01
        assert abs(ours.std() - theirs.std()) < 0.01
        assert np.corrcoef(ours, theirs)[0, 1] > 0.97
    # Ten classes of pixels; as a scale, how far jitter has moved them.
    ours, theirs, before = (
        np.histogram(images, 10, (0, 1))[0] / images.size
        for images in (out, expected, tiles)
    )
    assert np.abs(ours - theirs).sum() < 0.06
    assert np.abs(before - theirs).sum() > 0.15
    assert np.abs(out - expected).mean() < 0.035
    assert np.corrcoef(out.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.every_backend
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
    layer = RandomColorDistortion(
        jitter=0.4, jitter_probability=1.0, grayscale=0.0, seed=0
    )
    hue = numpy(layer.draw_amounts(512)[3])
    assert -0.1 <= hue.min() < -0.099
    assert 0.099 < hue.max() <= 0.1
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
