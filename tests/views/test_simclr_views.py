import keras
import numpy as np
import pytest

from keras_ltssl.views.random_blur import RandomBlur
from keras_ltssl.views.simclr_views import simclr_views

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (6, 10, 12, 3)).astype("uint8")


def views_of(layer, x):
    """The views as a compiled model draws them."""
    inputs = keras.Input(x.shape[1:])
    return keras.Model(inputs, layer(inputs)).predict(x, verbose=0)


@pytest.mark.every_backend
def test_compiled_views_differ_between_views_samples_and_calls():
    copies = np.repeat(images[:1], 6, axis=0)
    layer = simclr_views(8, blur=0.5, seed=0)
    inputs = keras.Input(copies.shape[1:])
    model = keras.Model(inputs, layer(inputs))
    views = [model.predict(copies, verbose=0) for _ in range(2)]
    assert views[0].shape == (6, 2, 8, 8, 3)
    distinct = {view.tobytes() for view in np.reshape(views, (24, 192))}
    assert len(distinct) == 24
    assert np.min(views) >= -1e-3
    assert np.max(views) <= 255 * (1 + 1e-6)
    assert np.std(views) > 10


def test_same_seed_makes_the_same_layers():
    configs = [
        simclr_views(8, blur=0.5, seed=s).get_config() for s in (0, 0, 1)
    ]
    seeds = [
        [layer["config"]["seed"] for layer in config["pipeline"]]
        for config in configs
    ]
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6


def test_images_with_one_channel_keep_it():
    views = views_of(simclr_views((8, 6), seed=0), images[..., :1])
    assert views.shape == (6, 2, 8, 6, 1)


def test_blur_is_in_proportion_to_the_size_and_absent_by_default():
    assert len(simclr_views(32).pipeline) == 2
    _, blur, _ = simclr_views(112, blur=0.5).pipeline
    assert isinstance(blur, RandomBlur)
    np.testing.assert_allclose(blur.sigma, (0.05, 1.0))


@pytest.mark.every_backend
def test_saved_views_load_in_the_same_state(tmp_path):
    inputs = keras.Input(images.shape[1:])
    model = keras.Model(inputs, simclr_views(8, blur=0.5, seed=0)(inputs))
    model.save(tmp_path / "views.keras")
    again = keras.saving.load_model(tmp_path / "views.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0),
        model.predict(images, verbose=0),
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"image_size": 0}, "`image_size`"),
        ({"image_size": (8, -1)}, "`image_size`"),
        ({"scale": (2, 1)}, "`scale`"),
        ({"jitter": 2.0}, "`jitter`"),
        ({"blur": 2.0}, "`blur`"),
    ],
)
def test_bad_argument_is_named(arguments, named):
    with pytest.raises(ValueError, match=f"{named}.*Received"):
        simclr_views(**{"image_size": 8, **arguments})
