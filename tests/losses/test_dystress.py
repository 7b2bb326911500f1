"""DySTreSS against the oracle, closed forms, and inside other losses."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient


def projections(batch=5, dim=5):
    z = np.random.default_rng(0).normal(size=(batch, 2, dim))
    return z.astype("float32")


def close(ours, expected, relative=1e-5):
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours), expected, rtol=relative, atol=1e-7
    )


def attached(loss, dim=5):
    """Returns the loss's state as a model would build it."""
    state = lt.layers.LossState(loss)
    state(np.zeros((1, 2, dim), "float32"), training=False)
    return state


def test_temperature_rises_from_orthogonal_to_equal_and_opposite_pairs():
    cosines = np.linspace(-1, 1, 9).astype("float32")
    values = ops.convert_to_numpy(
        lt.losses.pair_temperatures(cosines, 0.1, 0.3)
    )
    expected = reference.pair_temperature(cosines.astype("float64"), 0.1, 0.3)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(values, values[::-1], rtol=1e-6)
    assert values[4] == pytest.approx(0.1)
    assert values[8] == pytest.approx(0.3)
    assert (np.diff(values[4:]) > 0).all()


@pytest.mark.parametrize(("ratio", "is_rising"), [(4.5, True), (4.6, False)])
def test_logits_rise_with_the_cosine_up_to_a_ratio_of_4_5(ratio, is_rising):
    cosines = np.linspace(-1, 1, 100001)
    logits = cosines / reference.pair_temperature(cosines, 1.0, ratio)
    assert (np.diff(logits) > 0).all() == is_rising


@pytest.mark.every_backend
@pytest.mark.parametrize("limits", [(0.1, 0.2), (0.02, 1.0)])
def test_values_equal_the_oracle(limits):
    z = projections()
    close(
        lt.losses.dystress(z, *limits),
        reference.dystress(z, *limits),
        relative=3e-5,
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_gradient_equals_differences_at_fixed_temperatures(chunk_size):
    z = projections()
    weights = np.linspace(0.1, 2.0, 5).astype("float32")
    value, gradient = value_and_gradient(
        lambda z: ops.mean(
            ops.convert_to_tensor(weights)
            * lt.losses.dystress(z, 0.07, 0.4, chunk_size)
        ),
        z,
    )
    expected = reference.numerical_gradient(
        lambda moved: weights * reference.dystress(moved, 0.07, 0.4, z), z
    )
    followed = reference.numerical_gradient(
        lambda moved: weights * reference.dystress(moved, 0.07, 0.4), z
    )
    close(value, (weights * reference.dystress(z, 0.07, 0.4)).mean())
    largest = np.abs(expected).max()
    assert np.abs(gradient - expected).max() <= 1e-4 * largest
    assert np.abs(gradient - followed).max() > 0.1 * largest


def test_one_temperature_for_all_pairs_is_nt_xent():
    z = projections()
    close(
        lt.losses.dystress(z, 0.15, 0.15),
        ops.convert_to_numpy(lt.losses.nt_xent(z, 0.15)),
    )


def test_identical_embeddings_give_log_of_anchors_less_one():
    z = np.ones((5, 2, 5), "float32")
    close(lt.losses.dystress(z, 0.05, 0.3), np.full(5, np.log(9)))


def test_orthogonal_samples_meet_both_ends_of_the_range():
    z = np.repeat(np.eye(5, dtype="float32")[:, None], 2, axis=1)
    close(
        lt.losses.dystress(z, 0.1, 0.5),
        np.full(5, np.log1p(8 * np.exp(-1 / 0.5))),
    )


def test_swapping_views_and_permuting_samples_changes_nothing():
    z = projections()
    loss = ops.convert_to_numpy(lt.losses.dystress(z))
    order = np.random.default_rng(1).permutation(len(z))
    close(lt.losses.dystress(z[:, ::-1].copy()), loss)
    close(lt.losses.dystress(z[order]), loss[order])


@pytest.mark.every_backend
def test_extremes_stay_finite():
    # Zero, equal, opposite and tiny embeddings at the lowest temperatures.
    z = 1e-30 * projections()
    z[0] = 0
    z[1:3] = 1
    z[2, 1] = -1
    value, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.dystress(z, 0.005, 0.01)), z
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.every_backend
def test_state_logs_the_mean_temperature_over_pairs():
    loss = lt.losses.DySTreSSLoss(0.1, 0.4)
    state = attached(loss)
    z = projections()
    value = loss(None, state(z, training=False))
    close(value, reference.dystress(z, 0.1, 0.4).mean())
    (means,) = state.metrics
    logged = {name: float(mean) for name, mean in means.result().items()}
    expected = reference.mean_pair_temperature(z, 0.1, 0.4)
    assert logged == {"temperature": pytest.approx(expected, rel=1e-5)}


