"""What is written over where Keras would make a copy.

Keras has no API for an assignment of some rows: `ops.scatter_update` makes a
new tensor, and assigning that copies it once more. Nor has it one for a
function that overwrites its argument, where a new matrix costs eager PyTorch
more time than what it is filled with.
"""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor


class ProductRoom:
    """Room for one product of matrices after the other, of the same size.

    On PyTorch each is written over the last one: given back and asked for
    again, its room would be cut up by small results that come between.
    Elsewhere a compiled step finds the room.
    """

    def __init__(self) -> None:
        self._room: Any = None

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns `a @ b`, until the next call. No gradient flows."""
        if keras.backend.backend() != "torch":
            return a @ b
        if self._room is None:
            self._room = a @ b
            return self._room
        import torch

        return torch.matmul(a, b, out=self._room)


def exp_in_place(tensor: Tensor) -> Tensor:
    """Returns the exponentials; on PyTorch, in the place of the argument.

    Args:
        tensor: Floats that no gradient flows through and nobody reads again.
    """
    if keras.backend.backend() == "torch":
        return tensor.exp_()
    return ops.exp(tensor)


def add_to_diagonals_of_blocks(
    matrix: Tensor, size: int | Tensor, value: float
) -> Tensor:
    """Returns a matrix with `value` added to the diagonals of its four blocks.

    On PyTorch, in the place of the argument: it has diagonals that one can
    write to. XLA makes up the matrix that is added while it reads the other.

    Args:
        matrix: `(2 * size, 2 * size)`; no gradient flows through it.
        size: Rows of a block.
        value: What to add.
    """
    if keras.backend.backend() == "torch":
        for offset in (-size, 0, size):
            diagonal = ops.diagonal(matrix, offset)
            diagonal += value
        return matrix
    diagonal = value * ops.eye(size, dtype=matrix.dtype)
    return matrix + ops.tile(diagonal, (2, 2))


def fill_columns(matrix: Tensor, columns: Tensor, value: float) -> Tensor:
    """Returns a matrix with some entries of each row replaced.

    On PyTorch, in the place of the argument.

    Args:
        matrix: `(rows, columns)`; no gradient flows through it.
        columns: Which entries, integers `(rows, how many)`.
        value: What to put there.
    """
    if keras.backend.backend() == "torch":
        return matrix.scatter_(1, ops.cast(columns, "int64"), value)
    every = ops.arange(ops.shape(matrix)[1], dtype=columns.dtype)
    for which in range(columns.shape[1]):
        is_meant = columns[:, which, None] == every
        matrix = ops.where(is_meant, value, matrix)
    return matrix


def take_rows(variable: keras.Variable, rows: Tensor) -> Tensor:
    """Returns a copy of some rows of a variable."""
    if keras.backend.backend() == "tensorflow" and _is_plain(variable.value):
        # Once rows have been written in place, `ops.take` copies the whole.
        return variable.value.sparse_read(rows)
    return ops.take(ops.convert_to_tensor(variable), rows, axis=0)


def write_rows(variable: keras.Variable, rows: Tensor, values: Tensor) -> None:
    """Assigns some rows of a variable.

    In place on TensorFlow, on one device, and on PyTorch. JAX, to which the
    step donates its state, sees that it may do so.
    """
    if keras.backend.backend() == "tensorflow" and _is_plain(variable.value):
        variable.value.scatter_nd_update(rows[:, None], values)
    elif keras.backend.backend() == "torch":
        variable.value[rows] = values
    else:
        variable.assign(ops.scatter_update(variable, rows[:, None], values))


def _is_plain(value: Any) -> bool:
    """Says whether this TensorFlow variable is on one device only.

    What `tf.distribute` mirrors to several has `values`, and no rows.
    """
    return not hasattr(value, "values")
