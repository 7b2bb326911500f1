"""Checks that every sample id names one sample."""

from typing import Any

import numpy as np
import numpy.typing as npt


def check_distinct(name: str, ids: npt.NDArray[np.integer[Any]]) -> None:
    """Raises if an id >= 0 is repeated, as class labels are.

    A loss that remembers each sample does so by its id. With ten class labels
    in place of ids, it would remember ten samples. -1 marks samples out of
    distribution and may be repeated.

    Args:
        name: Name of the argument, for the message.
        ids: Integer array of shape `(n,)`, one id per sample.

    Raises:
        ValueError: If an id >= 0 is repeated. The message names one, and the
            number of distinct ids.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.sample_ids import check_distinct
    >>> check_distinct("ids", np.array([2, -1, 0, -1]))
    >>> check_distinct("ids", np.array([1, 0, 1, 1]))
    Traceback (most recent call last):
    ValueError: `ids` must name each sample once, by its row in the training \
set. Repeated ids look like class labels, which are never needed: pass row \
numbers, such as np.arange(4). Received: 2 distinct ids for 4 samples; id 1 \
comes 3 times
    """
    # Fast path for ids in order, the usual case.
    if np.all(ids[1:] > ids[:-1]):
        return
    named = ids[ids >= 0]
    values, counts = np.unique(named, return_counts=True)
    if len(values) < len(named):
        most = counts.argmax()
        raise ValueError(
            f"`{name}` must name each sample once, by its row in the training "
            "set. Repeated ids look like class labels, which are never "
            f"needed: pass row numbers, such as np.arange({len(ids)}). "
            f"Received: {len(values)} distinct ids for {len(named)} samples; "
            f"id {values[most]} comes {counts[most]} times"
        )
