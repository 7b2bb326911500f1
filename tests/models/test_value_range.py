"""Images must have the values that the views are made for."""

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.models.value_range import check_value_range

SIZE = 8
_numbers = np.random.default_rng(0)
FRACTIONS = _numbers.uniform(size=(6, SIZE, SIZE, 3)).astype("float32")
BYTES = _numbers.integers(0, 256, (6, SIZE, SIZE, 3)).astype("uint8")


def _views(value_range):
    return lt.layers.simclr_views(SIZE, value_range=value_range)


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (BYTES, (0, 255)),
        (BYTES.astype("float32"), (0, 255)),
        (FRACTIONS, (0, 1)),
        (2 * FRACTIONS - 1, (-1, 1)),
        (0 * FRACTIONS, (0, 255)),
        (1.1 * FRACTIONS - 0.05, (0, 1)),
    ],
)
def test_images_that_fit_pass(images, value_range):
    check_value_range(images, _views(value_range))


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (FRACTIONS, (0, 255)),
        (2 * FRACTIONS - 1, (0, 255)),
        (5 * FRACTIONS - 2.5, (0, 255)),
        (BYTES, (0, 1)),
        (BYTES.astype("float32"), (-1, 1)),
        (BYTES.astype("uint16") * 257, (0, 255)),
    ],
)
def test_images_of_another_range_are_refused(images, value_range):
    message = r"value_range.*simclr_views\(.*Received: value_range=\("
    with pytest.raises(ValueError, match=message):
        check_value_range(images, _views(value_range))


def test_integers_of_0_and_1_are_warned_of():
    with pytest.warns(UserWarning, match="only 0 and 1.*value_range"):
        check_value_range(BYTES % 2, _views((0, 255)))


def test_the_range_is_found_in_every_kind_of_augmenter():
    color = lt.layers.RandomColorDistortion()
    for augmenter in (
        color,
        lt.layers.TwoViews(color),
        lt.layers.TwoViews([keras.layers.RandomFlip(), color]),
        lt.layers.TwoViews(keras.Sequential([color])),
        lt.layers.BoostedViews(_views((0, 255))),
    ):
        with pytest.raises(ValueError, match="value_range"):
            check_value_range(FRACTIONS, augmenter)


def test_views_without_a_range_and_data_that_cannot_be_read_pass():
    check_value_range(FRACTIONS, None)
    check_value_range(FRACTIONS, lt.layers.TwoViews(keras.layers.RandomFlip()))
    check_value_range(iter([FRACTIONS]), _views((0, 255)))


def test_a_dataset_is_looked_at_without_a_change_of_its_order():
    batches = lt.datasets.ImageBatches(FRACTIONS, batch_size=2, seed=1)
    untouched = lt.datasets.ImageBatches(FRACTIONS, batch_size=2, seed=1)
    with pytest.raises(ValueError, match="value_range"):
        check_value_range(batches, _views((0, 255)))
    for index in range(3):
        np.testing.assert_array_equal(batches[index][1], untouched[index][1])


def _model():
    encoder = keras.Sequential([keras.layers.GlobalAveragePooling2D()])
    model = lt.models.ContrastiveModel(encoder)
    model.compile("sgd", loss=lt.losses.NTXentLoss())
    return model


def test_fit_refuses_fractions_for_the_default_views():
    with pytest.raises(ValueError, match="value_range"):
        _model().fit(FRACTIONS, verbose=0)


@pytest.mark.parametrize("channels", [2, 5])
def test_default_views_say_which_channels_they_take(channels):
    images = np.zeros((4, SIZE, SIZE, channels), "uint8")
    with pytest.raises(ValueError, match=r"1 or 3 channels.*`augmenter`"):
        _model().fit(images, verbose=0)


def test_an_augmenter_without_colors_takes_five_channels():
    model = _model()
    model.augmenter = lt.layers.TwoViews([lt.layers.RandomResizedCrop(8, 8)])
    model.fit(np.zeros((4, SIZE, SIZE, 5), "uint8"), verbose=0)
