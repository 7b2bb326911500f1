"""Views made of two crops that the data has cut."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

pytestmark = pytest.mark.every_backend


def crops_of(count=6, size=12):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, 2, size, size, 3), dtype="uint8")


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_each_crop_is_a_view_of_its_own():
    views = lt.layers.TwoViews([keras.layers.Rescaling(2.0)], takes_views=True)
    crops = crops_of()
    np.testing.assert_allclose(as_numpy(views(crops)), 2.0 * crops)
    spec = views.compute_output_spec(keras.KerasTensor((None, 2, 12, 12, 3)))
    assert spec.shape == (None, 2, 12, 12, 3)


def test_views_of_crops_are_the_crops_or_their_mirror_images():
    crops = crops_of(count=40)
    layer = lt.layers.simclr_views(
        12, scale=None, jitter_probability=0.0, grayscale=0.0, seed=0
    )
    views = as_numpy(layer(crops))
    assert views.shape == crops.shape
    is_same = np.abs(views - crops).max(axis=(2, 3, 4)) < 0.1
    is_mirrored = np.abs(views - crops[:, :, :, ::-1]).max(axis=(2, 3, 4)) < 0.1
    assert (is_same ^ is_mirrored).all()
    assert 20 < is_mirrored.sum() < 60
    # The two of a sample do not go together.
    assert (is_mirrored[:, 0] != is_mirrored[:, 1]).sum() > 8


def test_colors_and_blur_are_drawn_for_each_crop():
    crops = np.repeat(crops_of()[:, :1], 2, axis=1)
    layer = lt.layers.simclr_views(
        12, scale=None, horizontal_flip=0.0, blur=1.0, seed=0
    )
    views = as_numpy(layer(crops))
    assert (np.abs(views[:, 0] - views[:, 1]).max(axis=(1, 2, 3)) > 1).all()


def test_the_layer_is_saved_with_what_it_takes():
    layer = lt.layers.simclr_views(12, scale=None, seed=3)
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    crops = crops_of()
    np.testing.assert_array_equal(
        as_numpy(layer(crops)), as_numpy(again(crops))
    )


def test_images_are_refused_where_two_views_are_expected():
    layer = lt.layers.simclr_views(12, scale=None)
    with pytest.raises(ValueError, match=r"must be two views of each sample"):
        layer(crops_of()[:, 0])
    with pytest.raises(ValueError, match="`takes_views` must be"):
        lt.layers.TwoViews(keras.layers.Rescaling(1.0), takes_views=2)


class Crops(keras.utils.PyDataset):
    crop_scale = (0.1, 1.0)
    num_batches = 2

    def __getitem__(self, index):
        return crops_of(), np.arange(6 * index, 6 * index + 6, dtype="int32")


def model_with(augmenter):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    model = lt.models.ContrastiveModel(encoder, augmenter=augmenter)
    model.compile("sgd", loss=lt.losses.NTXentLoss(0.5))
    return model


def test_fit_makes_the_views_of_the_crops_of_the_data():
    model = model_with(lt.layers.simclr_views(12, scale=None, seed=0))
    history = model.fit(Crops(), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    # The augmenter takes part: another draw, another loss.
    losses = [model.evaluate(Crops(), verbose=0) for _ in range(2)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("augmenter", [None, "simclr"])
def test_fit_refuses_crops_that_the_augmenter_would_not_see(augmenter):
    views = None if augmenter is None else lt.layers.simclr_views(12)
    with pytest.raises(ValueError, match="must take the random crops of the"):
        model_with(views).fit(Crops(), verbose=0)
