"""Sample ids as a loss is given them: exact integers, one for each sample."""

import keras
from keras import ops

from keras_ltssl.backend import replicas
from keras_ltssl.types import Tensor

_SMALL_INTEGERS = ("int8", "uint8", "int16", "uint16")


def as_ids(y_true: Tensor) -> Tensor:
    """Returns targets as sample ids, integers `(batch,)`.

    Args:
        y_true: Integers, `(batch,)` or `(batch, 1)`.

    Raises:
        ValueError: If they are no integers or have another shape.
    """
    ids = ops.convert_to_tensor(y_true)
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if replicas.infers_shapes() or dtype in _SMALL_INTEGERS:
        # Small types cannot hold `num_samples`, with which they compare.
        ids = ops.cast(ids, "int32")
    elif "int" not in dtype:
        raise ValueError(
            "Targets must be sample ids, integers of shape (batch,), "
            "-1 for out-of-distribution samples. Class labels are never "
            "needed: leave them out, as "
            "`keras.utils.image_dataset_from_directory(..., "
            f"labels=None)` does. Received: dtype={dtype}"
        )
    if len(ids.shape) > 2 or (len(ids.shape) == 2 and ids.shape[1] != 1):
        raise ValueError(
            "Targets must be sample ids of shape (batch,). Class labels "
            "are never needed: leave them out. "
            f"Received: shape={tuple(ids.shape)}"
        )
    return ops.reshape(ids, (-1,))
