"""Ranks in which equal values share the mean of theirs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mean_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, `(n,)`, of values `(n,)`."""
    _, position, size = np.unique(
        values, return_inverse=True, return_counts=True
    )
    ranks: NDArray[np.float64] = np.cumsum(size) - (size - 1) / 2
    return ranks[position]


def percentiles(values: NDArray[Any]) -> NDArray[np.float64]:
    """Share of all values that are below each, half of the equal ones."""
    return (mean_ranks(values) - 0.5) / len(values)
