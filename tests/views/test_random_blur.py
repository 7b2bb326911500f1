import json

import keras
import numpy as np
import pytest
from keras import ops

import reference
from keras_ltssl.views.random_blur import RandomBlur

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (12, 5, 6, 2)).astype("uint8")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.every_backend
def test_blur_equals_slow_reference_for_the_sigma_drawn():
    layer, twin = (RandomBlur(sigma=(0.2, 3.0), seed=1) for _ in range(2))
    sigma = numpy(twin.draw_sigma(12))
    assert (sigma == 0).any()
    assert (sigma > 0).sum() > 1
    out = numpy(layer(images, training=True))
    for image, blurred, width in zip(images, out, sigma, strict=True):
        if width:
            np.testing.assert_allclose(
                blurred, reference.blurred(image, width), atol=1e-2
            )
        else:
            np.testing.assert_allclose(blurred, image, rtol=0, atol=1e-12)


def test_sigma_is_uniform_and_comes_with_the_probability_asked_for():
    sigma = numpy(
        RandomBlur(probability=0.3, sigma=(1.0, 2.0), seed=0).draw_sigma(20_000)
    )
    blurred = np.sort(sigma[sigma > 0])
    assert abs(len(blurred) / 20_000 - 0.3) < 0.015
    quantiles = 1 + np.arange(1, len(blurred) + 1) / len(blurred)
    assert np.abs(blurred - quantiles).max() < 0.025


@pytest.mark.every_backend
def test_blur_advances_and_stops_when_not_training():
    layer = RandomBlur(probability=1.0, seed=0)
    first, second = (numpy(layer(images, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1
    np.testing.assert_array_equal(numpy(layer(images, training=False)), images)


def test_half_precision_only_rounds_the_outcome():
    full, half = (
        RandomBlur(seed=5, dtype=dtype)(images, training=True)
        for dtype in ("float32", "mixed_float16")
    )
    np.testing.assert_array_equal(numpy(half), numpy(full).astype("float16"))


def test_config_round_trip_gives_the_same_blur():
    layer = RandomBlur(probability=0.7, sigma=(0.5, 1.5), seed=4)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(
        numpy(again(images, training=True)), numpy(layer(images, training=True))
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"probability": 1.5},
        {"probability": -0.5},
        {"sigma": (0.0, 1.0)},
        {"sigma": (2.0, 1.0)},
        {"sigma": (1.0, float("inf"))},
        {"sigma": (1.0,)},
    ],
)
def test_bad_argument_is_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must.*Received"):
        RandomBlur(**arguments)


def test_anything_but_a_batch_of_images_is_refused():
    with pytest.raises(ValueError, match="batch, height, width"):
        RandomBlur()(np.zeros((5, 6, 2)))


def test_channels_first_is_refused():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last"):
            RandomBlur()
    finally:
        keras.config.set_image_data_format(before)
