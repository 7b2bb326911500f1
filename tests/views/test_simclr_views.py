import keras
import numpy as np
import pytest

from keras_ltssl.views.boosted_views import BoostedViews
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
    layer = simclr_views(8, blur=0.5, seed=0, rand_augment=0.5)
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "views.keras")
    again = keras.saving.load_model(tmp_path / "views.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0),
        model.predict(images, verbose=0),
        atol=1e-3,
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_is_that_of_boosted_views_at_one_weight(channels):
    x = images[..., :channels] / np.float32(255)
    unit = {"value_range": (0, 1), "seed": 0}
    layer = simclr_views(8, rand_augment=0.25, **unit)
    *_, operations = layer.pipeline
    boosted = BoostedViews(
        simclr_views(8, **unit), value_range=(0, 1), seed=operations.seed
    )
    inputs = [keras.Input(x.shape[1:]), keras.Input(())]
    model = keras.Model(inputs, boosted(*inputs))
    views = views_of(layer, x)
    weights = np.full(6, 0.25, "float32")
    expected = model.predict([x, weights], verbose=0)
    # Rounding may put a pixel on either side of a threshold.
    assert (np.abs(views - expected) > 1e-4).mean() < 0.005
    assert np.min(views) >= -1e-5
    assert np.max(views) <= 1 + 1e-5


def test_the_share_of_views_with_an_operation_is_rand_augment():
    copies = np.repeat(images, 100, axis=0)
    plain, same, more = (
        views_of(simclr_views(8, seed=0, rand_augment=share), copies)
        for share in (0.0, 0.0, 0.4)
    )
    np.testing.assert_array_equal(plain, same)
    # More than a compiler's rounding. Some operations leave some images alone.
    changed = (np.abs(plain - more) > 0.1).any(axis=(2, 3, 4))
    assert 0.3 < changed.mean() < 0.43
    assert 0.3 < (changed[:, 0] != changed[:, 1]).mean() < 0.55


@pytest.mark.parametrize("seed", [0, None])
def test_without_rand_augment_views_are_those_of_simclr(seed):
    assert len(simclr_views(8, seed=seed, rand_augment=0).pipeline) == 2
    stronger = simclr_views(8, seed=seed, rand_augment=1).pipeline
    assert len(stronger) == 3
    assert (stronger[-1].probability, stronger[-1].strength) == (1, 30)
    if seed is not None:  # What it draws beside takes nothing from the others.
        plain = simclr_views(8, seed=seed).pipeline
        assert [layer.seed for layer in stronger[:2]] == [
            layer.seed for layer in plain
        ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"image_size": 0}, "`image_size`"),
        ({"image_size": (8, -1)}, "`image_size`"),
        ({"scale": (2, 1)}, "`scale`"),
        ({"jitter": 2.0}, "`jitter`"),
        ({"blur": 2.0}, "`blur`"),
        ({"rand_augment": 1.5}, "`rand_augment`"),
    ],
)
def test_bad_argument_is_named(arguments, named):
    with pytest.raises(ValueError, match=f"{named}.*Received"):
        simclr_views(**{"image_size": 8, **arguments})
