"""Projections of any scale as unit vectors."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor


def as_floats(values: Tensor) -> Tensor:
    """Returns a tensor in float32, or float64 where it was that."""
    values = ops.convert_to_tensor(values)
    if keras.backend.standardize_dtype(values.dtype) == "float64":
        return values
    return ops.cast(values, "float32")


def units_and_inverse_norms(z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns `z / ||z||` over the last axis, and `1 / ||z||`.

    Both are zero for a zero vector; vectors of any scale that floats can hold
    come out as exact unit vectors. No gradient flows: see `through_units`.
    """
    z = ops.stop_gradient(z)
    # Scaled to entries of at most 1, so that no square over- or underflows.
    largest = ops.amax(abs(z), axis=-1, keepdims=True)
    is_zero = ops.cast(largest == 0, z.dtype)
    largest = largest + is_zero
    z = z / largest
    squared = ops.sum(z * z, axis=-1, keepdims=True)
    inverse = ops.rsqrt(squared + is_zero) * (1.0 - is_zero)
    return z * inverse, inverse / largest


def through_units(to_units: Tensor, units: Tensor, inverse: Tensor) -> Tensor:
    """Returns the gradient to `z` from that to `z / ||z||`.

    Args:
        to_units: Gradient with respect to the unit vectors.
        units: The unit vectors.
        inverse: `1 / ||z||`.
    """
    along = ops.sum(to_units * units, axis=-1, keepdims=True)
    return inverse * (to_units - along * units)


def unit_views(z: Tensor) -> Tensor:
    """Returns `z / ||z||` over the last axis, in float32 or wider.

    A zero vector stays zero and gets no gradient; vectors of any scale that
    floats can hold come out as exact unit vectors.
    """

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def units_of(z: Tensor) -> tuple[Tensor, Any]:
        units, inverse = units_and_inverse_norms(z)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            if upstream is None:
                (upstream,) = args
            return through_units(upstream, units, inverse)

        return units, gradient

    return units_of(as_floats(z))
