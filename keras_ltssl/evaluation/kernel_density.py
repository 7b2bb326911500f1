"""Computes a kernel density from cosines, in blocks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.samplers.bank_cosines import bank_cosines, count_others


def kernel_density(
    features: NDArray[Any], bank_rows: NDArray[np.int64], bandwidth: float
) -> NDArray[np.float64]:
    """Returns the logarithm of each row's kernel density in a bank.

        log mean_j exp((s_ij - 1) / h)

    over the rows j of the bank other than i. s_ij is their cosine.

    Args:
        features: Finite real array of shape `(rows, dim)`.
        bank_rows: Which rows are the bank, at least 2, `(bank,)`.
        bandwidth: h, positive float.

    Returns:
        float64 array of shape `(rows,)`, at most 0.
    """
    sums = np.empty(len(features))
    nearest = np.empty(len(features))
    for some, cosines in bank_cosines(features, bank_rows):
        # Relative to the nearest, so that no sum underflows to 0.
        nearest[some] = cosines.max(axis=1)
        cosines -= nearest[some, np.newaxis].astype("float32")
        cosines /= np.float32(bandwidth)
        sums[some] = np.exp(cosines, out=cosines).sum(axis=1, dtype="float64")
    others = count_others(len(features), bank_rows)
    return np.log(sums / others) + (nearest - 1) / bandwidth
