"""Projections of any scale as unit vectors."""

import keras
from keras import ops

from keras_ltssl.typing import Tensor


def as_floats(values: Tensor) -> Tensor:
    """Returns a tensor in float32, or float64 where it was that."""
    values = ops.convert_to_tensor(values)
    if keras.backend.standardize_dtype(values.dtype) == "float64":
        return values
    return ops.cast(values, "float32")


def units_and_inverse_norms(z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns `z / ||z||` over the last axis, and `1 / ||z||`.

    Both are zero for a zero vector; vectors of any scale that floats can hold
    come out as exact unit vectors.
    """
    # Scaled to entries of at most 1, so that no square over- or underflows.
    largest = ops.stop_gradient(ops.max(ops.abs(z), axis=-1, keepdims=True))
    is_zero = largest == 0
    largest = ops.where(is_zero, 1.0, largest)
    z = z / largest
    squared = ops.sum(ops.square(z), axis=-1, keepdims=True)
    inverse = ops.rsqrt(ops.where(is_zero, 1.0, squared))
    inverse = ops.where(is_zero, 0.0, inverse)
    return z * inverse, inverse / largest


def unit_views(z: Tensor) -> Tensor:
    """Returns `z / ||z||` over the last axis, in float32 or wider.

    A zero vector stays zero and gets no gradient; vectors of any scale that
    floats can hold come out as exact unit vectors.
    """
    units, _ = units_and_inverse_norms(as_floats(z))
    return units
