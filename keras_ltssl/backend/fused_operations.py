"""Shapes, choices and orders that cost more in Keras on PyTorch than they need.

Small batches take as long as there are kernels to start on a GPU: here are
several in one. Where one of two arguments is a Python number, Keras copies it
to the device first, and the host waits for that. And `ops.reshape` and
`ops.stack` look for symbolic tensors in each number of a shape, which takes the
time of ten operations. `fused_arithmetic` has what computes.
"""

from collections.abc import Sequence

import keras
from keras import ops

from keras_ltssl.types import Tensor


def reshape(x: Tensor, shape: Sequence[int | Tensor]) -> Tensor:
    """Returns a tensor of the same values in another shape.

    Args:
        x: Tensor.
        shape: Its new shape; -1 for one of its sizes is what is left.
    """
    if keras.backend.backend() != "torch":
        return ops.reshape(x, shape)
    return x.reshape(*shape)


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Returns tensors of one shape as one, along a new axis.

    Args:
        tensors: Tensors.
        axis: The new axis. Defaults to `0`.
    """
    if keras.backend.backend() != "torch":
        return ops.stack(tensors, axis=axis)
    import torch

    return torch.stack(list(tensors), dim=axis)


def fill_where(condition: Tensor, x: Tensor, number: float) -> Tensor:
    """Returns `x`, and `number` where the condition holds.

    Args:
        condition: Booleans; they are broadcast with `x`.
        x: Tensor.
        number: Number of the type of `x`.
    """
    if keras.backend.backend() != "torch":
        return ops.where(condition, number, x)
    return x.masked_fill(condition, number)


def at_least(x: Tensor | int, number: float) -> Tensor:
    """Returns `x`, and `number` where that is larger.

    Args:
        x: Tensor or integer.
        number: Number of the type of `x`.
    """
    if isinstance(x, int):
        return max(x, number)
    if keras.backend.backend() != "torch":
        return ops.maximum(x, number)
    return x.clamp(min=number)


def at_most(x: Tensor, number: int | Tensor) -> Tensor:
    """Returns `x`, and `number` where that is smaller.

    Args:
        x: Tensor.
        number: Number of the type of `x`, or a scalar on TensorFlow.
    """
    if keras.backend.backend() != "torch":
        return ops.minimum(x, number)
    return x.clamp(max=number)


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """Returns `x`, moved into a range where it is outside.

    Args:
        x: Tensor.
        low: Smallest number, of the type of `x`.
        high: Largest number.
    """
    if keras.backend.backend() != "torch":
        return ops.clip(x, low, high)
    return x.clamp(low, high)


def order_of(values: Tensor) -> Tensor:
    """Returns the indices that sort values, for `rows_of`. Stable.

    Args:
        values: Numbers, `(n,)`.
    """
    if keras.backend.backend() != "torch":
        return ops.argsort(values)
    return values.argsort(stable=True)


def rows_of(x: Tensor, rows: Tensor) -> Tensor:
    """Returns a copy of some rows of a tensor.

    Args:
        x: `(rows, ...)`.
        rows: Indices of the rows, integers >= 0, `(n,)`.
    """
    if keras.backend.backend() != "torch":
        return ops.take(x, rows, axis=0)
    return x.index_select(0, rows)


def number_where(condition: Tensor, number: float) -> Tensor:
    """Returns a number where the condition holds, and 0 elsewhere.

    Args:
        condition: Booleans.
        number: A number; the result is float32.
    """
    if keras.backend.backend() != "torch":
        return number * ops.cast(condition, "float32")
    return number * condition


def count_where(condition: Tensor, dtype: str = "float32") -> Tensor:
    """Returns how often the condition holds, a scalar.

    Args:
        condition: Booleans.
        dtype: Dtype of the scalar. Defaults to `"float32"`.
    """
    if keras.backend.backend() != "torch":
        return ops.sum(ops.cast(condition, dtype))
    import torch

    return condition.sum(dtype=getattr(torch, dtype))


def largest_and_place(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the largest number of each row, and the first column with it.

    Args:
        x: `(rows, columns)`.
    """
    if keras.backend.backend() != "torch":
        return ops.amax(x, axis=-1), ops.argmax(x, axis=-1)
    largest, place = x.max(dim=-1)
    return largest, place


def sorted_and_order(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns values in ascending order, and the indices that sort them.

    Equal values keep their order.

    Args:
        values: Numbers, `(n,)`.
    """
    if keras.backend.backend() != "torch":
        order = ops.argsort(values)
        return rows_of(values, order), order
    ordered, order = values.sort(stable=True)
    return ordered, order
