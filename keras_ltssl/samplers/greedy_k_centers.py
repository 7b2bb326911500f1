"""Chooses rows that cover a set: each the farthest from those before it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from keras_ltssl.arrays import (
    as_features,
    blocks,
    check_row_count,
    check_same_dim,
    unit_rows,
)

# Entries worked on at a time: 2 MiB of float64.
BLOCK_ENTRIES = 2**18
# How many of the farthest rows are compared with each other at a time.
CANDIDATES = 256
# Largest magnitudes between which no square over- or underflows.
SMALLEST, LARGEST = 2.0**-400, 2.0**400


def greedy_k_centers(
    features: ArrayLike, budget: int, centers: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Chooses rows one by one, each the farthest from all centers so far.

        chosen_t = argmax_i min_{c in centers + chosen_1 ... chosen_(t-1)}
            ||x_i - x_c||

    This is the greedy k-center, or farthest-first traversal: no choice of as
    many rows makes the largest distance of a row to its nearest center less
    than half as large. Of equally far rows, the one with the lowest index
    comes first. Without `centers`, all rows are infinitely far, so row 0 is the
    first. The choice for a smaller budget is the beginning of the choice for a
    larger one.

    Distances are Euclidean, and rows are taken as given: normalize them first
    to go by cosines. Distances are computed in float64. Rows are read in
    blocks and never copied as a whole.

    Args:
        features: Finite real array of shape `(rows, dim)`.
        budget: Rows to choose, integer in 0 to `rows`.
        centers: Finite real array of shape `(num_centers, dim)`, the centers
            to begin with. Defaults to `None`: none.

    Returns:
        int64 array of shape `(budget,)`: rows in the order they were chosen.

    Raises:
        ValueError: If an array is empty, shapes do not fit, `budget` is out of
            range, or a number is NaN or infinite.

    Example:

    >>> rows = [[0.0], [1.0], [6.0], [10.0]]
    >>> greedy_k_centers(rows, budget=3).tolist()
    [0, 3, 2]
    >>> greedy_k_centers(rows, budget=2, centers=[[9.0]]).tolist()
    [0, 2]

    Reference:
        - [Clustering to Minimize the Maximum Intercluster
          Distance](https://doi.org/10.1016/0304-3975(85)90224-5), Gonzalez,
          Theoretical Computer Science 38, 1985
    """
    rows = as_features(features, "features")
    count = check_row_count("budget", budget, 0, rows, "features")
    starts = rows[:0] if centers is None else as_features(centers, "centers")
    check_same_dim(rows, "features", starts, "centers")
    return take_farthest(rows, count, starts)


def take_farthest(
    rows: NDArray[Any],
    count: int,
    starts: NDArray[Any],
    unit_length: bool = False,
) -> NDArray[np.int64]:
    """Returns what `greedy_k_centers` chooses; arguments are checked already.

    Args:
        rows: Array of shape `(rows, dim)`.
        count: How many rows to choose.
        starts: Array of shape `(starts, dim)`, the centers to begin with.
        unit_length: Whether to normalize `starts` as they are read. Defaults
            to `False`.
    """
    largest = _largest(rows, "features")
    if len(starts) and not unit_length:
        largest = max(largest, _largest(starts, "centers"))
    farthest = _FarthestFirst(rows, largest)
    # The matrix products are small: threads gain little, and lose much by
    # waiting for each other on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, len(starts), CANDIDATES):
            some = starts[start : start + CANDIDATES]
            if unit_length:
                some = unit_rows(some, "centers")
            farthest.add_centers(farthest.scaled(some))
        return farthest.take(count)


