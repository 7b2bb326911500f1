"""The log-sum over the negatives of each anchor, and its gradient.

Anchors are the unit vectors `(batch, 2, dim)` of a batch as rows, so that the
positive of an anchor is the row beside it. With τ_ab the temperature of a pair,
both functions here compute

    log Σ_{negatives b} exp(s_ab/τ_ab),  (2 * batch,)

and a function from numbers w_a, one for each anchor, to the gradient of
Σ_a w_a log Σ_b exp(s_ab/τ_ab) with respect to the unit vectors. With P_ab, the
softmax over the negatives of an anchor, that is

    w_a Σ_b P_ab/τ_ab u_b + Σ_b w_b P_ba/τ_ba u_b,

which takes two products with the matrix that the sums are made of. The first
sum does not depend on w: a loss that needs it for its value computes it once.

A replica computes its own anchors a against all b. What it sends to b is then
its part of the second sum, and the parts of all replicas add up.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.fused_arithmetic import minus_product, plus_matmul
from keras_ltssl.backend.fused_operations import reshape
from keras_ltssl.backend.in_place_operations import (
    ProductBuffer,
    add_to_own_pairs,
    exp_in_place,
    fill_columns,
)
from keras_ltssl.backend.replicas import Part
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
    """The result of `all_at_once` and of `in_chunks`.

    Anchors are those of a replica's own samples. What is pulled is a multiple
    D_a of its meaning, Σ_b P_ab/τ_ab u_b.
    """

    log_sums: Tensor
    """The log-sums, `(own, 2)`."""
    divisors: Tensor
    """D, `(own, 2)`."""
    pull: Callable[..., Tensor]
    """From `(units, *held)` to D_a Σ_b P_ab/τ_ab u_b, `(2 * own, dim)`."""
    push: Callable[..., Tensor]
    """From `(w, pulled, a, b, units, *held)` to a gradient, `(batch, 2, dim)`.

    The gradient of the weighted log-sums, less a · b at the own anchors, of
    which both are broadcast to `(own, 2, dim)`.
    """
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


def _rows(units: Tensor) -> Tensor:
    """Returns the vectors of all anchors as rows."""
    return reshape(units, (-1, units.shape[-1]))


def all_at_once(
    units: Tensor,
    scaled: Tensor,
    tau: Tensor,
    pair_scale: PairScale | None,
    part: Part,
) -> Negatives:
    """Returns sums and gradient from all similarities at once.

    This is the fastest form if the similarities fit into memory.

    Args:
        units: Unit vectors of all replicas, `(batch, 2, dim)`.
        scaled: Own anchors over their temperatures, `(own, 2, dim)`. Not used
            with `pair_scale`.
        tau: The temperatures of own samples, `(own,)`.
        pair_scale: What τ of a pair is multiplied by, a function of its cosine,
            or `None`.
        part: The samples of this replica.
    """
    others = ops.transpose(_rows(units))
    if pair_scale is None:  # Cheaper than dividing the logits.
        logits = _rows(scaled) @ others
    else:
        cosine = _rows(part.own(units)) @ others
        tau_pairs = ops.repeat(tau, 2)[:, None] * pair_scale(cosine)
        logits = cosine / tau_pairs
    # Neither an anchor itself nor its positive is a negative.
    logits = add_to_own_pairs(logits, 2, lowest(logits), part.first)
    shares = softmax_over(logits)

    pairs, divisors = shares.exponentials, reshape(shares.sums, (-1, 2))
    if pair_scale is None:
        divisors = divisors * tau[:, None]
    else:
        pairs = pairs / tau_pairs
    held = (pairs, divisors)
    log_sums = reshape(shares.log_sums, (-1, 2))
    push = functools.partial(_push_of_all, part)
    return Negatives(log_sums, divisors, _pull_of_all, push, held, shares)


def _pull_of_all(units: Tensor, pairs: Tensor, divisors: Tensor) -> Tensor:
    return pairs @ _rows(units)


def _push_of_all(
    part: Part,
    weights: Tensor,
    pulled: Tensor,
    a: Tensor,
    b: Tensor,
    units: Tensor,
    pairs: Tensor,
    divisors: Tensor,
) -> Tensor:
    anchors = part.own(units)
    weights = (weights / divisors)[:, :, None]
    weighted = _rows(weights * anchors)
    to_anchors = weights * reshape(pulled, ops.shape(anchors))
    to_anchors = minus_product(to_anchors, a, b)
    if part.is_whole:  # Then PyTorch adds in the product.
        both = plus_matmul(_rows(to_anchors), ops.transpose(pairs), weighted)
        return reshape(both, ops.shape(units))
    to_others = ops.transpose(pairs) @ weighted
    return part.plus(reshape(to_others, ops.shape(units)), to_anchors)


def in_chunks(
    units: Tensor,
    scaled: Tensor,
    tau: Tensor,
    pair_scale: PairScale | None,
    size: int,
    part: Part,
) -> Negatives:
    """Returns sums and gradient from `size` rows of similarities at a time.

    The gradient computes the similarities again.

    Args:
        units: Unit vectors of all replicas, `(batch, 2, dim)`.
        scaled: Own anchors over their temperatures, `(own, 2, dim)`. Not used
            with `pair_scale`.
        tau: The temperatures of own samples, `(own,)`.
        pair_scale: What τ of a pair is multiplied by, a function of its cosine,
            or `None`.
        size: Integer >= 1.
        part: The samples of this replica.
    """
    rows, tau = _rows(units), ops.repeat(tau, 2)
    pairs = _pairs(ops.shape(rows)[0])
    # An anchor itself and its positive.
    own = pairs
    if not part.is_whole:
        own = 2 * part.first + _pairs(ops.shape(tau)[0])

    buffer = ProductBuffer()

    def pull_of(block: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        block_rows, tau_rows, own = block
        logits = buffer.multiply(block_rows, ops.transpose(rows))
        tau_pairs = tau_rows[:, None]
        if pair_scale is not None:
            tau_pairs = tau_pairs * pair_scale(logits)
            logits /= tau_pairs  # In place on PyTorch.
        logits = fill_columns(logits, own, lowest(logits))
        pairs, sums, log_sums = softmax_over(logits)
        if pair_scale is None:
            return log_sums, sums * tau_rows, pairs @ rows
        return log_sums, sums, (pairs / tau_pairs) @ rows

    compared = _rows(part.own(units) if pair_scale is not None else scaled)
    log_sums, divisors, pulled = in_blocks(pull_of, (compared, tau, own), size)
    # The same, of each vector of the batch among the own anchors.
    among_own = pairs if part.is_whole else pairs - 2 * part.first

    def push(
        weights: Tensor,
        pulled: Tensor,
        a: Tensor,
        b: Tensor,
        units: Tensor,
        scaled: Tensor,
        tau: Tensor,
        among_own: Tensor,
        log_sums: Tensor,
        divisors: Tensor,
        _: Tensor,
    ) -> Tensor:
        rows, anchors = _rows(units), part.own(units)
        compared = _rows(anchors if pair_scale is not None else scaled)
        weighted = reshape(weights, (-1, 1)) * compared
        buffer = ProductBuffer()

        def push_of(block: tuple[Tensor, ...]) -> Tensor:
            block_rows, own = block
            logits = buffer.multiply(block_rows, ops.transpose(compared))
            if pair_scale is not None:
                tau_pairs = tau * pair_scale(logits)
                logits /= tau_pairs
            logits -= log_sums
            logits = fill_columns(
                logits, own, lowest(logits), may_miss=not part.is_whole
            )
            shares = exp_in_place(logits)
            if pair_scale is not None:
                shares = shares / tau_pairs
            return shares @ weighted

        to_others = in_blocks(push_of, (rows, among_own), size)
        weights = (weights / divisors)[:, :, None]
        to_anchors = weights * reshape(pulled, ops.shape(anchors))
        to_anchors = minus_product(to_anchors, a, b)
        return part.plus(reshape(to_others, ops.shape(units)), to_anchors)

    divisors = reshape(divisors, (-1, 2))
    held = (scaled, tau, among_own, log_sums, divisors, pulled)
    log_sums = reshape(log_sums, (-1, 2))
    return Negatives(log_sums, divisors, _last_held, push, held, None)


def _pairs(anchors: int | Tensor) -> Tensor:
    """Returns the two rows of the sample of each anchor, `(anchors, 2)`."""
    first = 2 * (ops.arange(anchors, dtype="int32") // 2)
    return ops.stack([first, first + 1], axis=1)


def _last_held(units: Tensor, *held: Tensor) -> Tensor:
    return held[-1]
