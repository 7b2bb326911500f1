"""Computes cosines of all rows to a bank of rows, block by block."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks, unit_rows

# Cosines held at a time, 16 MiB of float32.
BLOCK_COSINES = 2**22


def bank_cosines(
    features: NDArray[Any],
    bank_rows: NDArray[np.int64],
    multiple: int = 1,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yields a block of rows and their cosines to the rows of the bank.

    A row has -inf in its own column, if it is in the bank, and in the columns
    that fill up the width to a multiple.

    Args:
        features: Finite real array of shape `(rows, dim)`.
        bank_rows: Which rows are the bank, none of them twice, `(bank,)`.
        multiple: The width is rounded up to a multiple of it. Defaults to `1`.
    """
    size = len(bank_rows)
    width = multiple * math.ceil(size / multiple)
    bank = np.zeros((features.shape[1], width), "float32")
    bank[:, :size] = unit_rows(features[bank_rows], "features").T
    column = np.full(len(features), -1)
    column[bank_rows] = np.arange(size)
    for some in blocks(len(features), width, BLOCK_COSINES):
        rows = unit_rows(features[some], "features").astype("float32")
        cosines = rows @ bank
        cosines[:, size:] = -np.inf
        own = column[some]
        in_bank = np.flatnonzero(own >= 0)
        cosines[in_bank, own[in_bank]] = -np.inf
        yield some, cosines


def count_others(rows: int, bank_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns how many rows of the bank each row is compared with."""
    others = np.full(rows, len(bank_rows))
    others[bank_rows] -= 1
    return others


def group_size(bank: int, count: int) -> int:
    """Returns how many columns `largest` joins to a group.

    This size makes both searches, over groups and inside them, equally long.
    """
    return max(1, round(math.sqrt(bank / count)))


def largest(
    values: NDArray[Any], count: int, group: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Returns each row's largest entries, in falling order, and their columns.

    An entry among the `count` largest of its row is in one of the `count`
    groups with the largest maxima, or there are as many equal to it. So only
    those groups are searched: twice a short search instead of a long one.
    """
    rows, width = values.shape
    groups = width // group
    maxima = values.reshape(rows, group, groups).max(axis=1)
    best = np.argpartition(maxima, groups - count)[:, groups - count :]
    columns = best[:, np.newaxis] + groups * np.arange(group)[:, np.newaxis]
    columns = columns.reshape(rows, -1)
    candidates = np.take_along_axis(values, columns, axis=1)
    top = np.argpartition(candidates, -count)[:, -count:]
    found = np.take_along_axis(candidates, top, axis=1)
    order = np.argsort(-found, axis=1)
    top = np.take_along_axis(top, order, axis=1)
    return (
        np.take_along_axis(found, order, axis=1),
        np.take_along_axis(columns, top, axis=1),
    )
