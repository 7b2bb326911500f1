"""Arguments that the samplers share, checked before any work."""

import math
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


def as_scores(scores: Any, name: str = "scores") -> NDArray[np.float64]:
    """Finite scores `(samples,)` in float64."""
    array = np.asarray(scores)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be real numbers of shape (samples,), at least one. "
            f"Received: dtype={array.dtype}, shape={array.shape}"
        )
    array = array.astype("float64")
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        raise ValueError(
            f"`{name}` must be finite. Received: NaN or infinity for "
            f"{len(wrong)} of {len(array)} samples, the first is sample "
            f"{wrong[0]}"
        )
    return array


def check_same_dim(
    first: NDArray[Any], first_name: str, second: NDArray[Any], second_name: str
) -> None:
    """Raises unless both have as many features."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"`{first_name}` and `{second_name}` must have the same number of "
            f"features. Received: {first.shape[1]} and {second.shape[1]}"
        )


def as_integer(
    value: Any, name: str, least: int, most: int | None = None
) -> int:
    """An integer of at least `least` and at most `most`."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (int, np.integer))
        or value < least
        or (most is not None and value > most)
    ):
        limits = f">= {least}" if most is None else f"in {least} to {most}"
        raise ValueError(
            f"`{name}` must be an integer {limits}. Received: {name}={value!r}"
        )
    return int(value)


def as_row_count(
    value: Any, name: str, least: int, rows: NDArray[Any], rows_name: str
) -> int:
    """An integer of at least `least` and at most as many as there are rows."""
    count = as_integer(value, name, least)
    if count > len(rows):
        raise ValueError(
            f"`{name}` must not exceed the rows of `{rows_name}`. Received: "
            f"{name}={count}, and {len(rows)} rows"
        )
    return count


def check_temperature(temperature: float) -> None:
    """Raises unless it is a positive finite number."""
    if not (_is_finite(temperature) and temperature > 0):
        raise ValueError(
            "`temperature` must be a positive finite number. "
            f"Received: temperature={temperature!r}"
        )


def check_candidate_factor(candidate_factor: float) -> None:
    """Raises unless it is a finite number >= 1."""
    if not (_is_finite(candidate_factor) and candidate_factor >= 1):
        raise ValueError(
            "`candidate_factor` must be a finite number >= 1. "
            f"Received: candidate_factor={candidate_factor!r}"
        )


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    return is_number and not isinstance(value, bool) and math.isfinite(value)
