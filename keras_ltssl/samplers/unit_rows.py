"""Lengths of rows that no overflow, underflow or NaN gets past."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_floats(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows in float32 or float64; half precision is too short to sum."""
    if rows.dtype.kind == "f" and rows.dtype.itemsize in (4, 8):
        return rows
    return rows.astype("float32" if rows.dtype == "float16" else "float64")


def rescaled(
    rows: NDArray[Any], name: str, first_row: int = 0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows, by powers of two where need be, and their squared lengths.

    A row is scaled only if its squared length would overflow or lose digits;
    that changes no direction. Only a zero row has a squared length of 0.

    Args:
        rows: float32 or float64 array of shape `(rows, dim)`.
        name: the argument that the rows came with, for the error.
        first_row: which row of that argument `rows[0]` is. Defaults to `0`.

    Returns:
        The rows, a copy if one was scaled, and an array of shape `(rows,)`.

    Raises:
        ValueError: if a row has NaN or infinity.
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
    """Rows of length 1 in float32 or float64; a zero row stays zero."""
    rows, squares = rescaled(as_floats(rows), name)
    lengths = np.sqrt(squares)[:, np.newaxis]
    units = np.zeros_like(rows)
    np.divide(rows, lengths, out=units, where=lengths > 0)
    return units
