"""Projections of any scale as unit vectors."""

import math
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_arithmetic import minus_product
from keras_ltssl.backend.fused_operations import at_least, fill_where
from keras_ltssl.types import Tensor


def as_floats(values: Tensor) -> Tensor:
    """Returns a tensor in float32, or float64 where it was that."""
    values = ops.convert_to_tensor(values)
    if keras.backend.standardize_dtype(values.dtype) == "float64":
        return values
    return ops.cast(values, "float32")


def units_and_norms(z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns `z / ||z||` over the last axis, and `||z||`.

    For a zero vector, these are zero and infinity. Vectors of any scale that
    floats can hold come out as exact unit vectors. No gradient flows: see
    `through_units`.
    """
    z = ops.stop_gradient(z)
    # Scaled to entries of at most 1, so that no square over- or underflows.
    largest = ops.amax(ops.abs(z), axis=-1, keepdims=True)
    largest = fill_where(largest == 0, largest, math.inf)
    z = z / largest
    # One entry is 1, but in a zero vector.
    length = at_least(ops.norm(z, axis=-1, keepdims=True), 1.0)
    return z / length, length * largest


def through_units(to_units: Tensor, units: Tensor, norms: Tensor) -> Tensor:
    """Returns the gradient to `z` from that to `z / ||z||`.

    Args:
        to_units: Gradient with respect to the unit vectors.
        units: The unit vectors.
        norms: `||z||`, as `units_and_norms` returns it.
    """
    along = ops.sum(to_units * units, axis=-1, keepdims=True)
    return minus_product(to_units, along, units) / norms


def unit_views(z: Tensor) -> Tensor:
    """Returns `z / ||z||` over the last axis, in float32 or wider.

    A zero vector stays zero and gets no gradient; vectors of any scale that
    floats can hold come out as exact unit vectors.
    """

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def units_of(z: Tensor) -> tuple[Tensor, Any]:
        units, norms = units_and_norms(z)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            if upstream is None:
                (upstream,) = args
            return through_units(upstream, units, norms)

        return units, gradient

    return units_of(as_floats(z))
