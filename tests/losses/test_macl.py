"""MACL against the oracle, closed forms, and inside other losses."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient


def projections(batch=5, dim=5):
    """Returns pairs of views that are alike by and large."""
    random = np.random.default_rng(0)
    z = random.normal(size=(batch, 1, dim))
    return (z + random.normal(size=(batch, 2, dim))).astype("float32")


def close(ours, expected, relative=1e-5):
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours), expected, rtol=relative, atol=1e-7
    )


def attached(loss, dim=5):
    """Returns the loss's state as a model would build it."""
    state = lt.layers.LossState(loss)
    state(np.zeros((1, 2, dim), "float32"), training=False)
    return state


@pytest.mark.every_backend
@pytest.mark.parametrize("reweight", [True, False])
@pytest.mark.parametrize(
    ("temperature", "alpha", "threshold"),
    [(0.1, 0.5, 0.0), (0.05, 2.0, 0.2), (0.5, 0.3, -1.0)],
)
def test_values_equal_the_oracle(temperature, alpha, threshold, reweight):
    z = projections()
    arguments = (temperature, alpha, threshold, reweight)
    close(lt.losses.macl(z, *arguments), reference.macl(z, *arguments))


def test_better_alignment_gives_a_larger_temperature():
    alignments = np.array([-1.0, 0.0, 0.4, 1.0], "float32")
    values = lt.losses.aligned_temperature(alignments, 0.2, 0.5, 0.4)
    close(values, [0.06, 0.16, 0.2, 0.26])


def test_temperature_stops_at_a_tenth_where_it_would_turn_negative():
    close(lt.losses.aligned_temperature(-1.0, 0.2, 2.0, 0.8), 0.02)


@pytest.mark.every_backend
@pytest.mark.parametrize(("reweight", "chunk_size"), [(True, None), (False, 4)])
def test_gradient_equals_differences_at_fixed_temperature(reweight, chunk_size):
    z = projections()
    tau = reference.macl_temperature(z, 0.2, 0.8, 0.1)
    weights = reference.macl_weights(z, tau) if reweight else np.ones((5, 2))
    value, gradient = value_and_gradient(
        lambda z: ops.mean(
            lt.losses.macl(z, 0.2, 0.8, 0.1, reweight, chunk_size)
        ),
        z,
    )
    expected = reference.numerical_gradient(
        lambda z: weights * reference.nt_xent_anchors(z, tau), z
    )
    followed = reference.numerical_gradient(
        lambda z: reference.macl(z, 0.2, 0.8, 0.1, reweight), z
    )
    close(value, reference.macl(z, 0.2, 0.8, 0.1, reweight).mean())
    largest = np.abs(expected).max()
    assert np.abs(gradient - expected).max() <= 1e-4 * largest
    assert np.abs(gradient - followed).max() > 0.05 * largest


def test_weights_leave_the_positive_out_of_the_denominator():
    # That the weighted gradient is that of the decoupled loss; that macl's is
    # the weighted one, the test above says.
    z = projections()
    tau = reference.macl_temperature(z, 0.2, 0.5, 0.0)
    weights = reference.macl_weights(z, tau)

    def decoupled(z):
        # As exp(l) = 1 + Σ_negatives exp(s/τ) / exp(s_p/τ).
        return np.log(np.expm1(reference.nt_xent_anchors(z, tau)))

    expected = reference.numerical_gradient(decoupled, z)
    weighted = reference.numerical_gradient(
        lambda z: weights * reference.nt_xent_anchors(z, tau), z
    )
    np.testing.assert_allclose(weighted, expected, atol=1e-8)


def test_found_positives_keep_a_loss_of_one_and_their_gradient():
    z = np.repeat(np.eye(5, dtype="float32")[:, None], 2, axis=1)
    z[:, 0] += 0.01 * projections()[:, 0]
    loss, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.macl(z, 0.05, 0.0)), z
    )
    plain = reference.numerical_gradient(
        lambda z: reference.nt_xent(z, 0.05), z
    )
    assert loss == pytest.approx(1.0, abs=1e-5)
    assert np.abs(plain).max() < 1e-5
    assert np.abs(gradient).max() > 1e-2


def test_without_alpha_and_weights_it_is_nt_xent():
    z = projections()
    close(
        lt.losses.macl(z, 0.15, 0.0, 0.3, reweight=False),
        ops.convert_to_numpy(lt.losses.nt_xent(z, 0.15)),
    )


def test_per_sample_temperatures_are_scaled_each():
    z = projections()
    temperature = np.linspace(0.1, 0.6, 5).astype("float32")
    tau = reference.macl_temperature(z, temperature, 0.5, 0.0)
    close(
        lt.losses.macl(z, temperature, reweight=False),
        reference.nt_xent(z, tau),
    )


def test_identical_embeddings_give_log_of_anchors_less_one():
    z = np.ones((5, 2, 5), "float32")
    expected = np.full(5, np.log(9))
    close(lt.losses.macl(z, 0.07, reweight=False), expected)
    close(lt.losses.macl(z, 0.07), 9 / 8 * expected)


def test_swapping_views_and_permuting_samples_changes_nothing():
    z = projections()
    loss = ops.convert_to_numpy(lt.losses.macl(z))
    order = np.random.default_rng(1).permutation(len(z))
    close(lt.losses.macl(z[:, ::-1].copy()), loss)
    close(lt.losses.macl(z[order]), loss[order])