class _FarthestFirst:
    """Keeps each row's squared distance to its nearest center.

    Args:
        rows: Array of shape `(rows, dim)` to choose from.
        largest: Largest magnitude in the rows and the centers.
    """

    def __init__(self, rows: NDArray[Any], largest: float) -> None:
        self._rows = rows
        is_safe = largest == 0 or SMALLEST < largest < LARGEST
        # A power of two changes no digit and no order of distances.
        self._shift = 0 if is_safe else -int(np.frexp(largest)[1])
        self._rest = np.arange(len(rows))
        self._nearest = np.full(len(rows), np.inf)
        # Products round less if the rows are short: they are taken relative
        # to the first row.
        self._origin = self.scaled(rows[:1])
        # Bounds the rounding error of a squared distance from a product,
        # relative to the squared lengths of both rows.
        self._slack = 4 * (rows.shape[1] + 8) * np.finfo("float64").eps

    def scaled(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the rows in float64, where no square over- or underflows."""
        points = np.array(rows, "float64", order="C")
        return np.ldexp(points, self._shift) if self._shift else points

    def take(self, count: int) -> NDArray[np.int64]:
        """Returns `count` rows, each the farthest when it was taken."""
        chosen = np.zeros(0, "int64")
        while len(chosen) < count:
            some = self._take_some(count - len(chosen))
            chosen = np.concatenate([chosen, some])
            self._rest = np.setdiff1d(self._rest, some, assume_unique=True)
            self.add_centers(self.scaled(self._rows[some]))
        return chosen

    def _take_some(self, most: int) -> NDArray[np.int64]:
        """Takes rows for as long as they are among the `CANDIDATES` farthest.

        Distances only shrink. So until all candidates are nearer than the
        farthest other row was, the other rows need no new distances.
        """
        order = np.argsort(-self._nearest[self._rest], kind="stable")
        order = self._rest[order[: CANDIDATES + 1]]
        # In ascending order, `argmax` finds the first of equally far rows.
        candidates, others = np.sort(order[:CANDIDATES]), order[CANDIDATES:]
        points = self.scaled(self._rows[candidates])
        distances = self._nearest[candidates]
        taken: list[np.int64] = []
        while len(taken) < min(most, len(candidates)):
            best = distances.argmax()
            row = candidates[best]
            if len(others) and (distances[best], others[0]) < (
                self._nearest[others[0]],
                row,
            ):
                break
            taken.append(row)
            gaps = _squares(points - points[best])
            np.minimum(distances, gaps, out=distances)
            distances[best] = -np.inf
        return np.array(taken, "int64")

    def add_centers(self, centers: NDArray[np.float64]) -> None:
        """Brings the distances of all rows that are left up to date.

        One matrix product bounds the distances from below. Only the pairs that
        may be the nearest are computed again, by differences, which round far
        less and the same for equal rows.
        """
        dim = self._rows.shape[1]
        moved = centers - self._origin
        columns, lengths = -2 * moved.T, _squares(moved)
        rows = self._rest[self._nearest[self._rest] > 0]
        for block in blocks(len(rows), max(len(centers), dim), BLOCK_ENTRIES):
            numbers = rows[block]
            points = self.scaled(self._rows[numbers])
            moved = points - self._origin
            squares = _squares(moved)
            least = moved @ columns
            least += (1 - self._slack) * squares[:, np.newaxis]
            least += (1 - self._slack) * lengths
            best = least.min(axis=1)
            near = np.flatnonzero(best <= self._nearest[numbers])
            limit = best + 2 * self._slack * (squares + lengths.max())
            limit = np.minimum(limit, self._nearest[numbers])[near]
            row, center = np.nonzero(least[near] <= limit[:, np.newaxis])
            row = near[row]
            for part in blocks(len(row), dim, BLOCK_ENTRIES):
                gaps = points[row[part]] - centers[center[part]]
                np.minimum.at(self._nearest, numbers[row[part]], _squares(gaps))


def _squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns squared lengths; equal rows get equal ones, unlike by BLAS."""
    return np.asarray((rows * rows).sum(axis=1))


def _largest(rows: NDArray[Any], name: str) -> float:
    """Returns the largest magnitude; raises for NaN and infinity."""
    largest = max(float(rows.max()), -float(rows.min()))
    if not np.isfinite(largest):
        finite = np.isfinite(rows).all(axis=1)
        raise ValueError(
            f"`{name}` must be finite. Received: NaN or infinity in "
            f"{np.sum(~finite)} of {len(rows)} rows, the first is row "
            f"{finite.argmin()}"
        )
    return largest
