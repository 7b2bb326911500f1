"""The log-sum over the negatives of each anchor, and its gradient.

Anchors are the rows of `(2 * batch, dim)` unit vectors, first views first, so
that the positive of anchor a is `batch` rows away. With τ_ab the temperature of
a pair, both functions here compute

    log Σ_{negatives b} exp(s_ab/τ_ab),  (2 * batch,)

and a function from numbers w_a, one for each anchor, to the gradient of
Σ_a w_a log Σ_b exp(s_ab/τ_ab) with respect to the unit vectors. With P_ab, the
softmax over the negatives of an anchor, that is

    w_a Σ_b P_ab/τ_ab u_b + Σ_b w_b P_ba/τ_ba u_b,

which takes two products with the matrix that the sums are made of. The first
sum does not depend on w: a loss that needs it for its value computes it once.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.in_place_operations import (
    ProductBuffer,
    add_to_diagonals_of_blocks,
    exp_in_place,
    fill_columns,
)
from keras_ltssl.losses.kernels.chunks import in_blocks
from keras_ltssl.types import Tensor

PairScale = Callable[[Tensor], Tensor]


class Softmax(NamedTuple):
    """The softmax of each row, not yet divided: `exponentials / sums`.

    The caller divides later, where that takes one operation a row instead of
    one an entry.
    """

    exponentials: Tensor
    """At most 1, `(rows, columns)`."""
    sums: Tensor
    """Their sums, `(rows,)`."""
    log_sums: Tensor
    """The log of the sum of exp(logit), `(rows,)`."""


class Negatives(NamedTuple):
    """The result of `all_at_once` and of `in_chunks`."""

    log_sums: Tensor
    """The log-sums, `(2 * batch,)`."""
    pull: Callable[..., Tensor]
    """From `(units, *held)` to Σ_b P_ab/τ_ab u_b, `(2 * batch, dim)`."""
    push: Callable[..., Tensor]
    """From `(w, pulled, units, *held)` to the gradient, `(2 * batch, dim)`."""
    held: tuple[Tensor, ...]
    """Arguments of both. On JAX, they may not close over tensors."""
    shares: Softmax | None
    """The softmax P, where it is held as a whole."""


def softmax_over(logits: Tensor) -> Softmax:
    """Returns the softmax of each row. Overwrites `logits` on PyTorch.

    On PyTorch `-=` works in place, which saves a matrix that would cost as much
    as a product. On the other backends `-=` makes a new tensor.
    """
    largest = ops.amax(logits, axis=-1, keepdims=True)
    logits -= largest
    exponentials = exp_in_place(logits)
    sums = ops.sum(exponentials, axis=-1)
    return Softmax(exponentials, sums, largest[:, 0] + ops.log(sums))


def lowest(tensor: Tensor) -> float:
    """Returns a finite stand-in for -∞ in a softmax."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return 0.5 * float(np.finfo(dtype).min)


def _mask_own(logits: Tensor, batch: int | Tensor) -> Tensor:
    """Masks the entries of each anchor itself and of its positive.

    These are the diagonals of the four blocks of views.
    """
    return add_to_diagonals_of_blocks(logits, batch, lowest(logits))


def all_at_once(
    units: Tensor, tau: Tensor, pair_scale: PairScale | None
) -> Negatives:
    """Returns sums and gradient from all similarities at once.

    This is the fastest form if the similarities fit into memory.

    Args:
        units: Anchors, `(2 * batch, dim)`.
        tau: Their temperatures, `(2 * batch,)`.
        pair_scale: What τ of a pair is multiplied by, a function of its cosine,
            or `None`.
    """
    if pair_scale is None:  # Cheaper than dividing the logits.
        logits = (units / tau[:, None]) @ ops.transpose(units)
    else:
        cosine = units @ ops.transpose(units)
        tau_pairs = tau[:, None] * pair_scale(cosine)
        logits = cosine / tau_pairs
    shares = softmax_over(_mask_own(logits, ops.shape(units)[0] // 2))

    pairs, scale = shares.exponentials, 1.0 / shares.sums
    if pair_scale is None:
        scale = scale / tau
    else:
        pairs = pairs / tau_pairs
    held = (pairs, scale)
    return Negatives(shares.log_sums, _pull_of_all, _push_of_all, held, shares)


def _pull_of_all(units: Tensor, pairs: Tensor, scale: Tensor) -> Tensor:
    return scale[:, None] * (pairs @ units)


def _push_of_all(
    weights: Tensor,
    pulled: Tensor,
    units: Tensor,
    pairs: Tensor,
    scale: Tensor,
) -> Tensor:
    pushed = weights[:, None] * pulled
    pushed += ops.transpose(pairs) @ ((weights * scale)[:, None] * units)
    return pushed


def in_chunks(
    units: Tensor, tau: Tensor, pair_scale: PairScale | None, size: int
) -> Negatives:
    """Returns sums and gradient from `size` rows of similarities at a time.

    The gradient computes the similarities again.

    Args:
        units: Anchors, `(2 * batch, dim)`.
        tau: Their temperatures, `(2 * batch,)`.
        pair_scale: What τ of a pair is multiplied by, a function of its cosine,
            or `None`.
        size: Integer >= 1.
    """
    anchors = ops.shape(units)[0]
    # An anchor itself and its positive.
    sample = ops.arange(anchors, dtype="int32") % (anchors // 2)
    own = ops.stack([sample, sample + anchors // 2], axis=1)

    buffer = ProductBuffer()

    def pull_of(block: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        rows, tau_rows, own = block
        logits = buffer.multiply(rows, ops.transpose(units))
        tau_pairs = tau_rows[:, None]
        if pair_scale is not None:
            tau_pairs = tau_pairs * pair_scale(logits)
        logits /= tau_pairs  # In place on PyTorch.
        logits = fill_columns(logits, own, lowest(logits))
        pairs, sums, log_sums = softmax_over(logits)
        if pair_scale is None:
            return log_sums, pairs @ units / (tau_pairs * sums[:, None])
        return log_sums, (pairs / tau_pairs) @ units / sums[:, None]

    log_sums, pulled = in_blocks(pull_of, (units, tau, own), size)

    def push(
        weights: Tensor,
        pulled: Tensor,
        units: Tensor,
        tau: Tensor,
        own: Tensor,
        log_sums: Tensor,
        _: Tensor,
    ) -> Tensor:
        if pair_scale is None:
            weighted = (weights / tau)[:, None] * units
        else:
            weighted = weights[:, None] * units
        buffer = ProductBuffer()

        def push_of(block: tuple[Tensor, ...]) -> Tensor:
            rows, own = block
            logits = buffer.multiply(rows, ops.transpose(units))
            tau_pairs = tau
            if pair_scale is not None:
                tau_pairs = tau_pairs * pair_scale(logits)
            logits /= tau_pairs
            logits -= log_sums
            logits = fill_columns(logits, own, lowest(logits))
            shares = exp_in_place(logits)
            if pair_scale is not None:
                shares = shares / tau_pairs
            return shares @ weighted

        by_others = in_blocks(push_of, (units, own), size)
        return weights[:, None] * pulled + by_others

    held = (tau, own, log_sums, pulled)
    return Negatives(log_sums, _last_held, push, held, None)


def _last_held(units: Tensor, *held: Tensor) -> Tensor:
    return held[-1]
