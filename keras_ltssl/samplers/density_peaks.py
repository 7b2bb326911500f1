"""How far a sample is from all that have a higher density."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks, unit_rows
from keras_ltssl.samplers.bank_cosines import BLOCK_COSINES

# The largest distance of two unit vectors.
FARTHEST = 2.0


def peak_distances(
    rows: NDArray[Any],
    densities: NDArray[np.float64],
    centers: NDArray[Any],
) -> NDArray[np.float64]:
    """Returns distances to the nearest denser row or center, `(rows,)`.

    Of rows with equal densities, an earlier one counts as denser. Rows and
    centers are taken at length 1. Without centers, the densest row is
    `FARTHEST` from all.

    Args:
        rows: Finite real array of shape `(rows, dim)`.
        densities: Density of each row, `(rows,)`.
        centers: Finite real array of shape `(centers, dim)`, as near to
            everything as a denser row would be.
    """
    order = np.argsort(-densities, kind="stable")
    given = len(centers)
    # In this order, a row is compared with all that come before it.
    units = np.empty((given + len(rows), rows.shape[1]), "float32")
    units[:given] = unit_rows(centers, "features")
    units[given:] = unit_rows(rows[order], "features")
    nearest = np.full(len(rows), -1.0)
    for some in blocks(len(rows), len(units), BLOCK_COSINES):
        stop = min(some.stop, len(rows))
        block = units[given + some.start : given + stop]
        size = len(block)
        cosines = block @ units[: given + stop].T
        # Not with itself, and not with those after it.
        cosines[:, -size:][np.triu_indices(size)] = -1
        nearest[some] = cosines.max(axis=1)
    if not given:
        nearest[0] = -1
    distances = np.empty(len(rows))
    distances[order] = np.sqrt(np.maximum(2 - 2 * nearest, 0))
    return distances
