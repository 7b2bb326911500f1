"""Rows of a variable read and written without copying all the others.

Keras has no word for an assignment of some rows: `ops.scatter_update` makes a
new tensor, and assigning that copies it once more.
"""

from typing import Any

import keras
from keras import ops

from keras_ltssl.typing import Tensor


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
