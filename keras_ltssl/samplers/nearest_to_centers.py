"""The pool rows nearest to each centre, none of them twice."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from keras_ltssl.arrays import as_features, as_floats, rescaled, unit_rows
from keras_ltssl.validation import as_array

# Entries of the pool read at a time: 2 MiB of float32, which a cache holds.
BLOCK_ENTRIES = 2**19
# Cosines held at a time, 128 MiB of float32; more clusters come in turns.
MOST_COSINES = 2**25


def nearest_to_centers(
    pool: ArrayLike, centers: ArrayLike, budgets: ArrayLike
) -> NDArray[np.int64]:
    """Chooses pool rows: each cluster in turn takes the nearest free ones.

    Near is a large cosine to the cluster's centre; lengths do not matter. The
    cosine of a zero row or a zero centre is 0. Of rows with equal cosines the
    one with the lower index comes first.

    The pool is read block by block and never copied as a whole; it may be a
    `numpy.memmap`. Cosines of all rows are computed in the pool's precision;
    those that may be among a cluster's nearest, given the rounding error, are
    computed again in float64, row by row, and sorted. So the choice is that of
    a full float64 sort, and equal rows tie wherever they stand.

    Args:
        pool: real array of shape `(rows, dim)`.
        centers: real array of shape `(num_clusters, dim)`.
        budgets: integer array of shape `(num_clusters,)`, how many rows each
            cluster takes; together at most as many as the pool has.

    Returns:
        int64 array of shape `(sum(budgets),)`: rows of the pool in cluster
        order, within a cluster the nearest first.

    Raises:
        ValueError: if an array is empty, shapes do not fit, a budget is
            negative or their sum larger than the pool, or a number is NaN or
            infinite.

    Example:

    >>> pool = [[1.0, 0.1], [0.0, 3.0], [2.0, 0.0], [1.0, 2.0]]
    >>> centers = [[1.0, 0.0], [0.0, 1.0]]
    >>> nearest_to_centers(pool, centers, budgets=[2, 1]).tolist()
    [2, 0, 1]

    Reference:
        Bai et al., "On the Effectiveness of Out-of-Distribution Data in
        Self-Supervised Long-Tail Learning" (COLT), 2023, arXiv:2306.04934.
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
    # In float64 and by powers of two only: small integers stay exact.
    directions, _ = rescaled(centers.astype("float64"), "centers")
    units = unit_rows(directions, "centers")
    chosen = np.empty(budgets.sum(), "int64")
    filled = 0
    active = np.flatnonzero(budgets)
    at_once = max(1, MOST_COSINES // len(pool))
    for start in range(0, len(active), at_once):
        group = active[start : start + at_once]
        cosines = _cosines(pool, units[group], name)
        margin = _rounding_error(pool.shape[1], cosines.dtype)
        for cluster, cosine in zip(group, cosines, strict=True):
            cosine[chosen[:filled]] = -np.inf
            least = len(pool) - budgets[cluster]
            threshold = np.partition(cosine, least)[least] - 2 * margin
            candidates = np.flatnonzero(cosine >= threshold)
            exact = _exact_order(pool, candidates, directions[cluster])
            order = np.argsort(-exact, kind="stable")[: budgets[cluster]]
            chosen[filled : filled + len(order)] = candidates[order]
            filled += len(order)
    return chosen


def _cosines(
    pool: NDArray[Any], units: NDArray[np.float64], name: str
) -> NDArray[Any]:
    """Cosines of all rows to some unit vectors, `(vectors, rows)`."""
    dtype = as_floats(pool[:0]).dtype
    columns = np.ascontiguousarray(units.T, dtype)
    cosines = np.empty((len(units), len(pool)), dtype)
    step = _block_rows(pool)
    # Reading the pool takes longer than multiplying it, so that threads gain
    # little, and waiting for each other on a busy machine they lose much.
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, len(pool), step):
            block, squares = rescaled(
                as_floats(pool[start : start + step]), name, start
            )
            lengths = np.sqrt(squares)
            lengths[squares == 0] = 1
            part = cosines[:, start : start + step]
            np.divide((block @ columns).T, lengths, out=part)
    return cosines


def _rounding_error(dim: int, dtype: np.dtype[Any]) -> Any:
    """By how much `_cosines` and `_exact_order` differ at the very most.

    (dim + 8) · eps bounds the rounding of a sum of `dim` products, of two
    lengths and of the quotient, in any order of summation; twice, since in
    float64 the second value rounds as well.
    """
    return dtype.type(2 * (dim + 8) * np.finfo(dtype).eps)


def _exact_order(
    pool: NDArray[Any],
    candidates: NDArray[np.int64],
    direction: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Cosines times the centre's length, each from its own row alone.

    A matrix product may round two equal rows differently, by where they stand
    in the matrix; sums along rows do not.
    """
    result = np.empty(len(candidates))
    step = _block_rows(pool)
    for start in range(0, len(candidates), step):
        rows = pool[candidates[start : start + step]]
        block, _ = rescaled(rows.astype("float64", order="C"), "pool")
        lengths = np.sqrt((block * block).sum(axis=1))
        lengths[lengths == 0] = 1
        result[start : start + step] = (block * direction).sum(axis=1) / lengths
    return result


def _block_rows(pool: NDArray[Any]) -> int:
    return int(max(1, BLOCK_ENTRIES // pool.shape[1]))


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
