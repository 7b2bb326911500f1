"""Numbers behind the lines of a picture: means, spreads, label heights."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def apart(
    heights: Sequence[float], gap: float, low: float, high: float
) -> NDArray[np.float64]:
    """Returns heights, moved only as far as labels need not to overlap."""
    order = np.argsort(heights)
    placed = np.asarray(heights, dtype="float64")[order]
    steps = gap * np.arange(len(placed))
    # Pushing up from below, then down from the top, keeps the order.
    placed = np.maximum.accumulate(np.maximum(placed, low) - steps) + steps
    ceiling = high - steps[::-1]
    placed = np.minimum.accumulate((np.minimum(placed, ceiling) - steps)[::-1])
    placed = placed[::-1] + steps
    result = np.empty(len(placed))
    result[order] = placed
    return result


def running_mean(
    values: NDArray[np.float64], width: int
) -> NDArray[np.float64]:
    """Returns means over a centered window, cut at the ends, without NaN."""
    window = np.ones(width)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0), window, mode="same")
    number = np.convolve(known.astype("float64"), window, mode="same")
    total[number == 0] = np.nan
    return np.asarray(total / np.maximum(number, 1))


def over_repeats(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns means and standard deviations over repeats, without NaN."""
    tested = np.isfinite(values)
    number = tested.sum(axis=0)
    total = np.where(tested, values, 0).sum(axis=0)
    mean = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    squares = np.where(tested, (values - mean) ** 2, 0).sum(axis=0)
    spread = np.sqrt(squares / np.maximum(number - 1, 1))
    return mean, np.where(number > 1, spread, 0)
