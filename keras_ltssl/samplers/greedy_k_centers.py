"""Rows that cover a set: each one the farthest from those before it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from keras_ltssl.arrays import (
    as_features,
    check_row_count,
    check_same_dim,
    unit_rows,
)

# Entries worked on at a time: 4 MiB of float64.
BLOCK_ENTRIES = 2**19
# How many of the farthest rows are compared with each other at a time.
LEAST_CANDIDATES, MOST_CANDIDATES = 32, 512
# Largest magnitudes between which no square over- or underflows.
SMALLEST, LARGEST = 2.0**-400, 2.0**400


def greedy_k_centers(
    features: ArrayLike, budget: int, centers: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Chooses rows one by one, each the farthest from all centres so far.

        chosen_t = argmax_i min_{c in centers + chosen_1 ... chosen_(t-1)}
            ||x_i - x_c||

    Greedy k-centre, or farthest-first traversal: no choice of as many rows
    leaves less than half as large a distance from any row to its nearest
    centre. Of rows that are equally far the one with the lowest index comes
    first; so without `centers`, all rows being infinitely far, row 0 does.
    The choice for a smaller budget is the beginning of that for a larger one.

    Distances are Euclidean and rows are taken as given: normalise them before
    to go by cosines.

    The rows chosen are those of the plain algorithm in float64, one row and
    one centre at a time, only sooner. Distances to centres only ever shrink.
    So the farthest rows of a while ago are compared with each other, and as
    long as the farthest of these is farther than all others were, it is the
    farthest of all; only then all rows are compared with the new centres, in
    one matrix product. Where such products, given their rounding error, cannot
    tell which row is the farthest, the distances in question are computed
    again, pair by pair. The choice so depends neither on the linear algebra
    library nor on its threads. Rows are read block by block, and never copied
    as a whole.

    Args:
        features: finite real array of shape `(rows, dim)`.
        budget: rows to choose, integer in 0 to `rows`.
        centers: finite real array of shape `(num_centers, dim)`, centres that
            there are already. Defaults to `None`: none.

    Returns:
        int64 array of shape `(budget,)`: rows in the order they were chosen.

    Raises:
        ValueError: if an array is empty, shapes do not fit, `budget` is out of
            range, or a number is NaN or infinite.

    Example:

    >>> rows = [[0.0], [1.0], [6.0], [10.0]]
    >>> greedy_k_centers(rows, budget=3).tolist()
    [0, 3, 2]
    >>> greedy_k_centers(rows, budget=2, centers=[[9.0]]).tolist()
    [0, 2]

    Reference:
        Gonzalez, "Clustering to Minimize the Maximum Intercluster Distance",
        Theoretical Computer Science 38, 1985.
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
    """`greedy_k_centers` of checked arrays.

    Args:
        rows: array of shape `(rows, dim)`.
        count: rows to choose.
        starts: array of shape `(starts, dim)`, centres to begin with.
        unit_length: whether `starts` are normalised as they are read.
    """
    # Products of small blocks: threads gain little, and waiting for each other
    # on a busy machine they lose much.
    with threadpool_limits(1, user_api="blas"):
        return _FarthestFirst(_Points(rows, starts, unit_length)).take(count)


class _Points:
    """Centres that are given and, after them, rows, read in float64.

    Args:
        rows: array of shape `(rows, dim)`.
        starts: array of shape `(starts, dim)`.
        unit_length: whether `starts` are normalised as they are read.
    """

    def __init__(
        self, rows: NDArray[Any], starts: NDArray[Any], unit_length: bool
    ) -> None:
        self.rows = rows
        self.starts = starts
        self.dim = rows.shape[1]
        self._unit_length = unit_length
        largest = _largest(rows, "features")
        if len(starts) and not unit_length:
            largest = max(largest, _largest(starts, "centers"))
        is_safe = largest == 0 or SMALLEST < largest < LARGEST
        # A power of two changes no digit, and no order of distances.
        self._shift = 0 if is_safe else -int(np.frexp(largest)[1])
        total = np.zeros(self.dim)
        for block in _blocks(np.arange(len(self)), self.dim):
            total += self.read(block).sum(axis=0)
        self._middle = total / len(self)

    def __len__(self) -> int:
        return len(self.starts) + len(self.rows)

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Points by their numbers, `len(starts)` being that of row 0."""
        first = len(self.starts)
        points = np.empty((len(numbers), self.dim))
        is_row = numbers >= first
        points[is_row] = self.rows[numbers[is_row] - first]
        starts = self.starts[numbers[~is_row]]
        if self._unit_length:
            starts = unit_rows(starts, "centers")
        points[~is_row] = starts
        return np.ldexp(points, self._shift) if self._shift else points

    def centered(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Points less their mean: the shorter, the less products round."""
        return self.read(numbers) - self._middle


class _FarthestFirst:
    """The state of a choice: how far each row is from its nearest centre.

    Args:
        points: the rows to choose from and the centres that there are already.
    """

    def __init__(self, points: _Points) -> None:
        self._points = points
        first = len(points.starts)
        everything = np.arange(len(points))
        # Rows go by their numbers among all points, here as everywhere below.
        self._rest = everything[first:]
        self._centers = everything.copy()
        self._num_centers = first
        squares = np.empty(len(points))
        for block in _blocks(everything, points.dim):
            part = points.centered(block)
            squares[block] = np.einsum("nd,nd->n", part, part)
        self._squares = squares
        # By how much a distance of a matrix product and one of `_pairs` differ
        # at most, both squared: with u = eps / 2 and R the largest length,
        # 4 dim u R² by the three sums of the one, 4 dim u R² by the other's,
        # and the few roundings before and after these.
        eps = np.finfo("float64").eps
        self._margin = 4 * (points.dim + 8) * eps * squares.max()
        # Squared distances by matrix products, which are always there, and
        # those pair by pair, NaN for the many rows that need none.
        self._distances = np.full(len(points), np.inf)
        self._exact = np.full(len(points), np.nan)
        self._compare(self._rest, everything[:first])

    def take(self, count: int) -> NDArray[np.int64]:
        """Takes rows, each the farthest; returns which rows they are."""
        first = len(self._points.starts)
        most = LEAST_CANDIDATES
        while (missing := count - (self._num_centers - first)) > 0:
            before = self._num_centers
            if before == 0:
                self._add(self._rest[0])
            else:
                self._take_some(most, missing)
            new = self._centers[before : self._num_centers]
            self._rest = np.setdiff1d(self._rest, new, assume_unique=True)
            self._compare(self._rest, new)
            if 4 * len(new) > most:
                most = min(2 * most, MOST_CANDIDATES)
            elif 16 * len(new) < most:
                most = max(most // 2, LEAST_CANDIDATES)
        return self._centers[first : self._num_centers] - first

    def _take_some(self, most: int, missing: int) -> None:
        """Takes rows as long as they are farther than all but `most` were."""
        rows, (bound, bound_row) = self._candidates(most)
        points, squares = self._points.centered(rows), self._squares[rows]
        between = points @ (-2 * points.T)
        between += squares
        between += squares[:, np.newaxis]
        distances = self._distances[rows]
        margin = self._margin
        for _ in range(min(missing, len(rows))):
            farthest = int(distances.argmax())
            largest = distances[farthest]
            if largest < bound - margin:
                break
            tied = np.flatnonzero(distances >= largest - 2 * margin)
            if len(tied) > 1 or largest <= bound + margin:
                # Of all rows at once: where there is one tie, there are more.
                exact = self._exact_distances(rows)[tied]
                farthest = int(tied[exact.argmax()])
                if (exact.max(), bound_row) < (bound, rows[farthest]):
                    break
            self._add(rows[farthest])
            gaps = between[farthest]
            np.minimum(distances, gaps, out=distances)
            distances[farthest] = -np.inf
            near = rows[gaps <= distances + 2 * margin]
            near = near[self._exact[near] > 0]
            self._pairs(near, np.full(len(near), rows[farthest]))

    def _candidates(
        self, most: int
    ) -> tuple[NDArray[np.int64], tuple[np.float64, np.int64]]:
        """The `most` farthest rows, ascending, and the farthest of the others.

        Of the latter its exact distance and its number: no other row comes
        before it as long as centres are only added.
        """
        rest, distances = self._rest, self._distances[self._rest]
        if len(rest) <= most:
            return rest, (np.float64(-np.inf), np.int64(len(self._points)))
        least = np.partition(distances, len(rest) - most - 1)
        least = least[len(rest) - most - 1]
        is_sure = distances > least + 2 * self._margin
        is_unsure = ~is_sure & (distances >= least - 2 * self._margin)
        sure, unsure = rest[is_sure], rest[is_unsure]
        exact = self._exact_distances(unsure)
        order = np.argsort(-exact, kind="stable")[: most + 1 - len(sure)]
        candidates = np.concatenate([sure, unsure[order[:-1]]])
        return np.sort(candidates), (exact[order[-1]], unsure[order[-1]])

    def _add(self, row: np.int64) -> None:
        self._centers[self._num_centers] = row
        self._num_centers += 1

    def _exact_distances(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances that depend on no more than the two rows of a pair.

        A matrix product may round two equal distances differently, by where
        their rows stand in the matrix; sums along rows do not.
        """
        unknown = rows[np.isnan(self._exact[rows])]
        if len(unknown):
            self._exact[unknown] = np.inf
            self._compare(unknown, self._centers[: self._num_centers])
        return self._exact[rows]

    def _compare(
        self, rows: NDArray[np.int64], centers: NDArray[np.int64]
    ) -> None:
        """Brings the distances of rows up to date with some centres."""
        for start in range(0, len(centers), MOST_CANDIDATES):
            some = centers[start : start + MOST_CANDIDATES]
            columns = -2 * self._points.centered(some).T
            for block in _blocks(rows, max(len(some), self._points.dim)):
                gaps = self._points.centered(block) @ columns
                gaps += self._squares[some]
                gaps += self._squares[block][:, np.newaxis]
                nearest = np.minimum(self._distances[block], gaps.min(axis=1))
                self._distances[block] = nearest
                # Exact distances that are known, and not 0 already, are
                # lowered by the pairs that may do so.
                known = np.flatnonzero(self._exact[block] > 0)
                limits = nearest[known, np.newaxis] + 2 * self._margin
                row, center = np.nonzero(gaps[known] <= limits)
                self._pairs(block[known[row]], some[center])

    def _pairs(
        self, rows: NDArray[np.int64], centers: NDArray[np.int64]
    ) -> None:
        """Lowers the exact distances of rows by one centre each."""
        for block in _blocks(np.arange(len(rows)), self._points.dim):
            gaps = self._points.read(rows[block])
            gaps -= self._points.read(centers[block])
            squares = (gaps * gaps).sum(axis=1)
            np.minimum.at(self._exact, rows[block], squares)


def _blocks(
    numbers: NDArray[np.int64], width: int
) -> Iterator[NDArray[np.int64]]:
    """Some numbers at a time, for arrays of this width."""
    size = max(1, BLOCK_ENTRIES // width)
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _largest(rows: NDArray[Any], name: str) -> float:
    """The largest magnitude; raises an error for NaN and infinity."""
    largest = max(float(rows.max()), -float(rows.min()))
    if not np.isfinite(largest):
        finite = np.isfinite(rows).all(axis=1)
        raise ValueError(
            f"`{name}` must be finite. Received: NaN or infinity in "
            f"{np.sum(~finite)} of {len(rows)} rows, the first is row "
            f"{finite.argmin()}"
        )
    return largest
