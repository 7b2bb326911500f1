"""Arguments that the samplers share, checked before any work."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.validation import as_array, check_integer


def as_features(features: Any, name: str) -> NDArray[Any]:
    """A real array `(rows, dim)`, neither copied nor read through."""
    array = as_array(name, features)
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
    array = as_array(name, scores)
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


def check_row_count(
    name: str, value: Any, minimum: int, rows: NDArray[Any], rows_name: str
) -> int:
    """Returns an `int`; raises if it is below `minimum` or above the rows."""
    count = check_integer(name, value, minimum=minimum)
    if count > len(rows):
        raise ValueError(
            f"`{name}` must not exceed the rows of `{rows_name}`. Received: "
            f"{name}={count}, and {len(rows)} rows"
        )
    return count
