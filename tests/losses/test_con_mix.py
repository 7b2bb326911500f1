"""ConMix against the oracle, its random tags, and where it is refused."""

import shutil

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient
from keras_ltssl.state.learning_means import LEARNING_SIGNS

TAGS = {
    "all there": [0, 1, 2, 3, 0, 1, 2, 3, 3],
    "some empty": [5, 5, 0, 2, 0, 2, 2, 5, 5],
    "single samples": list(range(9)),
    "two tags": [7, 7, 7, 7, 7, 7, 7, 7, 3],
}


def projections(batch=9, dim=5, seed=0):
    """Returns pairs of views that are alike by and large."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(batch, 1, dim))
    return (z + random.normal(size=(batch, 2, dim))).astype("float32")


def close(ours, expected, relative=1e-5):
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours), expected, rtol=relative, atol=1e-7
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("kind", TAGS)
def test_values_equal_the_oracle(kind, temperature):
    z, tags = projections(), np.array(TAGS[kind])
    close(
        lt.losses.con_mix(z, tags, 9, temperature),
        reference.con_mix(z, tags, temperature),
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", TAGS)
def test_gradient_equals_differences(kind):
    z, tags = projections(), np.array(TAGS[kind])
    value, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.con_mix(z, tags, 9, 0.2)), z
    )
    expected = reference.numerical_gradient(
        lambda z: reference.con_mix(z, tags, 0.2), z
    )
    close(value, reference.con_mix(z, tags, 0.2).mean())
    assert np.abs(gradient - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_mean_is_that_of_the_mixed_samples():
    z, tags = projections(), np.array(TAGS["some empty"])
    u = reference.unit(z)
    mixed = np.stack([u[tags == tag].mean(axis=0) for tag in (0, 2, 5)])
    close(
        ops.mean(lt.losses.con_mix(z, tags, 9, 0.3)),
        reference.nt_xent(mixed, 0.3).mean(),
    )


def test_a_tag_for_each_sample_is_nt_xent():
    z = projections()
    close(
        lt.losses.con_mix(z, np.arange(9)[::-1].copy(), 30, 0.2),
        ops.convert_to_numpy(lt.losses.nt_xent(z, 0.2)),
    )


@pytest.mark.every_backend
def test_one_mixed_sample_has_no_loss_and_no_gradient():
    value, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.con_mix(z, np.zeros(9, "int32"), 4)),
        projections(),
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.every_backend
def test_opposite_samples_of_a_tag_leave_everything_finite():
    z = projections()
    z[1] = -z[0]
    value, gradient = value_and_gradient(
        lambda z: ops.mean(
            lt.losses.con_mix(z, np.array([0, 0, 1, 1, 2, 2, 3, 3, 3]), 9, 0.05)
        ),
        z,
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def attached(loss, dim=5):
    """Returns the loss's state as a model would build it."""
    state = lt.layers.LossState(loss)
    state(np.zeros((1, 2, dim), "float32"), training=False)
    return state


def drawn(seed, steps, batch=9):
    layer = lt.layers.RandomTags(6, seed)
    return [ops.convert_to_numpy(layer.draw(batch)) for _ in range(steps)]


@pytest.mark.every_backend
def test_a_step_draws_tags_and_adds_the_weighted_base_loss():
    z = projections()
    loss = lt.losses.ConMixLoss(
        lt.losses.NTXentLoss(0.3), 6, base_weight=0.5, seed=4, reduction=None
    )
    state = attached(loss)
    for tags in drawn(4, 2):
        state(z, training=True)
        close(
            loss(None, z),
            reference.con_mix(z, tags, 0.3) + 0.5 * reference.nt_xent(z, 0.3),
        )


def test_tags_are_uniform_independent_and_differ_by_seed():
    one, two = drawn(0, 2, 60_000)
    counts = np.histogram2d(one, two, bins=6)[0]
    expected = 60_000 / 36
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))
    assert np.mean(one == drawn(1, 1, 60_000)[0]) < 0.2
    np.testing.assert_array_equal(one, drawn(0, 1, 60_000)[0])


