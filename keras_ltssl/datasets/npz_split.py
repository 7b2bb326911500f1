"""Reads a long-tailed split from a `.npz` file."""

import os
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np

from keras_ltssl.datasets.long_tail_split import PARTS, LongTailSplit
from keras_ltssl.datasets.npy_size import check_npy_size
from keras_ltssl.validation import check_path

_RECIPE = """\
Such a file holds uint8 images `x_train`, `x_probe` and `x_test` of shape \
(n, height, width, channels), and integer labels `y_train`, `y_probe` and \
`y_test` of shape (n,). To make one from labeled images `x`, `y`:

    split = keras_ltssl.datasets.make_long_tail_split(
        x, y, imbalance=100, num_probe=100, num_test=100
    )
    numpy.savez("split.npz", **vars(split))
"""


def load_npz_split(path: str | os.PathLike[str]) -> LongTailSplit:
    """Reads a `LongTailSplit` from a `.npz` file.

    The file holds `x_train`, `y_train`, `x_probe`, `y_probe`, `x_test` and
    `y_test` as `LongTailSplit` describes them. It may hold `class_names`, an
    array of strings. It is never unpickled. To make such a file from labeled
    images, use `make_long_tail_split` and `np.savez` as in the example.

    Args:
        path: Path of the file.

    Returns:
        A `LongTailSplit`. Without `class_names` in the file, classes are named
        by their number.

    Raises:
        ValueError: If the file cannot be read or is damaged, or an array is
            missing or not valid. The message names the file and the array.

    Example:

    >>> import os, tempfile
    >>> import numpy as np
    >>> from keras_ltssl.datasets import load_digits, make_long_tail_split
    >>> x, y = load_digits()
    >>> split = make_long_tail_split(
    ...     x, y, imbalance=10, num_probe=20, num_test=40
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "split.npz")
    ...     np.savez(path, **vars(split))
    ...     load_npz_split(path)
    LongTailSplit(train=491, probe=200, test=400, image_shape=(8, 8, 1), \
class_counts=[20, 12, 72, 43, 121, 33, 93, 56, 15, 26])
    """
    check_path("path", path)
    names = [f"{kind}_{part}" for part in PARTS for kind in "xy"]
    arrays: dict[str, Any] = {}
    try:
        # Opened here, since NumPy leaves a file open that is not an archive.
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise ValueError(
                    f"it is a single array, not an archive. {_RECIPE}"
                )
            with content:
                missing = [name for name in names if name not in content]
                if missing:
                    raise ValueError(
                        f"it has no array {', '.join(missing)}; it has "
                        f"{', '.join(content.files) or 'none at all'}. "
                        f"{_RECIPE}"
                    )
                if "class_names" in content:
                    names.append("class_names")
                for name in names:
                    arrays[name] = _read_array(content, name)
        arrays["class_names"] = _class_names(arrays)
        return LongTailSplit(**arrays)
    except FileNotFoundError as error:
        raise ValueError(
            f"Cannot read a long-tailed split from {os.fspath(path)!r}: "
            f"{error}. {_RECIPE}"
        ) from error
    except (
        ValueError,
        OSError,
        EOFError,
        RuntimeError,  # an unknown compression, or encrypted
        tokenize.TokenError,  # a damaged header of an array
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"Cannot read a long-tailed split from {os.fspath(path)!r}: {error}"
        ) from error


def _read_array(content: np.lib.npyio.NpzFile, name: str) -> Any:
    archive = content.zip
    assert archive is not None  # `content` is open.
    member = name if name in archive.namelist() else f"{name}.npy"
    try:
        with archive.open(member) as file:
            check_npy_size(file, archive.getinfo(member).file_size)
        return content[name]
    except (ValueError, MemoryError) as error:
        raise ValueError(f"its array {name}: {error}") from error


def _class_names(arrays: dict[str, Any]) -> tuple[str, ...]:
    given = arrays.get("class_names")
    if given is None:
        labels = [arrays[f"y_{part}"] for part in PARTS]
        # `LongTailSplit` raises for labels of any other kind.
        largest = max(
            int(of_part.max(initial=0)) if of_part.dtype.kind in "iu" else 0
            for of_part in labels
        )
        return tuple(str(label) for label in range(largest + 1))
    if given.ndim != 1 or given.dtype.kind != "U":
        raise ValueError(
            "`class_names` must be a one-dimensional array of strings. "
            f"Received: shape={given.shape}, dtype={given.dtype}"
        )
    return tuple(given.tolist())
