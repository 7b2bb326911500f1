"""Arguments that the samplers share, checked before any work."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_features(features: Any, name: str) -> NDArray[Any]:
    """A real array `(rows, dim)`, neither copied nor read through."""
    array = np.asarray(features)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"`{name}` must have shape (rows, dim), neither of them 0. "
            f"Received: shape={array.shape}"
        )
    if array.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be real numbers. Received: dtype={array.dtype}"
        )
    return array


def as_scores(scores: Any) -> NDArray[np.float64]:
    """Finite scores `(samples,)` in float64."""
    array = np.asarray(scores)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(
            "`scores` must be real numbers of shape (samples,), at least one. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
        )
    array = array.astype("float64")
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        raise ValueError(
            "`scores` must be finite. Received: NaN or infinity for "
            f"{len(wrong)} of {len(array)} samples, the first is sample "
            f"{wrong[0]}"
        )
    return array


def as_integer(value: Any, name: str, least: int) -> int:
    """An integer of at least `least`."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (int, np.integer))
        or value < least
    ):
        raise ValueError(
            f"`{name}` must be an integer >= {least}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_temperature(temperature: float) -> None:
    """Raises unless it is a positive finite number."""
    if not 0 < temperature < np.inf:
        raise ValueError(
            "`temperature` must be a positive finite number. "
            f"Received: temperature={temperature!r}"
        )
