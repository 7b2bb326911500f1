"""Arrays of features and scores: checks, blocks, rows of length 1."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from keras_ltssl.validation import as_array, check_integer

# Entries read at a time unless told otherwise: 2 MiB of float32.
BLOCK_ENTRIES = 2**19


def as_features(features: Any, name: str) -> NDArray[Any]:
    """Returns a real array `(rows, dim)` without a copy or check of values."""
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
    """Returns finite scores `(samples,)` in float64."""
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


def percentiles(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the share of samples below each, equal ones counted half.

    Args:
        scores: Array whose last axis is that of the samples.
    """
    ranks = rankdata(scores, axis=-1)
    return np.asarray((ranks - 0.5) / scores.shape[-1])


def check_same_dim(
    first: NDArray[Any], first_name: str, second: NDArray[Any], second_name: str
) -> None:
    """Raises unless both have the same number of features."""
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


def as_floats(rows: NDArray[Any]) -> NDArray[Any]:
    """Returns rows in float32 or float64; half precision is too coarse."""
    if rows.dtype.kind == "f" and rows.dtype.itemsize in (4, 8):
        return rows
    return rows.astype("float32" if rows.dtype == "float16" else "float64")


def rescaled(
    rows: NDArray[Any], name: str, first_row: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns rows with safe squared lengths, and these lengths.

    A row is scaled, by a power of two, only if its squared length would
    overflow or lose digits. That changes no direction. Only a zero row has a
    squared length of 0.

    Args:
        rows: Array of shape `(rows, dim)`, float32 or float64.
        name: The argument that the rows came with, for the error.
        first_row: Which row of that argument `rows[0]` is. Defaults to `0`.

    Returns:
        The rows, a copy if one was scaled, and an array of shape `(rows,)`.

    Raises:
        ValueError: If a row has NaN or infinity.
    """
    kind = np.finfo(rows.dtype)
    squares = np.einsum("nd,nd->n", rows, rows)
    # NaN fails both comparisons, so that good rows are read only once.
    safe = (squares > kind.tiny / kind.eps) & (squares < kind.max / 4)
    if safe.all():
        return rows, squares
    odd = np.flatnonzero(~safe)
    largest = np.abs(rows[odd]).max(axis=1)
    wrong = odd[~np.isfinite(largest)]
    if len(wrong):
        raise ValueError(
            f"`{name}` must be finite. Received: NaN or infinity in row "
            f"{first_row + wrong[0]}"
        )
    rows = rows.copy()
    rows[odd] = np.ldexp(rows[odd], -np.frexp(largest)[1][:, np.newaxis])
    squares[odd] = np.einsum("nd,nd->n", rows[odd], rows[odd])
    return rows, squares


def unit_rows(rows: NDArray[Any], name: str) -> NDArray[Any]:
    """Returns rows of length 1, float32 or float64; a zero row stays zero."""
    rows, squares = rescaled(as_floats(rows), name)
    lengths = np.sqrt(squares)[:, np.newaxis]
    units = np.zeros_like(rows)
    np.divide(rows, lengths, out=units, where=lengths > 0)
    return units


def blocks(
    count: int, width: int, entries: int = BLOCK_ENTRIES
) -> Iterator[slice]:
    """Yields slices of `count` rows, so that a block has so many entries.

    Args:
        count: Number of rows.
        width: Entries of a row.
        entries: Entries of a block, at most, but for a row that is longer.
            Defaults to `2**19`.
    """
    step = max(1, entries // width)
    for start in range(0, count, step):
        yield slice(start, start + step)


def shuffled_by_class(
    positions: NDArray[Any], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns all rows class after class, in random order inside a class.

    Args:
        positions: Class of each row, contiguous from 0, `(rows,)`.
        generator: Source of the random order.

    Returns:
        Two int64 arrays of shape `(rows,)`: the rows, and the place of each of
        them inside its class, counted from 0.
    """
    shuffled = generator.permutation(len(positions))
    rows = shuffled[np.argsort(positions[shuffled], kind="stable")]
    sizes = np.bincount(positions)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rows.astype("int64"), np.arange(len(rows)) - starts