def test_a_driven_temperature_moves_the_range_also_inside_colt():
    loss = lt.losses.COLTLoss(
        base_loss=lt.losses.DySTreSSLoss(0.1, 0.2, chunk_size=4),
        ood_weight=0.5,
    )
    state = attached(loss)
    assert float(state.temperature) == pytest.approx(0.15)
    state.temperature.assign(0.45)
    z = projections()
    ids = np.array([0, 1, -1, 3, -1])
    value = loss(ids, state(z, training=False))
    supcon = reference.distribution_supcon(z, ids < 0, 0.45)
    close(value, (reference.dystress(z, 0.3, 0.6) + 0.5 * supcon).mean())
    expected = reference.mean_pair_temperature(z, 0.3, 0.6)
    (means,) = state.metrics
    logged = {name: float(mean) for name, mean in means.result().items()}
    assert logged["temperature"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.every_backend
def test_fit_lowers_it_until_a_scheduler_moves_the_range():
    views = np.random.default_rng(0).normal(size=(24, 2, 8)).astype("float32")
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)])
    model = lt.models.ContrastiveModel(encoder, keras.layers.Dense(4))
    loss = lt.losses.DySTreSSLoss(0.2, 0.2)
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    schedule = lt.schedules.StepTemperature(0.2, 0.6, period=4)
    history = model.fit(
        views,
        batch_size=12,
        epochs=3,
        callbacks=[lt.callbacks.TemperatureScheduler(schedule)],
        verbose=0,
    ).history
    assert history["loss"][1] < history["loss"][0]
    np.testing.assert_allclose(
        history["temperature"], [0.6, 0.6, 0.2], rtol=1e-5
    )


def test_a_queue_of_keys_is_refused():
    loss = lt.losses.DySTreSSLoss()
    state = attached(loss)
    queue = lt.layers.KeyQueue(4)
    queue.build((None, 5))
    z = state(projections(), training=False, queue=queue)
    with pytest.raises(ValueError, match="not with a queue of keys"):
        loss(None, z)


def test_serialization_keeps_the_configuration():
    loss = lt.losses.DySTreSSLoss(0.05, 0.3, 4, reduction="sum", name="mine")
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is lt.losses.DySTreSSLoss
    assert again.get_config() == loss.get_config()
    assert (again.minimum, again.maximum, again.chunk_size) == (0.05, 0.3, 4)
    assert loss.copy().get_config() == loss.get_config()


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), "hot"])
@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_impossible_temperature_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
        lt.losses.DySTreSSLoss(**{name: value})
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
        lt.losses.dystress(projections(), **{name: value})


def test_range_in_reverse_is_refused():
    with pytest.raises(ValueError, match="`minimum` must not exceed"):
        lt.losses.DySTreSSLoss(0.3, 0.2)


@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_schedule_is_refused_with_the_way_to_drive_it(name):
    schedule = lt.schedules.CosineTemperature(period=7)
    with pytest.raises(ValueError, match=f"`{name}` must be a number: .*not "):
        lt.losses.DySTreSSLoss(**{name: schedule})


@pytest.mark.parametrize("shape", [(8, 4), (8, 3, 4)])
def test_anything_but_two_views_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(batch, 2, dim\)"):
        lt.losses.dystress(np.ones(shape, "float32"))


@pytest.mark.parametrize("chunk_size", [0, 2.5, True])
def test_impossible_chunk_size_is_refused(chunk_size):
    with pytest.raises(ValueError, match="`chunk_size` must be an integer"):
        lt.losses.dystress(projections(), chunk_size=chunk_size)
