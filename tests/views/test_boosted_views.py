import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_ltssl.views.boosted_views import BoostedViews
from keras_ltssl.views.per_sample_rand_augment import PerSampleRandAugment
from keras_ltssl.views.rand_augment_operations import OPERATIONS
from keras_ltssl.views.simclr_views import simclr_views
from keras_ltssl.views.two_views import TwoViews

rng = np.random.default_rng(0)
images = rng.integers(20, 200, (150, 8, 8, 3)).astype("uint8")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def copies():
    """Two views that are the image itself."""
    return TwoViews(keras.layers.Identity())


@keras.saving.register_keras_serializable(package="tests")
class Flag(keras.layers.Layer):
    """Doubles in training, as Keras tells it."""

    def call(self, x, training=None):
        return 2 * x if training else x


@pytest.fixture(scope="module")
def boosted():
    """Compiled, in halved precision, and not training."""
    weights = np.repeat([0.0, 0.5, 1.0], 50).astype("float32")
    inputs = [keras.Input((8, 8, 3)), keras.Input(())]
    views = BoostedViews(
        copies(), strength=(21.0, 28.0), seed=1, dtype="mixed_float16"
    )(*inputs)
    model = keras.Model(inputs, [views, Flag(dtype="float16")(views)])
    return weights, model.predict_on_batch((images, weights))


@pytest.mark.every_backend
def test_probability_and_strength_of_both_views_follow_the_weight(boosted):
    """Seen in views that are brightened or solarized, or as they were."""
    weights, (views, _) = boosted
    assert views.shape == (150, 2, 8, 8, 3)
    assert views.dtype == "float16"
    twice = np.repeat(weights, 2)
    operation, _, _ = PerSampleRandAugment(seed=1).draw(300, twice)
    names = np.array([*OPERATIONS, "none"])[numpy(operation)].reshape(150, 2)
    seen = set()
    for (i, view), name in np.ndenumerate(names):
        x, share = images[i].astype("float32"), (21 + 7 * weights[i]) / 30
        expected = {
            "none": x,
            "brightness": np.minimum((0.1 + 1.8 * share) * x, 255),
            "solarize": np.where(x >= 110 * share, 255 - x, x),
        }.get(name)
        if expected is not None:
            np.testing.assert_allclose(views[i, view], expected, atol=0.1)
            seen.add((name == "none", weights[i]))
    assert seen == {(True, 0.0), (True, 0.5), (False, 0.5), (False, 1.0)}


def test_weight_zero_leaves_views_alone_and_one_changes_most(boosted):
    weights, (views, _) = boosted
    changed = (views != images[:, None]).any(axis=(2, 3, 4))
    assert not changed[weights == 0].any()
    assert 0.2 < changed[weights == 0.5].mean() < 0.7
    assert changed[weights == 1].mean() > 0.7
    apart = (views[:, 0] != views[:, 1]).any(axis=(1, 2, 3))
    assert apart[weights == 1].mean() > 0.8


@pytest.mark.every_backend
def test_layers_after_the_views_do_not_train_in_inference(boosted):
    _, (views, flagged) = boosted
    np.testing.assert_array_equal(flagged, views)


def test_without_weights_views_are_plain_and_nothing_else_is_drawn():
    def noise():
        return TwoViews(keras.layers.GaussianNoise(1.0, seed=0))

    x = images.astype("float32")
    boosted = BoostedViews(noise(), seed=1)
    assert boosted(keras.KerasTensor((None, 8, 8, 3))).shape[1:] == (2, 8, 8, 3)
    before = numpy(boosted.rand_augment.seed_generator.state.value)
    np.testing.assert_array_equal(numpy(boosted(x)), numpy(noise()(x)))
    np.testing.assert_array_equal(
        numpy(boosted.rand_augment.seed_generator.state.value), before
    )
    with pytest.raises(ValueError, match="`weights` must have one number"):
        boosted(x, np.ones(149))


