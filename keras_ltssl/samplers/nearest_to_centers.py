"""Chooses the pool rows nearest to each center, none of them twice."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from keras_ltssl.arrays import as_features, blocks, rescaled
from keras_ltssl.validation import as_array

# Entries of the pool read at a time: 2 MiB of float64, which a cache holds.
BLOCK_ENTRIES = 2**18
# Cosines held at a time, 128 MiB of float64; more clusters come in turns.
MOST_COSINES = 2**24


def nearest_to_centers(
    pool: ArrayLike, centers: ArrayLike, budgets: ArrayLike
) -> NDArray[np.int64]:
    """Chooses pool rows: each cluster in turn takes the nearest free ones.

    Near means a large cosine to the cluster's center; lengths do not matter.
    The cosine of a zero row or a zero center is 0. Cosines are computed in
    float64. Of rows with equal cosines, the one with the lowest index comes
    first; where equal cosines round differently, either may come first.

    The pool is read in blocks and never copied as a whole. It may be a
    `numpy.memmap`.

    Args:
        pool: Real array of shape `(rows, dim)`.
        centers: Real array of shape `(num_clusters, dim)`.
        budgets: Integer array of shape `(num_clusters,)`, how many rows each
            cluster takes; together at most as many as the pool has.

    Returns:
        int64 array of shape `(sum(budgets),)`: rows of the pool in cluster
        order, within a cluster the nearest first.

    Raises:
        ValueError: If an array is empty, shapes do not fit, a budget is
            negative or their sum larger than the pool, or a number is NaN or
            infinite.

    Example:

    >>> pool = [[1.0, 0.1], [0.0, 3.0], [2.0, 0.0], [1.0, 2.0]]
    >>> centers = [[1.0, 0.0], [0.0, 1.0]]
    >>> nearest_to_centers(pool, centers, budgets=[2, 1]).tolist()
    [2, 0, 1]

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """
    rows = as_features(pool, "pool")
    middles = as_features(centers, "centers")
    wanted = _as_budgets(budgets, len(middles))
    if rows.shape[1] != middles.shape[1]:
        raise ValueError(
            "`pool` and `centers` must have the same number of features. "
            f"Received: {rows.shape[1]} and {middles.shape[1]}"
        )
    if wanted.sum() > len(rows):
        raise ValueError(
            "`budgets` must not sum to more than the rows of `pool`. Received: "
            f"a sum of {wanted.sum()} for {len(rows)} rows"
        )
    return take_nearest(rows, middles, wanted, "pool")


def take_nearest(
    pool: NDArray[Any],
    centers: NDArray[Any],
    budgets: NDArray[np.int64],
    name: str,
) -> NDArray[np.int64]:
    """`nearest_to_centers` of checked shapes; `name` is for the error."""
    # Lengths of centers do not matter. Powers of two keep whole numbers exact.
    directions, _ = rescaled(centers.astype("float64"), "centers")
    chosen = np.empty(budgets.sum(), "int64")
    filled = 0
    active = np.flatnonzero(budgets)
    at_once = max(1, MOST_COSINES // len(pool))
    for start in range(0, len(active), at_once):
        group = active[start : start + at_once]
        closeness = _closeness(pool, directions[group], name)
        for cluster, values in zip(group, closeness, strict=True):
            values[chosen[:filled]] = -np.inf
            least = len(pool) - budgets[cluster]
            threshold = np.partition(values, least)[least]
            candidates = np.flatnonzero(values >= threshold)
            order = np.argsort(-values[candidates], kind="stable")
            order = order[: budgets[cluster]]
            chosen[filled : filled + len(order)] = candidates[order]
            filled += len(order)
    return chosen


def _closeness(
    pool: NDArray[Any], directions: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    """Returns cosines times the directions' lengths, `(directions, rows)`."""
    closeness = np.empty((len(directions), len(pool)))
    # Reading the pool takes longer than multiplying it: threads gain little,
    # and lose much by waiting for each other on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        for some in blocks(len(pool), pool.shape[1], BLOCK_ENTRIES):
            block = pool[some].astype("float64")
            block, squares = rescaled(block, name, some.start)
            lengths = np.sqrt(squares)
            lengths[squares == 0] = 1
            products = (block @ directions.T).T
            np.divide(products, lengths, out=closeness[:, some])
    return closeness


def _as_budgets(budgets: Any, clusters: int) -> NDArray[np.int64]:
    array = as_array("budgets", budgets)
    if array.shape != (clusters,) or array.dtype.kind not in "iu":
        raise ValueError(
            "`budgets` must be integers, one for each of the "
            f"{clusters} centers. Received: dtype={array.dtype}, "
            f"shape={array.shape}"
        )
    if array.min() < 0:
        raise ValueError(
            "`budgets` must not be negative. Received: "
            f"{array.min()} for cluster {array.argmin()}"
        )
    return array.astype("int64")
