import json

import keras
import numpy as np
import pytest
from keras import ops

import reference
from keras_ltssl.views.random_blur import RandomBlur
from keras_ltssl.views.random_color_distortion import RandomColorDistortion
from keras_ltssl.views.random_resized_crop import RandomResizedCrop
from keras_ltssl.views.two_views import TwoViews


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def noise(seed=0):
    return keras.layers.GaussianNoise(1.0, seed=seed)


@keras.saving.register_keras_serializable(package="tests")
class Numbered(keras.layers.Layer):
    """Adds 0, 1, 2, ... to the rows of the batch."""

    def call(self, x):
        rows = ops.arange(ops.shape(x)[0], dtype=x.dtype)
        return x + rows[:, None]


@keras.saving.register_keras_serializable(package="tests")
class HalfTheBatch(keras.layers.Layer):
    def call(self, x):
        return x[::2]


@keras.saving.register_keras_serializable(package="tests")
class Pair(keras.layers.Layer):
    def call(self, x):
        return x, x


@keras.saving.register_keras_serializable(package="tests")
class Encoded(keras.Model):
    """Views, then a dropout that zeroes all that it can in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.views = TwoViews(noise())
        self.drop = keras.layers.Dropout(0.99, seed=0)
        self.norm = keras.layers.BatchNormalization(momentum=0.0)

    def call(self, x, training=None):
        return self.norm(self.drop(self.views(x)))


def test_both_views_of_a_sample_lie_side_by_side():
    x = np.array([[100.0], [200.0], [300.0]])
    views = numpy(TwoViews(Numbered())(x))
    expected = [[[100], [101]], [[202], [203]], [[304], [305]]]
    np.testing.assert_array_equal(views, expected)


def test_every_view_of_every_sample_draws_its_own():
    views = numpy(TwoViews(noise())(np.zeros((5, 7))))
    assert views.shape == (5, 2, 7)
    assert len({view.tobytes() for view in views.reshape(10, 7)}) == 10


RESAMPLING = {
    "crop": lambda: [RandomResizedCrop(6, 5, horizontal_flip=0.5, seed=1)],
    "crop, blur, colors": lambda: [
        RandomResizedCrop(6, 5, seed=1),
        RandomBlur(sigma=(0.5, 1.5), seed=2),
        RandomColorDistortion(seed=3),
    ],
    "colors between": lambda: [
        RandomResizedCrop(6, 5, seed=1),
        RandomColorDistortion(seed=3),
        RandomBlur(sigma=(0.5, 1.5), seed=2),
    ],
    "blur, crop": lambda: [
        RandomBlur(probability=1.0, seed=2),
        RandomResizedCrop(6, 5, seed=1),
    ],
}


@pytest.mark.every_backend
@pytest.mark.parametrize("pipeline", RESAMPLING.values(), ids=RESAMPLING)
def test_resampling_once_gives_what_the_layers_give_in_a_row(pipeline):
    x = np.random.default_rng(0).integers(0, 256, (4, 9, 12, 3), "uint8")
    expected = np.repeat(x, 2, axis=0)
    for layer in pipeline():
        expected = layer(expected, training=True)
    views = TwoViews(pipeline())(x)
    np.testing.assert_allclose(
        numpy(views).reshape(8, 6, 5, 3), numpy(expected), atol=2e-3
    )


def test_crop_and_blur_in_one_equal_the_slow_references():
    x = np.random.default_rng(0).integers(0, 256, (4, 9, 12, 3), "uint8")
    crop, crop_twin = (RandomResizedCrop(6, 5, seed=1) for _ in range(2))
    blur, blur_twin = (
        RandomBlur(probability=1.0, sigma=(0.5, 1.5), seed=2) for _ in range(2)
    )
    views = numpy(TwoViews([crop, blur])(x)).reshape(8, 6, 5, 3)
    windows = numpy(crop_twin.draw_windows(8, 9, 12))
    crops = reference.cropped(np.repeat(x, 2, axis=0), windows, 6, 5)
    for view, cut, sigma in zip(
        views, crops, numpy(blur_twin.draw_sigma(8)), strict=True
    ):
        np.testing.assert_allclose(
            view, reference.blurred(cut, sigma), atol=2e-3
        )


@pytest.mark.every_backend
def test_halved_precision_is_that_of_the_last_layer():
    x = np.random.default_rng(0).integers(0, 256, (4, 9, 12, 3), "uint8")
    full, half = (
        TwoViews(
            [
                RandomResizedCrop(6, 5, seed=1),
                RandomBlur(seed=2, dtype=dtype),
            ]
        )(x)
        for dtype in ("float32", "mixed_float16")
    )
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    np.testing.assert_array_equal(numpy(half), numpy(full).astype("float16"))


def test_layers_of_a_list_are_applied_in_order():
    double = keras.layers.Rescaling(2.0)
    add = keras.layers.Rescaling(1.0, offset=1.0)
    views = numpy(TwoViews([double, add])(np.ones((2, 3))))
    np.testing.assert_array_equal(views, np.full((2, 2, 3), 3.0))


@pytest.mark.parametrize("training", [True, False, None])
def test_views_are_random_also_when_not_training(training):
    views = numpy(TwoViews(noise())(np.zeros((2, 3)), training=training))
    assert np.abs(views[:, 0] - views[:, 1]).min() > 0


@pytest.mark.every_backend
def test_layers_after_the_views_do_not_train_in_inference():
    """Keras hands on the flag of the latest call; it has to be put back."""
    x = np.ones((4, 100), "float32")
    model = Encoded()
    # The first call builds, the second does not.
    for _ in range(2):
        out = numpy(model(x, training=False))
        assert (out != 0).all()
    np.testing.assert_array_equal(numpy(model.norm.moving_mean.value), 0)
    model(x, training=True)
    assert np.abs(numpy(model.norm.moving_mean.value)).max() > 0


@pytest.mark.every_backend
def test_layers_after_the_views_train_in_training():
    class Dropped(keras.Model):
        def __init__(self):
            super().__init__()
            self.views = TwoViews(keras.layers.Rescaling(1.0))
            self.drop = keras.layers.Dropout(0.5, seed=0)

        # Keras 3.8 drops the flag of a model that does not name it.
        def call(self, x, training=None):
            return self.drop(self.views(x))

    model = Dropped()
    for _ in range(2):
        zeros = np.mean(numpy(model(np.ones((4, 100)), training=True)) == 0)
        assert 0.3 < zeros < 0.7
        assert (numpy(model(np.ones((4, 100)), training=False)) == 1).all()


def test_views_in_a_functional_model_of_any_batch_size():
    inputs = keras.Input((9, 9, 3))
    views = TwoViews([RandomResizedCrop(6, 5, seed=0)])(inputs)
    assert views.shape == (None, 2, 6, 5, 3)
    model = keras.Model(inputs, views)
    for count in (2, 3):
        x = np.random.default_rng(0).random((count, 9, 9, 3), "float32")
        out = model.predict(x, verbose=0)
        assert out.shape == (count, 2, 6, 5, 3)
        assert (np.abs(out[:, 0] - out[:, 1]).max(axis=(1, 2, 3)) > 0).all()


@pytest.mark.every_backend
def test_random_numbers_of_the_pipeline_advance_in_fit_and_evaluate():
    class Spread(keras.Model):
        """Learns nothing; its loss is the distance of the views."""

        def __init__(self):
            super().__init__()
            self.views = TwoViews(keras.Sequential([noise()]))
            self.scale = keras.layers.Dense(1)

        def call(self, x, training=None):
            views = self.scale(self.views(x))
            return ops.mean(ops.square(views[:, 0] - views[:, 1]), axis=-1)

    model = Spread()
    model.compile(keras.optimizers.SGD(0.0), loss=lambda _, y: y)
    x, y = np.zeros((8, 3)), np.zeros(8)
    losses = model.fit(x, y, batch_size=8, epochs=3, verbose=0).history["loss"]
    losses += [model.evaluate(x, y, verbose=0) for _ in range(2)]
    assert len(set(losses)) == 5
    assert min(losses) > 0


def test_same_seed_gives_same_views():
    x = np.zeros((3, 4))
    views = [numpy(TwoViews(noise(seed))(x)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(views[0], views[1])
    assert np.abs(views[0] - views[2]).max() > 0


@pytest.mark.parametrize("kind", ["layer", "list", "tuple", "sequential"])
def test_config_round_trip(kind):
    layers = [noise(3), keras.layers.Rescaling(2.0)]
    pipeline = {
        "layer": layers[0],
        "list": layers,
        "tuple": tuple(layers),
        "sequential": keras.Sequential(layers),
    }[kind]
    layer = TwoViews(pipeline, name="two")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.name == "two"
    x = np.zeros((3, 4))
    np.testing.assert_array_equal(numpy(again(x)), numpy(layer(x)))


@pytest.mark.every_backend
def test_loaded_model_goes_on_where_the_saved_one_stopped(tmp_path):
    inputs = keras.Input((9, 9, 3))
    pipeline = [
        RandomResizedCrop(6, 5, seed=0),
        RandomColorDistortion(seed=0),
    ]
    model = keras.Model(inputs, TwoViews(pipeline)(inputs))
    x = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3))
    model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    expected = model.predict(x, verbose=0)
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), expected, atol=1e-3)
    model.predict(x, verbose=0)
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-3)


def test_state_of_another_pipeline_is_refused():
    store = {}
    TwoViews([noise(), noise()]).save_own_variables(store)
    with pytest.raises(ValueError, match=r"1 random states.*2 saved"):
        TwoViews(noise()).load_own_variables(store)


@pytest.mark.every_backend
def test_weights_of_the_pipeline_are_saved_too(tmp_path):
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(3)
    model = keras.Model(inputs, TwoViews([dense, noise()])(inputs))
    model.save(tmp_path / "model.keras")
    x = np.ones((2, 4))
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5
    )


def test_integers_stay_integers():
    ids = np.arange(6, dtype="int32").reshape(3, 2)
    views = TwoViews(keras.layers.Identity())(ids)
    assert keras.backend.standardize_dtype(views.dtype) == "int32"
    np.testing.assert_array_equal(numpy(views)[:, 1], ids)


def test_output_shape_is_known_without_data():
    layer = TwoViews([RandomResizedCrop(6, 5)])
    assert layer.compute_output_shape((None, 9, 9, 3)) == (None, 2, 6, 5, 3)
    assert layer.compute_output_shape((4, 9, 9, 3)) == (4, 2, 6, 5, 3)


@pytest.mark.parametrize("pipeline", [[], None, [None], lambda x: x, "flip"])
def test_anything_but_layers_is_refused(pipeline):
    with pytest.raises(ValueError, match=r"`pipeline` must.*Received"):
        TwoViews(pipeline)


def test_pipeline_that_changes_the_batch_size_is_refused():
    with pytest.raises(ValueError, match="2 samples for 4"):
        TwoViews(HalfTheBatch())(np.zeros((2, 3)))


def test_pipeline_that_returns_no_single_tensor_is_refused():
    with pytest.raises(ValueError, match="one tensor with one row per sample"):
        TwoViews(Pair())(np.zeros((2, 3)))
