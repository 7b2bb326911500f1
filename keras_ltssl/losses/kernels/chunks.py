"""Rows handled a block at a time, where all at once would not fit."""

from typing import Any

from keras import ops

from keras_ltssl.backend.compilation import uncompiled_on_torch
from keras_ltssl.types import Tensor


@uncompiled_on_torch
def in_blocks(function: Any, arrays: tuple[Tensor, ...], size: int) -> Any:
    """Maps `function` over blocks of `size` rows and joins what it returns.

    Args:
        function: From a tuple of blocks to a tensor or a tuple of them, each
            with the rows of the block.
        arrays: Tensors with the same number of rows.
        size: Rows of a block, integer >= 1.
    """
    rows = ops.shape(arrays[0])[0]
    blocks = (rows + size - 1) // size
    padding = blocks * size - rows

    def split(array: Tensor) -> Tensor:
        tail = array.shape[1:]
        if not isinstance(padding, int) or padding:
            widths = [[0, padding]] + [[0, 0]] * len(tail)
            # Ones, not zeros: a padded temperature must not divide by zero.
            array = ops.pad(array, widths, constant_values=1)
        return ops.reshape(array, (blocks, size, *tail))

    def join(parts: Tensor) -> Tensor:
        return ops.reshape(parts, (blocks * size, *parts.shape[2:]))[:rows]

    parts = ops.map(function, tuple(split(array) for array in arrays))
    if isinstance(parts, tuple):
        return tuple(join(part) for part in parts)
    return join(parts)
