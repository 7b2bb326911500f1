"""Groups samples that are nearly the same as an earlier one, in blocks."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import unit_rows
from keras_ltssl.validation import as_array

# Cosine from which on two samples are near-duplicates, unless told otherwise.
SIMILARITY = 0.995
# A cosine of equal rows, float32, may be lower than 1 by so much.
ROUNDING = 1e-6
# Rows and leaders whose cosines are held at a time: 16 MiB of float32.
BLOCK_ROWS, BLOCK_LEADERS = 2**10, 2**12


def duplicate_groups(
    rows: Any,
    similarity: float,
    read: Callable[[Any], NDArray[Any]],
) -> NDArray[np.int64]:
    """Returns the number of each sample's group, in order of appearance.

    A sample joins the leader with the largest cosine among all earlier leaders
    if that is at least `similarity`. Otherwise it leads a new group. Rows of
    zeros have one group of their own.

    Args:
        rows: What can be sliced to blocks of samples.
        similarity: Least cosine to a leader.
        read: Makes features `(samples, dim)` of such a block.
    """
    least = similarity - ROUNDING
    groups = np.empty(len(rows), "int64")
    leaders = _Leaders(len(rows))
    blank = -1
    for start in range(0, len(rows), BLOCK_ROWS):
        units = unit_rows(read(rows[start : start + BLOCK_ROWS]), "features")
        units = units.astype("float32", copy=False)
        before = leaders.count
        best, which = leaders.nearest(units, least)
        inside = units @ units.T >= least
        # A row without a near one before it leads a group; no search needed.
        joining = (best >= least) | np.tril(inside, -1).any(axis=1)
        empty = ~units.any(axis=1)
        leading = ~joining & ~empty
        for row in np.flatnonzero(joining):
            near = np.flatnonzero(inside[row, :row] & leading[:row])
            cosines = units[near] @ units[row]
            if len(near) and cosines.max() > best[row]:
                best[row], which[row] = (
                    cosines.max(),
                    -1 - near[cosines.argmax()],
                )
            leading[row] = best[row] < least
        if empty.any() and blank < 0:
            first = int(np.argmax(empty))
            leading[first] = True
            blank = before + int(np.count_nonzero(leading[:first]))
        numbers = before + np.cumsum(leading) - 1
        inner = which < 0
        which[inner] = numbers[-1 - which[inner]]
        found = np.where(leading, numbers, which)
        groups[start : start + len(units)] = np.where(empty, blank, found)
        leaders.add(units[leading])
    return groups


def checked_groups(groups: Any, samples: int) -> NDArray[np.int64]:
    """Returns `groups` as int64; raises unless it has one for each sample."""
    array = as_array("groups", groups)
    if array.shape != (samples,) or array.dtype.kind not in "iu":
        raise ValueError(
            "`groups` must be integers, one for each of the "
            f"{samples} samples. Received: dtype={array.dtype}, "
            f"shape={array.shape}"
        )
    return array.astype("int64")


def first_of_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the first sample of each group, in the order of the samples."""
    return np.sort(np.unique(groups, return_index=True)[1])


class _Leaders:
    """Holds the first sample of each group, in float32.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most = most
        self._units = np.zeros((0, 0), "float32")

    def add(self, units: NDArray[np.float32]) -> None:
        wanted = self.count + len(units)
        if wanted > len(self._units):
            # Twice as many each time: appending costs no more than reading.
            room = min(self._most, max(wanted, 2 * len(self._units)))
            grown = np.zeros((room, units.shape[1]), "float32")
            if self.count:
                grown[: self.count] = self._units[: self.count]
            self._units = grown
        self._units[self.count : wanted] = units
        self.count = wanted

    def nearest(
        self, units: NDArray[np.float32], least: float
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Returns the largest cosine to a leader, and to which.

        Which it is counts only where the cosine is at least `least`; without
        leaders, the cosine is -2.
        """
        best = np.full(len(units), -2, "float32")
        which = np.zeros(len(units), "int64")
        for start in range(0, self.count, BLOCK_LEADERS):
            stop = min(start + BLOCK_LEADERS, self.count)
            cosines = units @ self._units[start:stop].T
            largest = cosines.max(axis=1)
            nearer = np.flatnonzero(largest > best)
            best[nearer] = largest[nearer]
            hits = nearer[largest[nearer] >= least]
            which[hits] = start + cosines[hits].argmax(axis=1)
        return best, which
