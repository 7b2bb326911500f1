"""One NT-Xent value per anchor, with its analytic gradient."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.schedules.temperature_schedule import check_temperature
from keras_ltssl.typing import Tensor

_NEVER = -math.inf


def check_views(z: Tensor) -> None:
    """Says what is wrong when `z` is not `(batch, 2, dim)`."""
    if len(z.shape) != 3 or z.shape[1] != 2:
        raise ValueError(
            "`z` must hold two views of each sample, shape (batch, 2, dim). "
            f"Received: z.shape={tuple(z.shape)}"
        )


def check_temperatures(temperature: float | Tensor) -> None:
    """Says what is wrong with a temperature whose value is known by now."""
    if isinstance(temperature, (bool, int, float, np.generic)):
        check_temperature("temperature", temperature)  # type: ignore[arg-type]
    elif isinstance(temperature, (np.ndarray, list, tuple)):
        values = np.asarray(temperature)
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(
                "`temperature` must hold finite numbers > 0. "
                f"Received: temperature={temperature!r}"
            )


def unit_views(z: Tensor) -> Tensor:
    """Returns `z / ||z||` over the last axis, in float32 or wider.

    A zero vector stays zero and gets no gradient; vectors of any scale that
    floats can hold come out as exact unit vectors.
    """
    z = ops.convert_to_tensor(z)
    if keras.backend.standardize_dtype(z.dtype) != "float64":
        z = ops.cast(z, "float32")
    # Scaled to entries of at most 1, so that no square over- or underflows.
    largest = ops.stop_gradient(ops.max(ops.abs(z), axis=-1, keepdims=True))
    is_zero = largest == 0
    z = z / ops.where(is_zero, ops.ones_like(largest), largest)
    squared = ops.sum(ops.square(z), axis=-1, keepdims=True)
    inverse = ops.rsqrt(ops.where(is_zero, ops.ones_like(squared), squared))
    return z * ops.where(is_zero, ops.zeros_like(inverse), inverse)


def log_sum_exp(logits: Tensor, keep: Tensor) -> Tensor:
    """Returns log Σ exp over the kept columns; -inf where none is kept."""
    masked = ops.where(keep, logits, _NEVER)
    largest = ops.max(masked, axis=-1, keepdims=True)
    largest = ops.where(largest == _NEVER, 0.0, largest)
    total = ops.sum(ops.exp(masked - largest), axis=-1)
    return ops.log(total) + largest[:, 0]


def in_blocks(function: Any, arrays: tuple[Tensor, ...], size: int) -> Tensor:
    """Maps `function` over blocks of `size` rows and joins what it returns."""
    rows = ops.shape(arrays[0])[0]
    blocks = (rows + size - 1) // size
    padding = blocks * size - rows

    def split(array: Tensor) -> Tensor:
        tail = array.shape[1:]
        widths = [[0, padding]] + [[0, 0]] * len(tail)
        # Ones, not zeros: a padded temperature must not divide by zero.
        padded = ops.pad(array, widths, constant_values=1)
        return ops.reshape(padded, (blocks, size, *tail))

    out = ops.map(function, tuple(split(array) for array in arrays))
    return ops.reshape(out, (blocks * size, *out.shape[2:]))[:rows]


def anchor_losses(
    z: Tensor,
    temperature: float | Tensor,
    chunk_size: int | None = None,
    pair_scale: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Returns the NT-Xent loss of every anchor, shape `(batch, 2)`.

        l_a = -log( exp(s_ap/τ_a) / Σ_{b≠a} exp(s_ab/τ_a) )
            = softplus( log Σ_{negatives} exp(s_ab/τ_a) - s_ap/τ_a )

    The second form loses no digits when the positive dominates. The gradient
    is written out: with G_ab = ∂L/∂s_ab it is G u + Gᵀ u, where G is the matrix
    of exponentials that the loss needed anyway, each row times a number: two
    products more and no exponential. The chunked form recomputes G + Gᵀ
    block by block and never holds more than `chunk_size` rows of it.

    Args:
        z: Projections `(batch, 2, dim)`, not normalised.
        temperature: τ, a number or scalar tensor, or one per sample `(batch,)`.
            It is a constant to the gradient.
        chunk_size: Anchors whose similarities are held at a time, or `None`
            for all `2 * batch` of them.
        pair_scale: What the τ of a pair is multiplied by, an elementwise
            function of its cosine: τ_ab = τ_a · pair_scale(s_ab). A constant
            to the gradient, too. Defaults to `None`, 1 for every pair.
    """
    z = ops.convert_to_tensor(z)
    check_views(z)
    check_temperatures(temperature)
    if chunk_size is not None and (
        isinstance(chunk_size, bool)
        or not isinstance(chunk_size, (int, np.integer))
        or chunk_size < 1
    ):
        raise ValueError(
            "`chunk_size` must be an integer >= 1 or None. "
            f"Received: chunk_size={chunk_size!r}"
        )
    views = unit_views(z)
    batch = ops.shape(views)[0]
    # View-major: the positive of anchor a is `batch` rows away from it.
    units = ops.reshape(
        ops.transpose(views, (1, 0, 2)), (2 * batch, views.shape[2])
    )
    tau = ops.stop_gradient(ops.cast(temperature, units.dtype))
    if len(tau.shape) > 1 or (
        len(tau.shape) == 1
        and None not in (tau.shape[0], z.shape[0])
        and tau.shape[0] != z.shape[0]
    ):
        raise ValueError(
            "`temperature` must be a scalar or have shape (batch,) = "
            f"({z.shape[0]},). Received: temperature.shape={tuple(tau.shape)}"
        )
    tau = ops.broadcast_to(tau, (batch,))
    tau = ops.concatenate([tau, tau])
    units_dtype = keras.backend.standardize_dtype(units.dtype)
    # Of the same sample are an anchor itself and its positive.
    sample = ops.arange(2 * batch, dtype="int32") % batch

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def losses_of(units: Tensor, tau: Tensor) -> tuple[Tensor, Any]:
        def logits_of(rows: Tensor, tau_rows: Tensor) -> tuple[Tensor, Tensor]:
            """Returns s/τ of rows and all anchors, and τ of a pair or a row."""
            tau_rows = tau_rows[:, None]
            if pair_scale is None:  # There are fewer numbers in the rows.
                return ops.matmul(
                    rows / tau_rows, ops.transpose(units)
                ), tau_rows
            cosine = ops.matmul(rows, ops.transpose(units))
            tau_pairs = tau_rows * pair_scale(cosine)
            return cosine / tau_pairs, tau_pairs

        def is_negative(samples: Tensor) -> Tensor:
            return samples[:, None] != sample[None, :]

        partners = ops.roll(units, batch, axis=0)
        positive_cosine = ops.sum(units * partners, axis=-1)
        positive_tau = tau
        if pair_scale is not None:
            positive_tau = tau * pair_scale(positive_cosine)
        positive = positive_cosine / positive_tau

        if chunk_size is None:
            logits, tau_pairs = logits_of(units, tau)
            # Finite: with one sample in the batch, nothing is a negative.
            lowest = 0.5 * float(np.finfo(units_dtype).min)
            logits = ops.where(is_negative(sample), logits, lowest)
            # The softmax holds what the gradient needs, and is one operation
            # where every backend is fast; the log of the sum follows from it.
            shares = ops.softmax(logits, axis=-1)
            log_negatives = ops.max(logits, axis=-1) - ops.log(
                ops.max(shares, axis=-1)
            )
        else:

            def negatives(block: tuple[Tensor, ...]) -> Tensor:
                rows, samples, tau_rows = block
                logits, _ = logits_of(rows, tau_rows)
                return log_sum_exp(logits, is_negative(samples))

            log_negatives = in_blocks(
                negatives, (units, sample, tau), chunk_size
            )
        losses = ops.softplus(log_negatives - positive)

        def push_of_all(miss: Tensor) -> Tensor:
            if pair_scale is None:
                pairs, weight = shares, (miss / tau)[:, None]
            else:
                pairs, weight = shares / tau_pairs, miss[:, None]
            from_row = weight * ops.matmul(pairs, units)
            return from_row + ops.matmul(ops.transpose(pairs), weight * units)

        def push_in_blocks(miss: Tensor) -> Tensor:
            def push(block: tuple[Tensor, ...]) -> Tensor:
                rows, samples, tau_rows, miss_rows, log_rows = block
                logits, tau_pairs = logits_of(rows, tau_rows)
                from_row = (miss_rows[:, None] / tau_pairs) * ops.exp(
                    logits - log_rows[:, None]
                )
                cosine = logits * tau_pairs
                tau_columns = tau_pairs * (tau / tau_rows[:, None])
                from_column = (miss / tau_columns) * ops.exp(
                    cosine / tau_columns - log_negatives
                )
                both = from_row + from_column
                both = ops.where(is_negative(samples), both, 0.0)
                return ops.matmul(both, units)

            assert chunk_size is not None
            everything = (units, sample, tau, miss, log_negatives)
            return in_blocks(push, everything, chunk_size)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Any:
            if upstream is None:
                (upstream,) = args
            miss = upstream * ops.sigmoid(log_negatives - positive)
            pushed = (
                push_of_all(miss)
                if chunk_size is None
                else push_in_blocks(miss)
            )
            pull = miss / positive_tau
            pulled = pull + ops.roll(pull, batch, axis=0)
            return pushed - pulled[:, None] * partners, ops.zeros_like(tau)

        return losses, gradient

    losses = losses_of(units, tau)
    return ops.transpose(ops.reshape(losses, (2, batch)))
