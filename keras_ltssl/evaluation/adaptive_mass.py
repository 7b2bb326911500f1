"""Computes how many rows are about as close as the nearest, in blocks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.samplers.bank_cosines import (
    bank_cosines,
    count_others,
    group_size,
    largest,
)


def adaptive_mass(
    features: NDArray[Any],
    num_neighbors: int,
    bank_rows: NDArray[np.int64],
    margin: float,
) -> NDArray[np.float64]:
    """Returns the share of a bank that is around each row.

        a_i = mean of the k largest s_ij,   b_i = median of all s_ij
        N_i = share of the rows j with s_ij > a_i - α (a_i - b_i)
        mass_i = mean of N over i and its k nearest

    over the rows j of the bank other than i. s_ij is their cosine.

    Args:
        features: Finite real array of shape `(rows, dim)`.
        num_neighbors: k; less than the bank's rows.
        bank_rows: Which rows are the bank, none of them twice, `(bank,)`.
        margin: α, in (0, 1].

    Returns:
        float64 array of shape `(rows,)`, in [0, 1].
    """
    size = len(bank_rows)
    group = group_size(size, num_neighbors)
    others = count_others(len(features), bank_rows)
    counts = np.empty(len(features))
    neighbors = np.empty((len(features), num_neighbors), "int64")
    for some, cosines in bank_cosines(features, bank_rows, group):
        nearest, which = largest(cosines, num_neighbors, group)
        neighbors[some] = bank_rows[which]
        near = nearest.mean(axis=1, dtype="float64")
        far = _medians(cosines[:, :size], others[some])
        bound = (near - margin * (near - far)).astype("float32")
        counts[some] = np.sum(cosines > bound[:, np.newaxis], axis=1)
    # Rows outside of the bank have one other more. Sums of whole numbers keep
    # equal masses equal.
    own = counts * ((size - 1) / others)
    total = own + counts[neighbors].sum(axis=1)
    return np.asarray(total / ((1 + num_neighbors) * (size - 1)))


def _medians(
    values: NDArray[Any], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the median of the `counts` largest entries of each row."""
    size = values.shape[1]
    low = size - counts + (counts - 1) // 2
    high = size - counts + counts // 2
    middles = np.unique([low, high])
    parted = np.partition(values, middles, axis=1)
    rows = np.arange(len(values))
    return np.asarray((parted[rows, low] + parted[rows, high]) / 2)
