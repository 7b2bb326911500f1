"""Finds the samples nearest to each sample, in blocks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.samplers.bank_cosines import (
    bank_cosines,
    group_size,
    largest,
)


def nearest_others(
    rows: NDArray[Any], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns cosines of each row to its nearest others, and which these are.

    Args:
        rows: Finite real array of shape `(rows, dim)`; lengths do not matter.
        count: How many others, at least 1 and less than the rows.

    Returns:
        Two arrays of shape `(rows, count)`, the nearest first.
    """
    cosines = np.empty((len(rows), count))
    others = np.empty((len(rows), count), "int64")
    group = group_size(len(rows), count)
    for some, values in bank_cosines(rows, np.arange(len(rows)), group):
        cosines[some], others[some] = largest(values, count, group)
    return np.clip(cosines, -1, 1), others


def mean_distances(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the root of each row's mean squared distance to its others.

    Cosines are float32, so no distance below `LEAST_DISTANCE` can be told from
    0, and a smaller one counts as that.
    """
    squares = 2 - 2 * cosines.mean(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares, LEAST_DISTANCE**2)))


# Of unit vectors: the root of twice the rounding error of a float32 cosine.
LEAST_DISTANCE = 1e-3
