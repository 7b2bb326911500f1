"""Parts of a batch, as replicas compute them, add up to the whole."""

import functools

import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from gradients import value_and_gradient
from keras_ltssl.backend.replicas import Part
from keras_ltssl.losses.dystress import pair_temperatures
from keras_ltssl.losses.kernels.anchors import compare_anchors
from keras_ltssl.losses.kernels.margins import means_over_batch
from keras_ltssl.losses.kernels.unit_views import unit_views
from keras_ltssl.losses.tail_score import _of_anchors

pytestmark = pytest.mark.every_backend

BATCH, DIM = 7, 5
# Of three replicas, with different numbers of samples.
PARTS = [(0, 3), (3, 1), (4, 3)]
SCALES = {
    "one": None,
    "of_pairs": functools.partial(pair_temperatures, minimum=0.5, maximum=1.5),
}


class Slice(Part):
    """Some samples of a batch; nothing is gathered."""

    is_whole = False

    def __init__(self, first, size):
        self.first, self.end = first, first + size

    def own(self, batch):
        return batch[self.first : self.end]

    def plus(self, batch, own):
        before = [[self.first, BATCH - self.end], [0, 0], [0, 0]]
        return batch + ops.pad(own, before)


def projections():
    random = np.random.default_rng(0)
    z = random.normal(size=(BATCH, 2, DIM)).astype("float32")
    return z, np.linspace(0.2, 0.6, BATCH).astype("float32")


def assert_parts_make_the_whole(function, weights):
    """Checks values, and that the gradients of all parts are those at once."""
    z, _ = projections()

    def results(part):
        own = part.own(weights)
        value, gradient = value_and_gradient(
            lambda z: ops.sum(ops.multiply(own, function(z, part))), z
        )
        return ops.convert_to_numpy(function(z, part)), value, gradient

    values, total, gradient = results(Part())
    parts = [results(Slice(*part)) for part in PARTS]
    np.testing.assert_allclose(
        np.concatenate([values for values, _, _ in parts]), values, atol=1e-6
    )
    assert sum(value for _, value, _ in parts) == pytest.approx(total, rel=1e-6)
    np.testing.assert_allclose(
        sum(gradient for _, _, gradient in parts), gradient, atol=2e-6
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_anchors_of_parts_are_those_of_the_batch(scale, chunk_size):
    _, tau = projections()

    def losses(z, part):
        units = unit_views(ops.convert_to_tensor(z))
        return compare_anchors(
            units, tau, chunk_size, SCALES[scale], part
        ).losses

    weights = np.random.default_rng(1).normal(size=(BATCH, 2))
    assert_parts_make_the_whole(losses, weights.astype("float32"))


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_margins_of_parts_are_those_of_the_batch(chunk_size):
    _, tau = projections()
    factors = np.random.default_rng(2).random((BATCH, 2)).astype("float32")

    def margins(z, part):
        units = unit_views(ops.convert_to_tensor(z))
        anchors = compare_anchors(units, tau, chunk_size, part=part)
        means = means_over_batch(anchors)
        return means.margins(ops.convert_to_tensor(factors))

    weights = np.random.default_rng(1).normal(size=(BATCH, 2))
    assert_parts_make_the_whole(margins, weights.astype("float32"))


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_tail_scores_of_parts_are_those_of_the_batch(chunk_size):
    z, tau = projections()
    expected = lt.losses.tail_score(z, tau, top_k=3, chunk_size=chunk_size)
    parts = [
        _of_anchors(
            compare_anchors(unit_views(z), tau, chunk_size, part=Slice(*part)),
            top_k=3,
            chunk_size=chunk_size,
        )
        for part in PARTS
    ]
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.concatenate(parts)),
        ops.convert_to_numpy(expected),
        atol=1e-6,
    )
