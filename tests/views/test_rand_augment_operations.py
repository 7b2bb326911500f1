"""Every operation of RandAugment against Pillow, image by image."""

import keras
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
from keras import ops

from gradients import value_and_gradient
from keras_ltssl.views.rand_augment_operations import (
    OPERATIONS,
    rand_augment,
)

NAMES = list(OPERATIONS)
STRENGTHS = (0.0, 4.3, 10.9, 15.0, 23.7, 29.9)
HEIGHT, WIDTH = 30, 34
rng = np.random.default_rng(0)


def picture(channels=3):
    """Smooth, noisy, of little contrast, with a flat channel, if several."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    waves = [np.sin(7 * x + i) * np.cos(5 * y) for i in range(channels)]
    pixels = 110 + 55 * np.stack(waves, -1) + rng.normal(0, 9, (*x.shape, 1))
    if channels == 3:
        pixels[..., 2] = rng.choice([60, pixels[0, 0, 2]])
    return np.clip(pixels, 20, 200).astype("uint8")


def cutout(image, v, place):
    side = v * image.width
    if side <= 0:
        return image
    left = int(max(0, place[0] * image.width - side / 2))
    top = int(max(0, place[1] * image.height - side / 2))
    gray = image.mode == "L"
    PIL.ImageDraw.Draw(image).rectangle(
        (left, top, int(left + side), int(top + side)),
        123 if gray else (125, 123, 114),
    )
    return image


def by_pillow(pixels, name, strength, sign, place):
    low, high = OPERATIONS[name]
    v = low + (high - low) * strength / 30
    image = PIL.Image.fromarray(
        pixels[..., 0] if pixels.shape[2] == 1 else pixels
    )

    def moved(*coefficients):
        return image.transform(
            image.size, PIL.Image.Transform.AFFINE, coefficients
        )

    enhance = PIL.ImageEnhance
    image = {
        "shear_x": lambda: moved(1, sign * v, 0, 0, 1, 0),
        "shear_y": lambda: moved(1, 0, 0, sign * v, 1, 0),
        "translate_x": lambda: moved(1, 0, sign * v * WIDTH, 0, 1, 0),
        "translate_y": lambda: moved(1, 0, 0, 0, 1, sign * v * HEIGHT),
        "rotate": lambda: image.rotate(sign * v),
        "autocontrast": lambda: PIL.ImageOps.autocontrast(image),
        "invert": lambda: PIL.ImageOps.invert(image),
        "equalize": lambda: PIL.ImageOps.equalize(image),
        "solarize": lambda: PIL.ImageOps.solarize(image, v),
        "posterize": lambda: PIL.ImageOps.posterize(image, int(v)),
        "contrast": lambda: enhance.Contrast(image).enhance(v),
        "color": lambda: enhance.Color(image).enhance(v),
        "brightness": lambda: enhance.Brightness(image).enhance(v),
        "sharpness": lambda: enhance.Sharpness(image).enhance(v),
        "cutout": lambda: cutout(image, v, place),
    }[name]()
    return np.asarray(image).reshape(pixels.shape)


class Augmented(keras.layers.Layer):
    def call(self, images, *how):
        return rand_augment(images, *how)

    def compute_output_shape(self, images_shape, *_):
        return images_shape


def compiled(channels):
    """Compiles, as piece by piece JAX would need a minute for it."""
    inputs = [
        keras.Input((HEIGHT, WIDTH, channels)),
        keras.Input((), dtype="int32"),
        keras.Input(()),
        keras.Input(()),
        keras.Input((2,)),
    ]
    model = keras.Model(inputs, Augmented()(*inputs))
    # Keras would warn of a layer that cannot. TensorFlow leaves it on CPUs.
    model.jit_compile = keras.backend.backend() != "torch"
    return model.predict_on_batch


@pytest.fixture(scope="module", params=[3, 1], ids=["rgb", "gray"])
def batch(request):
    """All operations at all strengths; what they take and what they give."""
    operation = np.repeat(np.arange(-1, len(NAMES)), len(STRENGTHS))
    count = len(operation)
    given = (
        np.stack([picture(request.param) for _ in range(count)]),
        operation.astype("int32"),
        np.tile(STRENGTHS, len(NAMES) + 1).astype("float32"),
        rng.choice([-1, 1], count).astype("float32"),
        rng.random((count, 2)).astype("float32"),
    )
    given = (given[0].astype("float32"), *given[1:])
    run = compiled(request.param)
    return given, run(given), run


@pytest.mark.every_backend
@pytest.mark.parametrize("name", NAMES)
def test_operation_equals_pillow(batch, name):
    given, out, _ = batch
    rows = np.flatnonzero(given[1] == NAMES.index(name))
    images, _, *how = (part[rows] for part in given)
    images = images.astype("uint8")
    expected = np.stack(
        [
            by_pillow(image, name, *row)
            for image, *row in zip(images, *how, strict=True)
        ]
    )
    apart = np.abs(out[rows] - expected)
    assert (expected != images).any() or (
        name == "color" and images.shape[-1] == 1
    )
    if name in ("shear_x", "shear_y", "rotate"):
        # Fixed-point arithmetic puts a pixel at an edge on either side.
        assert (apart > 0).mean() < 0.003
    elif name in ("invert", "equalize", "solarize", "posterize", "cutout"):
        assert apart.max() < 0.5
    elif name in ("translate_x", "translate_y"):
        assert apart.max() == 0
    else:
        # Pillow cuts fractions off, and rounds luminances.
        assert apart.max() < 1.5


def test_values_out_of_range_are_clipped_unless_nothing_is_done(batch):
    given, _, run = batch
    wide = 3 * given[0] - 200
    assert wide.min() < 0
    assert wide.max() > 255
    rows = given[1] < 0
    out = run((wide, *given[1:]))
    np.testing.assert_array_equal(out[rows], wide[rows])
    assert out[~rows].min() == 0
    assert out[~rows].max() == 255
    equalizes = given[1] == NAMES.index("equalize")
    clipped = run((np.clip(wide, 0, 255), *given[1:]))
    np.testing.assert_array_equal(out[equalizes], clipped[equalizes])


def test_an_image_does_not_depend_on_the_others(batch):
    """Same-sized batches, but only every third image stays in its row."""
    given, out, run = batch
    kept = np.arange(len(out)) % 3 == 0
    order = np.where(kept, np.arange(len(out)), np.arange(len(out))[::-1])
    again = run(tuple(part[order] for part in given))
    np.testing.assert_array_equal(again[kept], out[kept])
    np.testing.assert_array_equal(again, out[order])


def test_any_number_of_images_is_equalized_and_rounded_before(batch):
    """They are worked on in portions of 32, and these are 63."""
    given, _, run = batch
    rows = np.arange(len(given[0]))
    names = np.where(rows % 3, "equalize", "posterize")
    operation = np.array([NAMES.index(name) for name in names], "int32")
    operation[5] = -1
    assert (names == "equalize").sum() == 64
    noise = rng.uniform(-0.49, 0.49, given[0].shape).astype("float32")
    out = run((given[0] + noise, operation, *given[2:]))
    expected = [
        by_pillow(x, name, strength, 1, None)
        for x, name, strength in zip(
            given[0].astype("uint8"), names, given[2], strict=True
        )
    ]
    others = rows != 5
    np.testing.assert_array_equal(out[others], np.array(expected)[others])
    np.testing.assert_array_equal(out[5], given[0][5] + noise[5])


def test_what_rounding_leaves_of_a_flat_channel_is_not_stretched(batch):
    given, _, run = batch
    flat = 100 + 1e-3 * rng.random(given[0].shape).astype("float32")
    operation = np.full(len(flat), NAMES.index("autocontrast"), "int32")
    out = run((flat, operation, *given[2:]))
    np.testing.assert_array_equal(out, flat)


def test_tiny_images_are_no_exception_and_no_gradient_flows_through():
    images = rng.uniform(0, 255, (15, 1, 2, 3)).astype("float32")

    def total(x):
        ones = ops.ones((15,))
        operation = ops.arange(15, dtype="int32")
        place = 0.5 * ops.ones((15, 2))
        out = rand_augment(x, operation, 20 * ones, ones, place)
        return ops.sum(out) + 0.0 * ops.sum(x)

    value, gradient = value_and_gradient(total, images)
    assert np.isfinite(value)
    np.testing.assert_array_equal(gradient, 0.0)
