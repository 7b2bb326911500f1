"""Computes how near the nearest neighbors are, in blocks and halves."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks, unit_rows

# Cosines held at a time, 16 MiB of float32.
BLOCK_COSINES = 2**22


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
    # The maxima of groups of columns show which groups to search. This size
    # makes both searches, over groups and inside them, equally long.
    group = max(1, round(math.sqrt(size / kept)))
    groups = math.ceil(size / group)
    bank = np.zeros((features.shape[1], group * groups), "float32")
    bank[:, :size] = unit_rows(features[bank_rows], "features").T
    column = np.full(len(features), -1)
    column[bank_rows] = np.arange(size)

    densities = np.empty((1 + len(halves), len(features)))
    for some in blocks(len(features), bank.shape[1], BLOCK_COSINES):
        rows = unit_rows(features[some], "features").astype("float32")
        cosines = rows @ bank
        cosines[:, size:] = -np.inf
        own = column[some]
        in_bank = np.flatnonzero(own >= 0)
        cosines[in_bank, own[in_bank]] = -np.inf
        nearest, which = _largest(cosines, kept, group)
        nearest = nearest.astype("float64")
        densities[0, some] = nearest[:, :num_neighbors].mean(axis=1)
        for run, half in enumerate(halves, start=1):
            used = half[which]
            used &= np.cumsum(used, axis=1) <= in_half
            total = np.where(used, nearest, 0).sum(axis=1)
            densities[run, some] = total / used.sum(axis=1)
    return densities


def _largest(
    values: NDArray[Any], count: int, group: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Returns each row's largest entries, in falling order, and their columns.

    An entry among the `count` largest of its row is in one of the `count`
    groups with the largest maxima, or there are as many equal to it. So only
    those groups are searched: twice a short search instead of a long one.
    """
    rows, width = values.shape
    groups = width // group
    maxima = values.reshape(rows, group, groups).max(axis=1)
    best = np.argpartition(maxima, groups - count)[:, groups - count :]
    columns = best[:, np.newaxis] + groups * np.arange(group)[:, np.newaxis]
    columns = columns.reshape(rows, -1)
    candidates = np.take_along_axis(values, columns, axis=1)
    top = np.argpartition(candidates, -count)[:, -count:]
    found = np.take_along_axis(candidates, top, axis=1)
    order = np.argsort(-found, axis=1)
    top = np.take_along_axis(top, order, axis=1)
    return (
        np.take_along_axis(found, order, axis=1),
        np.take_along_axis(columns, top, axis=1),
    )
