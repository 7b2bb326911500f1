"""How far a sample is from everything else, without a scale."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.samplers.nearest_others import mean_distances, nearest_others

# Others that a sample's distance is measured to, unless told otherwise. Two
# outliers that are each other's nearest do not hide among five.
NEIGHBORS = 5
# A larger score is an outlier's: one and a half times as far as is usual.
OUTLIER = 1 / 3


def isolation(rows: NDArray[Any], num_neighbors: int) -> NDArray[np.float64]:
    """Returns scores of distinct samples, see `evaluation.outliers`.

    0 for all if there are too few samples to say.
    """
    count = min(num_neighbors, len(rows) - 1)
    if count < 1:
        return np.zeros(len(rows))
    return isolation_scores(*nearest_others(rows, count))


def isolation_scores(
    cosines: NDArray[np.float64], others: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the scores from cosines to the nearest others."""
    distances = mean_distances(cosines)
    usual = np.maximum(
        np.median(distances[others], axis=1), np.median(distances)
    )
    return np.maximum(0, 1 - usual / distances)
