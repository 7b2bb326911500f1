"""Computes how near the nearest neighbors are, in blocks and halves."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.samplers.bank_cosines import (
    bank_cosines,
    group_size,
    largest,
)


def neighbor_density(
    features: NDArray[Any],
    num_neighbors: int,
    bank_rows: NDArray[np.int64],
    halves: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Returns each row's mean cosine to its nearest others in a bank.

    In a half of the bank half as many neighbors are looked for, so that they
    come from as large a neighborhood.

    Args:
        features: Finite real array of shape `(rows, dim)`.
        num_neighbors: How many neighbors; less than the bank's rows.
        bank_rows: Which rows are the bank, none of them twice, `(bank,)`. No
            row is its own neighbor.
        halves: Part of the bank of each further run, `(runs, bank)`; each of
            them with at least 2 rows.

    Returns:
        Array of shape `(1 + runs, rows)`: of the whole bank, then of its parts.
    """
    size = len(bank_rows)
    in_half = math.ceil(num_neighbors / 2)
    kept = num_neighbors
    if len(halves):
        # With this many, a random half has enough neighbors among them, except
        # for one row in 10^8. That row's mean is over fewer neighbors.
        middle = 2 * in_half
        kept = min(size - 1, math.ceil(middle + 8 * math.sqrt(middle) + 16))
    group = group_size(size, kept)
    densities = np.empty((1 + len(halves), len(features)))
    for some, cosines in bank_cosines(features, bank_rows, group):
        nearest, which = largest(cosines, kept, group)
        nearest = nearest.astype("float64")
        densities[0, some] = nearest[:, :num_neighbors].mean(axis=1)
        for run, half in enumerate(halves, start=1):
            used = half[which]
            used &= np.cumsum(used, axis=1) <= in_half
            total = np.where(used, nearest, 0).sum(axis=1)
            densities[run, some] = total / used.sum(axis=1)
    return densities
