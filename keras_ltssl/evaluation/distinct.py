"""Which samples are left without near-duplicates and outliers."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import as_floats
from keras_ltssl.samplers.duplicate_groups import SIMILARITY, duplicate_groups
from keras_ltssl.samplers.isolation import NEIGHBORS, OUTLIER, isolation


@dataclasses.dataclass(frozen=True, eq=False)
class Distinct:
    """Holds the samples that are left, and whose numbers the others have.

    Attributes:
        kept: Rows of the samples that are left, rising.
        firsts: First sample of each sample's group, `(samples,)`.
        duplicates: Which samples are not the first of their group.
        outliers: Which samples are outliers.
    """

    kept: NDArray[np.int64]
    firsts: NDArray[np.int64]
    duplicates: NDArray[np.bool_]
    outliers: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: NDArray[Any], take_out: bool, least: int) -> "Distinct":
        """Returns what is left of the rows.

        That is all of them if less than `least` were left, or less than half:
        features of so few kinds are not of near-duplicates.

        Args:
            rows: Finite real array of shape `(samples, dim)`.
            take_out: Whether to take anything out.
            least: How many must be left.
        """
        numbers = np.arange(len(rows))
        nothing = np.zeros(len(rows), "bool")
        whole = cls(numbers, numbers, nothing, nothing.copy())
        if not take_out:
            return whole
        groups = duplicate_groups(rows, SIMILARITY, as_floats)
        _, first, place = np.unique(
            groups, return_index=True, return_inverse=True
        )
        firsts = first[place]
        leading = np.flatnonzero(firsts == numbers)
        distinct = rows if len(leading) == len(rows) else rows[leading]
        strange = np.zeros(len(rows), "bool")
        strange[leading] = isolation(distinct, NEIGHBORS) > OUTLIER
        kept = leading[~strange[leading]]
        if len(kept) < max(least, len(rows) / 2):
            return whole
        return cls(kept, firsts, firsts != numbers, strange[firsts])

    def part(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Returns the rows that are left; no copy if these are all."""
        return rows if len(self.kept) == len(rows) else rows[self.kept]

    def spread(
        self, values: NDArray[np.float64], of_outliers: float
    ) -> NDArray[np.float64]:
        """Returns numbers of all samples from those of the samples left."""
        found = np.full(len(self.firsts), of_outliers)
        found[self.kept] = values
        return found[self.firsts]
