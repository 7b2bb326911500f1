"""What each anchor's negatives sum up to, and how they push each other.

Anchors are the rows of `(2 * batch, dim)` unit vectors, first views first, so
that the positive of anchor a is `batch` rows away. With τ_ab the temperature of
a pair, both functions here return

    log Σ_{negatives b} exp(s_ab/τ_ab),  (2 * batch,)

and a function from numbers w_a, one for each anchor, to the gradient of
Σ_a w_a log Σ_b exp(s_ab/τ_ab) with respect to the unit vectors. With P_ab, the
softmax over the negatives of an anchor, that is

    Σ_b w_a P_ab/τ_ab u_b + Σ_b w_b P_ba/τ_ba u_b,

two products with the matrix that the sums needed anyway.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_ltssl.losses.blocks import in_blocks
from keras_ltssl.typing import Tensor

PairScale = Callable[[Tensor], Tensor]
Push = Callable[[Tensor], Tensor]


def _lowest(tensor: Tensor) -> float:
    """A number that means -∞ to the softmax, yet one can calculate with."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return 0.5 * float(np.finfo(dtype).min)


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the softmax of each row, and the log of its sum.

    The softmax is what the gradient needs, and one operation where every
    backend is fast. The log of the sum follows from it.
    """
    shares = ops.softmax(logits, axis=-1)
    largest = ops.max(logits, axis=-1)
    return shares, largest - ops.log(ops.max(shares, axis=-1))


def _pairs(
    rows: Tensor, tau: Tensor, units: Tensor, pair_scale: PairScale | None
) -> tuple[Tensor, Tensor]:
    """Returns s/τ of rows and all anchors, and τ of each pair or row."""
    tau = tau[:, None]
    if pair_scale is None:  # There are fewer numbers in the rows.
        return ops.matmul(rows / tau, ops.transpose(units)), tau
    cosine = ops.matmul(rows, ops.transpose(units))
    tau_pairs = tau * pair_scale(cosine)
    return cosine / tau_pairs, tau_pairs


def all_at_once(
    units: Tensor, tau: Tensor, pair_scale: PairScale | None
) -> tuple[Tensor, Push]:
    """Holds the similarities of all anchors; the fastest where they fit.

    Args:
        units: Anchors, `(2 * batch, dim)`.
        tau: Their temperatures, `(2 * batch,)`.
        pair_scale: What τ of a pair is multiplied by, a function of its cosine,
            or `None`.
    """
    batch = ops.shape(units)[0] // 2
    logits, tau_pairs = _pairs(units, tau, units, pair_scale)
    # The diagonals of the four blocks of views: an anchor itself and its
    # positive. `+=` writes in place on PyTorch, where a matrix more costs as
    # much as a product; elsewhere it is an addition like any other. XLA takes
    # half as long again with reshaped logits and a single diagonal.
    diagonal = _lowest(units) * ops.eye(batch, dtype=units.dtype)
    logits += ops.tile(diagonal, (2, 2))
    shares, log_sums = _softmax(logits)

    def push(weights: Tensor) -> Tensor:
        if pair_scale is None:
            pairs, weights = shares, (weights / tau)[:, None]
        else:
            pairs, weights = shares / tau_pairs, weights[:, None]
        by_others = ops.matmul(ops.transpose(pairs), weights * units)
        return weights * ops.matmul(pairs, units) + by_others

    return log_sums, push


def in_chunks(
    units: Tensor, tau: Tensor, pair_scale: PairScale | None, size: int
) -> tuple[Tensor, Push]:
    """Holds `size` rows of similarities at a time, and computes them twice.

    Args:
        units: Anchors, `(2 * batch, dim)`.
        tau: Their temperatures, `(2 * batch,)`.
        pair_scale: What τ of a pair is multiplied by, a function of its cosine,
            or `None`.
        size: Integer >= 1.
    """
    # Of the same sample are an anchor itself and its positive.
    sample = ops.arange(ops.shape(units)[0], dtype="int32")
    sample = sample % (ops.shape(units)[0] // 2)

    def drop_own(logits: Tensor, samples: Tensor) -> Tensor:
        is_negative = samples[:, None] != sample[None, :]
        return ops.where(is_negative, logits, _lowest(units))

    def pull_of(block: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        rows, tau_rows, samples = block
        logits, tau_pairs = _pairs(rows, tau_rows, units, pair_scale)
        shares, log_sums = _softmax(drop_own(logits, samples))
        if pair_scale is None:
            return log_sums, ops.matmul(shares, units) / tau_pairs
        return log_sums, ops.matmul(shares / tau_pairs, units)

    log_sums, by_own = in_blocks(pull_of, (units, tau, sample), size)

    def push(weights: Tensor) -> Tensor:
        def push_of(block: tuple[Tensor, ...]) -> Tensor:
            rows, samples = block
            if pair_scale is None:
                logits = ops.matmul(rows, ops.transpose(units / tau[:, None]))
                weighted = (weights / tau)[:, None] * units
            else:
                cosine = ops.matmul(rows, ops.transpose(units))
                tau_pairs = tau * pair_scale(cosine)
                logits = cosine / tau_pairs
                weighted = weights[:, None] * units
            logits -= log_sums  # In place on PyTorch.
            shares = ops.exp(drop_own(logits, samples))
            if pair_scale is not None:
                shares = shares / tau_pairs
            return ops.matmul(shares, weighted)

        by_others = in_blocks(push_of, (units, sample), size)
        return weights[:, None] * by_own + by_others

    return log_sums, push
