"""What a model asks of its augmenter, and what it hands to it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

samples = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")


@keras.saving.register_keras_serializable(package="tests")
class MovedByIds(keras.layers.Layer):
    """Two views: the sample, and the sample plus its id."""

    needs_ids = True

    def call(self, x, ids=None):
        moved = x if ids is None else x + ops.cast(ids, x.dtype)[:, None]
        return ops.stack([x, moved], axis=1)


@keras.saving.register_keras_serializable(package="tests")
class Attached(keras.layers.Layer):
    """Two equal views, and the name of the loss that it was attached to."""

    def attach(self, loss):
        self.loss_name = loss.name

    def call(self, x):
        return ops.stack([x, x], axis=1)


def compiled(augmenter, loss=None, framework="ContrastiveModel"):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
    model = getattr(lt.models, framework)(
        encoder, keras.layers.Dense(3), augmenter
    )
    model.compile(
        keras.optimizers.SGD(0.0), loss=loss or lt.losses.NTXentLoss()
    )
    return model


@pytest.mark.every_backend
def test_an_augmenter_that_needs_ids_is_called_with_them():
    ids = np.array([3, 1, 0, -1, 7, 5, 2, 4], "int32")
    model = compiled(MovedByIds())
    weight = np.arange(8, dtype="float32")
    history = model.fit(samples, ids, batch_size=8, verbose=0).history
    moved = np.stack([samples, samples + ids[:, None]], axis=1)
    losses = ops.convert_to_numpy(
        lt.losses.nt_xent(model.embed_views(moved, training=False))
    )
    plain = ops.convert_to_numpy(
        lt.losses.nt_xent(model.predict(samples, verbose=0))
    )
    assert abs(losses.mean() - plain.mean()) > 0.1
    assert history["loss"] == pytest.approx([losses.mean()], rel=1e-5)
    logs = model.evaluate(
        samples, ids, batch_size=8, verbose=0, return_dict=True
    )
    assert logs["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    model.reset_metrics()  # Keras 3.8 would go on with those of `evaluate`.
    logs = model.test_on_batch(samples, ids, weight, return_dict=True)
    assert logs["loss"] == pytest.approx((losses * weight).mean(), rel=1e-5)


def test_ids_that_only_the_augmenter_needs_are_asked_for():
    model = compiled(MovedByIds())
    with pytest.raises(ValueError, match=r"MovedByIds .* needs sample ids"):
        model.fit(samples, verbose=0)
    with pytest.raises(ValueError, match=r"MovedByIds .* needs sample ids"):
        model.train_on_batch(samples)


def test_views_by_ids_cannot_be_ready_made():
    model = compiled(MovedByIds())
    with pytest.raises(ValueError, match=r"MovedByIds makes .* ready-made"):
        model.fit(np.stack([samples] * 2, axis=1), np.arange(8), verbose=0)


@pytest.mark.parametrize(
    ("framework", "loss"),
    [
        ("ContrastiveModel", lt.losses.NTXentLoss(name="of_this_model")),
        ("BYOL", lt.losses.BYOLLoss(name="of_this_model")),
    ],
    ids=["ContrastiveModel", "BYOL"],
)
def test_an_augmenter_is_attached_to_the_loss(framework, loss, tmp_path):
    model = compiled(Attached(), loss, framework)
    assert model.augmenter.loss_name == "of_this_model"
    model.fit(samples, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.augmenter.loss_name == "of_this_model"


def test_an_augmenter_is_attached_to_the_copy_of_a_shared_loss():
    kept = []

    class Kept(Attached):
        def attach(self, loss):
            kept.append(loss)

    loss = lt.losses.NTXentLoss()
    first, second = compiled(Kept(), loss), compiled(Kept(), loss)
    assert kept[0] is first.loss
    assert kept[1] is second.loss
    assert kept[0] is not kept[1]