@pytest.mark.every_backend
def test_saved_files_keep_how_far_the_random_numbers_have_come(tmp_path):
    inputs = [keras.Input((8, 8, 3)), keras.Input(())]
    noise = TwoViews(keras.layers.GaussianNoise(1.0, seed=0))
    views = BoostedViews(noise, seed=1)
    outputs = views(*inputs)
    assert outputs.shape == (None, 2, 8, 8, 3)
    model = keras.Model(inputs, outputs)

    def advance():
        noise(images.astype("float32"))
        views.rand_augment.draw(4, np.ones(4, "float32"))

    def states(model):
        return [numpy(v.value).tolist() for v in model.layers[-1].variables]

    fresh = states(model)
    advance()
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    saved = states(model)
    assert len(saved) == 2
    assert all(old != new for old, new in zip(fresh, saved, strict=True))
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert states(again) == saved
    advance()
    assert states(model) != saved
    model.load_weights(tmp_path / "model.weights.h5")
    assert states(model) == saved


def test_config_round_trip_keeps_everything():
    layer = BoostedViews(
        simclr_views(8, value_range=(0, 200), seed=0),
        strength=(3.0, 7.0),
        num_ops=2,
        value_range=(0, 200),
        seed=1,
        name="boosted",
        dtype="mixed_float16",
    )
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.name == "boosted"
    assert again.strength == (3.0, 7.0)
    for part in (again, layer):
        assert part.rand_augment.num_ops == 2
        assert part.rand_augment.seed == 1
        assert part.rand_augment.compute_dtype == "float16"
    once_more = json.dumps(keras.saving.serialize_keras_object(again))
    assert json.loads(once_more) == config


@pytest.mark.parametrize(
    "strength", [(5, 31), (-1, 5), (6, 5), (5,), (float("nan"), 5), 20.0]
)
def test_strengths_out_of_range_are_refused(strength):
    with pytest.raises(
        ValueError, match=r"`strength` must be a pair.*Received"
    ):
        BoostedViews(copies(), strength=strength)


def test_anything_but_a_layer_is_refused():
    with pytest.raises(ValueError, match="`views` must be a Keras layer"):
        BoostedViews(lambda x: x)


class Weights:
    """Stands for a loss: samples with an odd id are hard."""

    def weights_of(self, ids):
        return ops.cast(ids % 2, "float32")


class Wrapper:
    def __init__(self, base_loss):
        self.base_loss = base_loss


@pytest.mark.every_backend
def test_ids_stand_for_the_weights_of_the_attached_loss():
    ids = np.arange(150, dtype="int32")
    by_weight, by_ids = (BoostedViews(copies(), seed=1) for _ in range(2))
    loss = Wrapper(Weights())
    by_ids.attach(loss)
    views = numpy(by_ids(images, ids=ids))
    expected = by_weight(images, (ids % 2).astype("float32"))
    np.testing.assert_array_equal(views, numpy(expected))
    changed = (views != images[:, None]).any(axis=(1, 2, 3, 4))
    assert changed[ids % 2 == 1].any()
    assert not changed[ids % 2 == 0].any()


def test_ids_without_a_loss_or_beside_weights_are_refused():
    ids, layer = np.arange(150), BoostedViews(copies())
    with pytest.raises(ValueError, match="Compile the model with BoostedLoss"):
        layer(images, ids=ids)
    layer.attach(Weights())  # Nobody else keeps it.
    with pytest.raises(ValueError, match="Compile the model with BoostedLoss"):
        layer(images, ids=ids)
    with pytest.raises(ValueError, match=r"take `weights`, or `ids`.*both"):
        layer(images, np.ones(150), ids)
    with pytest.raises(ValueError, match="one does nothing without the other"):
        layer.attach(Wrapper(None))


def test_views_and_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="`views` must make two images"):
        BoostedViews(keras.layers.Identity())(images, np.ones(150))
    with pytest.raises(ValueError, match="`weights` must have one number"):
        BoostedViews(copies())(images, np.ones(3))
