"""Measures how uneven the sizes of groups are."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.validation import check_array_of_numbers


@dataclasses.dataclass(frozen=True, eq=False)
class ImbalanceCurve:
    """Holds sizes of groups, largest first, and measures their inequality.

    The groups are clusters or classes. With the share p_k of the samples that
    each of K groups holds:

    - Gini coefficient: `sum_jk |p_j - p_k| / (2 K)`: 0 where all groups are of
      one size, `1 - 1 / K` where one holds everything.
    - effective number of groups: `exp(-sum_k p_k log p_k)`, the number of
      equal groups that would have the same entropy: K, or 1.
    - inverse Simpson index: `1 / sum_k p_k^2`, the same of the chance that two
      samples are of one group; small groups count for less in it.

    Args:
        sizes: Array of shape `(groups,)`, of numbers >= 0 in any order and
            unit, not all 0.
        rerun_sizes: The same from re-runs, `(runs, groups)`, for an estimate
            of the error. Defaults to `None`: there are none.

    Attributes:
        shares: `float64` array of shape `(groups,)`, falling, with sum 1.
        rerun_shares: `float64` array of shape `(runs, groups)`, each row alike.

    Raises:
        ValueError: If the sizes are not as said.

    Example:

    >>> curve = ImbalanceCurve([10, 70, 20])
    >>> curve.shares.tolist()
    [0.7, 0.2, 0.1]
    >>> round(curve.gini, 3), round(curve.effective_groups, 3)
    (0.4, 2.23)

    Reference:
        - [Diversity and Evenness: A Unifying Notation and Its
          Consequences](https://doi.org/10.2307/1934352), Hill, 1973, for
          effective numbers
    """

    sizes: dataclasses.InitVar[ArrayLike]
    rerun_sizes: dataclasses.InitVar[ArrayLike | None] = None
    shares: NDArray[np.float64] = dataclasses.field(init=False)
    rerun_shares: NDArray[np.float64] = dataclasses.field(init=False)

    def __post_init__(
        self, sizes: ArrayLike, rerun_sizes: ArrayLike | None
    ) -> None:
        check_array_of_numbers("sizes", sizes)
        one = np.asarray(sizes, "float64")
        if one.ndim != 1 or not one.size:
            raise ValueError(
                "`sizes` must have shape (groups,), at least one. Received: "
                f"shape={one.shape}"
            )
        runs = np.zeros((0, len(one)))
        if rerun_sizes is not None:
            check_array_of_numbers("rerun_sizes", rerun_sizes)
            runs = np.asarray(rerun_sizes, "float64")
        if runs.ndim != 2 or runs.shape[1] != len(one):
            raise ValueError(
                "`rerun_sizes` must have shape (runs, groups), with "
                f"{len(one)} groups like `sizes`. Received: shape={runs.shape}"
            )
        object.__setattr__(self, "shares", _shares(one[None], "sizes")[0])
        object.__setattr__(self, "rerun_shares", _shares(runs, "rerun_sizes"))

    @property
    def gini(self) -> float:
        """Gini coefficient of the sizes."""
        return float(_gini(self.shares))

    @property
    def effective_groups(self) -> float:
        """Exponential of the entropy of the shares."""
        return float(_effective_groups(self.shares))

    @property
    def inverse_simpson(self) -> float:
        """One over the sum of the squared shares."""
        return float(_inverse_simpson(self.shares))

    @property
    def shares_std(self) -> NDArray[np.float64]:
        """Standard deviation of each share over re-runs, NaN without two."""
        return _std(self.rerun_shares)

    @property
    def gini_std(self) -> float:
        """Standard deviation of `gini` over re-runs, NaN without two."""
        return float(_std(_gini(self.rerun_shares)))

    @property
    def effective_groups_std(self) -> float:
        """Standard deviation of `effective_groups` over re-runs, or NaN."""
        return float(_std(_effective_groups(self.rerun_shares)))

    @property
    def inverse_simpson_std(self) -> float:
        """Standard deviation of `inverse_simpson` over re-runs, or NaN."""
        return float(_std(_inverse_simpson(self.rerun_shares)))


def _shares(sizes: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    totals = sizes.sum(axis=1, keepdims=True)
    if not (np.all(np.isfinite(sizes)) and np.all(sizes >= 0)):
        raise ValueError(
            f"`{name}` must be finite numbers >= 0. Received: "
            f"{sizes[~(np.isfinite(sizes) & (sizes >= 0))][0]} among them"
        )
    if not np.all(totals > 0):
        raise ValueError(f"`{name}` must not all be 0. Received: only zeros")
    return np.sort(sizes / totals, axis=1)[:, ::-1]


def _gini(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    groups = shares.shape[-1]
    # The largest stands first: it counts K - 1 times, the smallest 1 - K times.
    factors = groups - 1 - 2 * np.arange(groups)
    return np.asarray(shares @ factors / groups)


def _effective_groups(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(np.where(shares > 0, shares, 1))
    return np.asarray(np.exp(-(shares * logs).sum(axis=-1)))


def _inverse_simpson(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (shares * shares).sum(axis=-1))


def _std(runs: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(runs) < 2:
        return np.full(runs.shape[1:], np.nan)
    return np.asarray(runs.std(axis=0, ddof=1))