def model_of(loss=None, framework=lt.models.ContrastiveModel):
    keras.utils.set_random_seed(1)
    model = framework(
        keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)]),
        keras.layers.Dense(4),
    )
    loss = loss or lt.losses.ConMixLoss(lt.losses.NTXentLoss(0.3), 6)
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    model.build((None, 2, 6))
    return model


def fit(model, epochs, initial_epoch=0, callbacks=()):
    return model.fit(
        projections(24, 6),
        batch_size=8,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        callbacks=list(callbacks),
        verbose=0,
    ).history["loss"]


@pytest.mark.every_backend
def test_a_run_cut_short_draws_the_tags_that_it_would_have_drawn(tmp_path):
    class Cut(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                shutil.copytree(tmp_path / "whole", tmp_path / "cut")

    whole = lt.callbacks.ResumableCheckpoint(tmp_path / "whole")
    model = model_of()
    losses = fit(model, 4, callbacks=[whole, Cut()])
    assert len(set(losses)) == 4
    resumed = model_of()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path / "cut")
    start = checkpoint.restore(resumed)
    assert start == 2
    assert fit(resumed, 4, start, [checkpoint]) == losses[2:]
    for one, other in zip(model.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )


@pytest.mark.every_backend
def test_a_saved_model_goes_on_with_the_same_tags(tmp_path):
    model = model_of()
    fit(model, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
    assert fit(loaded, 1) == fit(model, 1)


def loss_of_a_step(model, x):
    model.reset_metrics()
    return float(model.train_on_batch(x, return_dict=True)["loss"])


@pytest.mark.every_backend
def test_the_graph_draws_new_tags_in_each_step():
    # Without a learning rate and with the same batch, only tags differ.
    model = model_of()
    model.optimizer.learning_rate = 0.0
    x = projections(24, 6)
    found = [loss_of_a_step(model, x) for _ in range(4)]
    again = model_of()
    again.optimizer.learning_rate = 0.0
    assert len(set(found)) == 4
    assert [loss_of_a_step(again, x) for _ in range(4)] == found


def test_it_evaluates_and_logs_the_temperature():
    model = model_of()
    logs = model.evaluate(projections(24, 6), verbose=0, return_dict=True)
    assert set(logs) == {"loss", "temperature", *LEARNING_SIGNS}
    assert logs["temperature"] == pytest.approx(0.3)


@pytest.mark.every_backend
def test_mocos_queue_is_not_compared_with():
    model = model_of(
        lt.losses.ConMixLoss(lt.losses.NTXentLoss(0.3), 6),
        lambda *layers: lt.models.MomentumContrast(*layers, queue_size=16),
    )
    model.optimizer.learning_rate = 0.0
    x = projections(9, 6)
    first, second = (loss_of_a_step(model, x) for _ in range(2))
    assert int(ops.convert_to_numpy(model.queue.filled)) == 16
    # The same with an empty queue and a full one, but for the tags.
    encoder, projector = model.encoder, model.projector
    units = ops.reshape(projector(encoder(x.reshape(18, 6))), (9, 2, 4))
    z = ops.convert_to_numpy(units)
    expected = [reference.con_mix(z, tags, 0.3).mean() for tags in drawn(0, 2)]
    close([first, second], expected, 1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"base_loss": lt.losses.BYOLLoss(), "base_weight": 1.0},
            "have a temperature",
        ),
        ({"base_loss": lt.losses.TASELoss()}, "unless `base_weight` is above"),
        (
            {"base_loss": lt.losses.FocalNTXentLoss()},
            "unless `base_weight` is above",
        ),
    ],
)
def test_a_base_loss_that_would_mean_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"`base_loss` must.*{message}"):
        lt.losses.ConMixLoss(**arguments)


def test_a_base_loss_with_a_state_trains_beside_it():
    loss = lt.losses.ConMixLoss(
        lt.losses.TASELoss(num_prototypes=3), num_tags=4, base_weight=1.0
    )
    history = model_of(loss).fit(projections(24, 6), verbose=0).history
    assert {"mixed_loss", "temperature_std"} <= set(history)


def test_without_a_model_it_is_refused():
    with pytest.raises(ValueError, match="has to be part of the model"):
        lt.losses.ConMixLoss(lt.losses.NTXentLoss())(None, projections())
