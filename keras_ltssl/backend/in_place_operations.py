"""Operations that overwrite memory where Keras would copy it.

Keras has no API for assigning some rows of a variable: `ops.scatter_update`
makes a new tensor, and assigning it makes a second copy. Keras has no API for
functions that overwrite their argument either. In eager PyTorch, allocating a
large matrix takes longer than computing its values.
"""

from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.compilation import is_stateless
from keras_ltssl.backend.fused_arithmetic import interpolate
from keras_ltssl.backend.fused_operations import fill_where, reshape, rows_of
from keras_ltssl.types import Tensor


class ProductBuffer:
    """A reusable output buffer for matrix products of one size.

    On PyTorch, each product overwrites the one before it. Freeing and
    allocating the buffer each time would fragment the memory, since small
    tensors are allocated in between. On the other backends, the compiler of
    the step plans the memory.
    """

    def __init__(self) -> None:
        self._buffer: Any = None

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns `a @ b`. It is valid until the next call.

        No gradient flows through it.

        Args:
            a: Matrix.
            b: Matrix.
        """
        if keras.backend.backend() != "torch":
            return a @ b
        if self._buffer is None:
            self._buffer = a @ b
            return self._buffer
        import torch

        return torch.matmul(a, b, out=self._buffer)


def exp_in_place(tensor: Tensor) -> Tensor:
    """Returns the exponentials. On PyTorch they overwrite the argument.

    Args:
        tensor: Floats that are not used again and that no gradient flows
            through.
    """
    if keras.backend.backend() == "torch":
        return tensor.exp_()
    return ops.exp(tensor)


def add_to_own_pairs(
    matrix: Tensor, views: int, value: float, first: int | Tensor = 0
) -> Tensor:
    """Returns a matrix with `value` added where a sample meets itself.

    On PyTorch this overwrites the argument, since `ops.diagonal` is a view
    there. On the other backends, XLA does not store the mask.

    Args:
        matrix: One row for each of the `views` of some samples of a batch that
            follow each other, and two columns for each sample of it; no
            gradient flows through it.
        views: Rows of a sample.
        value: Number to add.
        first: The sample of the first row. Defaults to `0`.
    """
    rows, columns = ops.shape(matrix)
    if keras.backend.backend() == "torch":
        samples = rows // views
        by_sample = reshape(matrix, (samples, views, columns // 2, 2))
        there = by_sample[:, :, first : first + samples]
        own = ops.diagonal(there, axis1=0, axis2=2)
        own += value
        return matrix
    row_of = first + ops.arange(rows, dtype="int32") // views
    column_of = ops.arange(columns, dtype="int32") // 2
    return ops.where(row_of[:, None] == column_of, matrix + value, matrix)


def fill_columns(
    matrix: Tensor, columns: Tensor, value: float, may_miss: bool = False
) -> Tensor:
    """Returns a matrix with some entries of each row replaced.

    On PyTorch this overwrites the argument.

    Args:
        matrix: `(rows, columns)`; no gradient flows through it.
        columns: Columns to replace in each row, integers `(rows, entries)`.
        value: Number to replace them with.
        may_miss: Whether columns may be outside of the matrix, where nothing is
            replaced: all of a row, or none. Defaults to `False`.
    """
    if keras.backend.backend() == "torch":
        columns = ops.cast(columns, "int64")
        if not may_miss:
            return matrix.scatter_(1, columns, value)
        there = columns.clamp(0, matrix.shape[1] - 1)
        kept = matrix.gather(1, there)
        return matrix.scatter_(
            1, there, kept.masked_fill(there == columns, value)
        )
    every = ops.arange(ops.shape(matrix)[1], dtype=columns.dtype)
    for which in range(columns.shape[1]):
        is_meant = columns[:, which, None] == every
        matrix = ops.where(is_meant, value, matrix)
    return matrix


def add_to(variable: keras.Variable, values: int | Tensor) -> None:
    """Adds to a variable. On PyTorch this takes one kernel instead of two.

    Args:
        variable: Any variable.
        values: Number or tensor, without a gradient.
    """
    if keras.backend.backend() == "torch" and not is_stateless():
        variable.value.add_(values)
    else:
        variable.assign_add(values)


def assign_where(
    variable: keras.Variable, condition: Tensor, values: Tensor
) -> None:
    """Assigns values where a condition holds.

    Args:
        variable: Any variable.
        condition: Booleans; they are broadcast to the shape of the variable.
        values: Tensor of its shape, without a gradient.
    """
    before = ops.stop_gradient(ops.convert_to_tensor(variable))
    if keras.backend.backend() == "torch" and not is_stateless():
        import torch

        torch.where(condition, values, before, out=before)
    else:
        variable.assign(ops.where(condition, values, before))


def move_towards(
    variable: keras.Variable, values: Tensor, keep: float | Tensor
) -> None:
    """Assigns `values + keep * (variable - values)`.

    Args:
        variable: Any variable of floats.
        values: Tensor of its shape, without a gradient.
        keep: How much of the variable stays, a number or a scalar.
    """
    before = ops.stop_gradient(ops.convert_to_tensor(variable))
    if keras.backend.backend() == "torch" and not is_stateless():
        import torch

        torch.lerp(values, before, keep, out=before)
    else:
        variable.assign(interpolate(values, before, keep))


def keep_last_of_equal(ordered: Tensor, number: int) -> Tensor:
    """Returns ordered values, all but the last of equal ones replaced.

    On PyTorch this overwrites the argument.

    Args:
        ordered: Integers in ascending order, `(n,)`.
        number: What replaces them.
    """
    is_repeated = ordered[1:] == ordered[:-1]
    if keras.backend.backend() == "torch":
        ordered[:-1].masked_fill_(is_repeated, number)
        return ordered
    others = fill_where(is_repeated, ordered[:-1], number)
    return ops.concatenate([others, ordered[-1:]])


def take_rows(variable: keras.Variable, rows: Tensor) -> Tensor:
    """Returns a copy of some rows of a variable.

    Args:
        variable: `(rows, ...)`.
        rows: Indices of the rows, integers `(n,)`.
    """
    if keras.backend.backend() == "tensorflow" and _is_plain(variable.value):
        # After a write in place, `ops.take` would copy the whole variable.
        return variable.value.sparse_read(rows)
    return rows_of(ops.convert_to_tensor(variable), rows)


def write_rows(variable: keras.Variable, rows: Tensor, values: Tensor) -> None:
    """Assigns some rows of a variable.

    The write is in place on PyTorch, on one device with TensorFlow, and in a
    step on JAX, where XLA reuses the donated buffer.

    Args:
        variable: `(rows, ...)`.
        rows: Indices of the rows, integers `(n,)`.
        values: New values, `(n, ...)`.
    """
    if keras.backend.backend() == "tensorflow" and _is_plain(variable.value):
        variable.value.scatter_nd_update(rows[:, None], values)
    elif keras.backend.backend() == "torch":
        variable.value[rows] = values
    else:
        variable.assign(ops.scatter_update(variable, rows[:, None], values))


def _is_plain(value: Any) -> bool:
    """Returns whether this TensorFlow variable is on one device only.

    A variable that `tf.distribute` mirrors has `values` instead of rows.
    """
    return not hasattr(value, "values")