@pytest.mark.every_backend
def test_extremes_stay_finite():
    # Zero, equal, opposite and tiny embeddings at the lowest temperatures.
    z = 1e-30 * projections()
    z[0] = 0
    z[1:3] = 1
    z[2, 1] = -1
    value, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.macl(z, 0.005)), z
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.every_backend
def test_a_single_sample_has_no_loss_and_no_gradient():
    value, gradient = value_and_gradient(
        lambda z: ops.mean(lt.losses.macl(z)), projections(1)
    )
    assert value == 0
    assert (gradient == 0).all()


@pytest.mark.every_backend
def test_state_logs_the_alignment_and_the_temperature_it_sets():
    loss = lt.losses.MACLLoss(0.2, 0.5, 0.1)
    state = attached(loss)
    z = projections()
    value = loss(None, state(z, training=False))
    close(value, reference.macl(z, 0.2, 0.5, 0.1, True).mean())
    (means,) = state.metrics
    logged = {name: float(mean) for name, mean in means.result().items()}
    u = reference.unit(z)
    assert logged == {
        "temperature": pytest.approx(
            reference.macl_temperature(z, 0.2, 0.5, 0.1), rel=1e-5
        ),
        "mean_cosine": pytest.approx((u[:, 0] * u[:, 1]).sum(-1).mean()),
    }


def test_a_driven_temperature_is_the_base_also_inside_colt():
    loss = lt.losses.COLTLoss(base_loss=lt.losses.MACLLoss(0.1), ood_weight=0.5)
    state = attached(loss)
    state.temperature.assign(0.4)
    z = projections()
    ids = np.array([0, 1, -1, 3, -1])
    value = loss(ids, state(z, training=False))
    supcon = reference.distribution_supcon(z, ids < 0, 0.4)
    expected = reference.macl(z, 0.4, 0.5, 0.0, True) + 0.5 * supcon
    close(value, expected.mean())


@pytest.mark.every_backend
def test_fit_lowers_it_until_its_schedule_moves_the_base():
    views = np.random.default_rng(0).normal(size=(24, 2, 8)).astype("float32")
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)])
    model = lt.models.ContrastiveModel(encoder, keras.layers.Dense(4))
    schedule = lt.schedules.StepTemperature(0.1, 0.4, period=4)
    loss = lt.losses.MACLLoss(schedule)
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    history = model.fit(views, batch_size=12, epochs=3, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert history["mean_cosine"][1] > history["mean_cosine"][0]
    factors = 1 + 0.5 * np.array(history["mean_cosine"])
    np.testing.assert_allclose(
        history["temperature"], [0.4, 0.4, 0.1] * factors, rtol=1e-5
    )


def test_a_queue_of_keys_takes_the_place_of_the_batch():
    loss = lt.losses.MACLLoss(0.2, 0.5, 0.1)
    state = attached(loss)
    z = projections()
    keys = reference.unit(np.random.default_rng(1).normal(size=(4, 5)))
    queue = lt.layers.KeyQueue(4)
    queue.build((None, 5))
    queue.enqueue(keys.astype("float32"), np.zeros(4, bool))
    value = loss(None, state(z, training=False, queue=queue))
    tau = reference.macl_temperature(z, 0.2, 0.5, 0.1)
    losses = reference.queue_nt_xent(z, keys, tau)
    close(value, (losses / (1 - np.exp(-losses))).mean())


@pytest.mark.parametrize(
    "loss",
    [
        lt.losses.MACLLoss(0.3, 0.7, 0.1, False, 4, reduction="sum"),
        lt.losses.MACLLoss(lt.schedules.CosineTemperature(period=7)),
    ],
)
def test_serialization_keeps_the_configuration(loss):
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is lt.losses.MACLLoss
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "a", True])
def test_impossible_alpha_is_refused(value):
    with pytest.raises(ValueError, match="`alpha` must be a finite number"):
        lt.losses.MACLLoss(alpha=value)
    with pytest.raises(ValueError, match="`alpha` must be a finite number"):
        lt.losses.macl(projections(), alpha=value)


@pytest.mark.parametrize("value", [-1.1, 1.1, float("nan"), "a", None])
def test_impossible_threshold_is_refused(value):
    with pytest.raises(
        ValueError, match="`threshold` must be a finite number >= -1"
    ):
        lt.losses.MACLLoss(threshold=value)
    with pytest.raises(
        ValueError, match="`threshold` must be a finite number >= -1"
    ):
        lt.losses.macl(projections(), threshold=value)


def test_reweight_that_is_no_bool_is_refused():
    with pytest.raises(ValueError, match="`reweight` must be True or False"):
        lt.losses.MACLLoss(reweight=4)


@pytest.mark.parametrize("value", [0, -0.1, float("nan")])
def test_impossible_temperature_is_refused(value):
    with pytest.raises(ValueError, match="`temperature` must be a finite"):
        lt.losses.MACLLoss(temperature=value)
    with pytest.raises(ValueError, match="`temperature` must be a finite"):
        lt.losses.macl(projections(), temperature=value)


def test_per_sample_temperatures_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(batch,\) = \(5,\)"):
        lt.losses.macl(projections(), np.array([0.1, 0.1, 0.1]))


@pytest.mark.parametrize("shape", [(8, 4), (8, 3, 4)])
def test_anything_but_two_views_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(batch, 2, dim\)"):
        lt.losses.macl(np.ones(shape, "float32"))


@pytest.mark.parametrize("chunk_size", [0, 2.5, True])
def test_impossible_chunk_size_is_refused(chunk_size):
    with pytest.raises(ValueError, match="`chunk_size` must be an integer"):
        lt.losses.macl(projections(), chunk_size=chunk_size)
