"""Checks `.npy` headers before memory is allocated."""

import math
from typing import IO

from numpy.lib import format as npy_format


def check_npy_size(file: IO[bytes], num_bytes: int) -> None:
    """Raises if a `.npy` header claims more values than the file holds.

    NumPy allocates the memory first, so a damaged or forged header would end in
    a `MemoryError` that does not name the cause.

    Args:
        file: File to read. Its position is at the beginning afterwards.
        num_bytes: Integer, the size of the file.

    Raises:
        ValueError: If the header claims too much or is damaged.

    Example:

    >>> import io
    >>> import numpy as np
    >>> file = io.BytesIO()
    >>> np.save(file, np.arange(4, dtype="int64"))
    >>> check_npy_size(file, file.seek(0, 2))
    >>> check_npy_size(file, file.seek(0, 2) - 1)
    Traceback (most recent call last):
    ValueError: its header claims shape=(4,), dtype=int64, which is 32 bytes; \
the file holds 31
    """
    file.seek(0)
    is_npy = file.read(len(npy_format.MAGIC_PREFIX)) == npy_format.MAGIC_PREFIX
    file.seek(0)
    if not is_npy:
        return
    if npy_format.read_magic(file) == (1, 0):
        shape, _, dtype = npy_format.read_array_header_1_0(file)
    else:
        shape, _, dtype = npy_format.read_array_header_2_0(file)
    claimed = math.prod(shape) * dtype.itemsize
    held = num_bytes - file.tell()
    file.seek(0)
    # NumPy refuses objects, whose size is not known here.
    if claimed > held and not dtype.hasobject:
        raise ValueError(
            f"its header claims shape={shape}, dtype={dtype}, which is "
            f"{claimed} bytes; the file holds {held}"
        )
