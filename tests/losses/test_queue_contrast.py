"""Contrast with a queue of keys against the oracle and closed forms."""

import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient
from keras_ltssl.losses.distribution_supcon import domains_of, supcon_of
from keras_ltssl.losses.kernels.queue import QueueContrast
from keras_ltssl.losses.tail_score import tail_score_of

pytestmark = pytest.mark.every_backend

FILLED = 5


def inputs(batch=6, dim=4):
    random = np.random.default_rng(0)
    z = random.normal(size=(batch, 2, dim)).astype("float32")
    keys = reference.unit(random.normal(size=(8, dim))).astype("float32")
    return z, keys, np.arange(8) < FILLED


@pytest.mark.parametrize("chunk_size", [None, 4])
@pytest.mark.parametrize("temperature", [0.03, 1.0])
def test_values_and_gradients_equal_the_oracle(temperature, chunk_size):
    z, keys, is_filled = inputs()
    tau = (temperature * np.linspace(0.8, 1.2, 6)).astype("float32")
    value, gradient = value_and_gradient(
        lambda z: ops.mean(
            lt.losses.queue_nt_xent(z, keys, is_filled, tau, chunk_size)
        ),
        z,
    )
    expected = reference.queue_nt_xent(z, keys[:FILLED], tau)
    assert value == pytest.approx(expected.mean(), rel=1e-5)
    numerical = reference.numerical_gradient(
        lambda z: reference.queue_nt_xent(z, keys[:FILLED], tau), z
    )
    numerical[:, 1] = 0.0  # Keys are constants.
    assert np.abs(gradient - numerical).max() <= 1e-4 * np.abs(numerical).max()


def test_an_empty_queue_gives_no_loss_and_no_gradient():
    z, keys, _ = inputs()
    value, gradient = value_and_gradient(
        lambda z: ops.sum(lt.losses.queue_nt_xent(z, keys, np.zeros(8, bool))),
        z,
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0.0)


def filled_queue(keys, is_ood):
    queue = lt.layers.KeyQueue(8)
    queue.build((None, keys.shape[1]))
    queue.enqueue(keys[:FILLED], is_ood[:FILLED])
    return queue


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_colts_terms_are_those_of_queries_and_queue(chunk_size):
    z, keys, _ = inputs()
    key_is_ood = np.array([True, False, False, True, False, True, True, True])
    is_ood = np.array([False, True, False, False, False, True])
    queue = filled_queue(keys, key_is_ood)
    contrast = QueueContrast(z, queue, 0.3, chunk_size)
    u = reference.unit(z)
    supcon, tails = [], []
    for i in range(6):
        logits = np.array([u[i, 0] @ u[i, 1], *(keys[:FILLED] @ u[i, 0])]) / 0.3
        logs = logits - np.log(np.exp(logits).sum())
        same = np.append(True, key_is_ood[:FILLED] == is_ood[i])
        supcon.append(-logs[same].mean())
        tails.append(np.sort(np.exp(logs[1:]))[-3:].sum())
    np.testing.assert_allclose(
        ops.convert_to_numpy(
            supcon_of(contrast, domains_of(is_ood, "float32"))
        ),
        supcon,
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(tail_score_of(contrast, 3)), tails, rtol=1e-5
    )


def test_without_ood_samples_anywhere_supcon_is_zero():
    z, keys, _ = inputs()
    none = np.zeros(8, bool)
    contrast = QueueContrast(z, filled_queue(keys, none), 0.3, None)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(
            supcon_of(contrast, domains_of(none[:6], "float32"))
        ),
        0.0,
    )


@pytest.mark.parametrize(
    "temperature", [-1, 0, float("nan"), [0.1, -0.1] * 3, [0.1] * 5, "a", None]
)
def test_impossible_temperatures_are_refused(temperature):
    z, keys, is_filled = inputs()
    with pytest.raises(ValueError, match="`temperature` must"):
        lt.losses.queue_nt_xent(z, keys, is_filled, temperature)


@pytest.mark.parametrize("chunk_size", [0, -3, 1.5, "8", True])
def test_impossible_chunk_sizes_are_refused(chunk_size):
    z, keys, is_filled = inputs()
    with pytest.raises(ValueError, match="`chunk_size` must be an integer"):
        lt.losses.queue_nt_xent(z, keys, is_filled, 0.2, chunk_size)


def test_shapes_that_do_not_fit_are_refused_by_name():
    z, keys, is_filled = inputs()
    three_views = np.concatenate([z, z[:, :1]], axis=1)
    with pytest.raises(ValueError, match="`z` must hold two views"):
        lt.losses.queue_nt_xent(three_views, keys, is_filled)
    with pytest.raises(ValueError, match="`keys` must have shape"):
        lt.losses.queue_nt_xent(z, keys[:, :3], is_filled)
    with pytest.raises(ValueError, match="`is_filled` must hold one value"):
        lt.losses.queue_nt_xent(z, keys, is_filled[:5])
