"""Ranks samples within a band of rarity, so that outliers are no tail."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import as_scores, percentiles
from keras_ltssl.validation import check_pair


def rank_in_band(
    scores: ArrayLike, band: tuple[float, float] = (0.75, 0.99)
) -> NDArray[np.float64]:
    """Returns scores that are low only in a band of rarity.

        r_i = share of samples with a higher score, equal ones counted half
        result_i = (high - r_i) / (high - low)   for low <= r_i <= high, else 1

    The rarest-looking samples are often outliers, such as damaged images or
    wrong ones. So samples above the band count as little as those below it.
    This is this package's own design.

    Args:
        scores: Finite float array of shape `(samples,)`, low in the tail.
        band: Percentiles `(low, high)` of rarity, `0 <= low < high <= 1`. With
            `high=1` no sample is an outlier. A tail that is smaller than
            `1 - high` may be lost. Defaults to `(0.75, 0.99)`.

    Returns:
        float64 array of shape `(samples,)` in [0, 1], 0 at the upper end of the
        band.

    Raises:
        ValueError: If `scores` are not finite or `band` is no such pair.

    Example:

    >>> from keras_ltssl.samplers import rank_in_band
    >>> ranks = rank_in_band([0.9, 0.0, 0.2, 0.3, 0.8], band=(0.3, 0.8))
    >>> ranks.round(2).tolist()
    [1.0, 1.0, 0.2, 0.6, 1.0]
    """
    low, high = check_pair("band", band, 0, 1, may_be_equal=False)
    rarity = percentiles(-as_scores(scores))
    ranks = (high - rarity) / (high - low)
    # Beyond the ends by rounding alone is at the ends.
    within = (ranks > -1e-9) & (ranks < 1 + 1e-9)
    return np.where(within, np.clip(ranks, 0, 1), 1.0)
