"""A batch whose sample ids enter the model together with the samples."""

from typing import Any, NamedTuple

import keras


class SamplesWithIds(NamedTuple):
    """What a model is called with when its augmenter needs ids."""

    samples: Any
    ids: Any


def with_ids(data: Any) -> Any:
    """Returns the data of a step, with the ids also among the inputs.

    Args:
        data: What Keras hands to `train_step`: `x`, `(x, ids)`, or
            `(x, ids, sample_weight)`.

    Returns:
        `(SamplesWithIds(x, ids), ids)`, or the same and the weights; `None` if
        there are no ids.
    """
    x, ids, weight = keras.utils.unpack_x_y_sample_weight(data)
    if ids is None:
        return None
    return keras.utils.pack_x_y_sample_weight(
        SamplesWithIds(x, ids), ids, weight
    )
