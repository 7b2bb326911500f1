"""Readers of the lists in which long-tailed splits are published."""

import functools
import os
import tokenize
from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.npy_size import check_npy_size
from keras_ltssl.datasets.packed_texts import PackedTexts
from keras_ltssl.validation import check_path


def read_index_list(path: str | os.PathLike[str]) -> npt.NDArray[np.int64]:
    """Reads the rows of a split from a `.npy` file of integers.

    The file is never unpickled.

    Args:
        path: Path of the file.

    Returns:
        Rows in the order of the file, of shape `(num_rows,)` and dtype
        `int64`.

    Raises:
        ValueError: If the file cannot be read, is damaged, or does not hold a
            one-dimensional array of integers >= 0. The message names the file.

    Example:

    >>> import os, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "split.npy")
    ...     np.save(path, [4, 0, 7])
    ...     read_index_list(path).tolist()
    [4, 0, 7]
    """
    check_path("path", path)
    try:
        # Opened here, since NumPy does not close every file that it opens.
        with open(path, "rb") as file:
            check_npy_size(file, os.fstat(file.fileno()).st_size)
            rows = np.load(file, allow_pickle=False)
            if not isinstance(rows, np.ndarray):
                raise ValueError("it is an archive, not a single array")
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
            raise ValueError(
                "expected a one-dimensional array of integers, not empty; it "
                f"holds shape={rows.shape}, dtype={rows.dtype}"
            )
        if rows.min() < 0:
            raise ValueError(f"rows must be >= 0; it holds {rows.min()}")
    except (
        ValueError,
        OSError,
        EOFError,
        MemoryError,
        tokenize.TokenError,  # a damaged header
    ) as error:
        raise ValueError(
            f"Cannot read a list of rows from {os.fspath(path)!r}: {error}"
        ) from error
    return rows.astype("int64")


def read_image_list(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> tuple[Sequence[str], npt.NDArray[np.int64]]:
    r"""Reads a text list of images, one `relative/path label` a line.

    ImageNet-LT, Places-LT and ImageNet-100-LT are published in this form. A
    path may contain spaces, since the label follows the last space. Blank
    lines are skipped. The images are not opened.

    Args:
        path: Path of the list, a UTF-8 text file.
        root: Folder that the paths in the list are relative to. A path that
            leaves it, by `..` or as an absolute path, is refused. Links are
            not followed. Defaults to `None`, which returns the paths as they
            are in the file.

    Returns:
        Tuple `(paths, labels)`: a sequence of strings, and their labels of
        shape `(num_images,)` and dtype `int64`, in the order of the file. The
        paths are kept in one buffer, since a list of millions of strings takes
        much memory; `list(paths)` makes one.

    Raises:
        ValueError: If the file cannot be read, lists no image, or has a line
            of another form or with a path that leaves `root`. The message
            names the file and the line.

    Example:

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "train.txt")
    ...     with open(path, "w") as file:
    ...         _ = file.write("train/tench/1.jpg 0\ntrain/shark/7.jpg 2\n")
    ...     paths, labels = read_image_list(path)
    >>> list(paths), labels.tolist()
    (['train/tench/1.jpg', 'train/shark/7.jpg'], [0, 2])

    Reference:
        - [Large-Scale Long-Tailed Recognition in an Open
          World](https://arxiv.org/abs/1904.05160), Liu et al., CVPR 2019
    """
    check_path("path", path)
    if root is not None:
        check_path("root", root)
    paths = PackedTexts()
    labels = array("q")
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                name, _, label = line.strip().rpartition(" ")
                if not name or not (label.isascii() and label.isdigit()):
                    raise ValueError(
                        f"line {number} must be `relative/path label` with a "
                        f"label >= 0; it is {line.strip()[:100]!r}"
                    )
                name = name.rstrip()
                if root is not None and _leaves_its_folder(name):
                    raise ValueError(
                        f"line {number} must be a path inside `root`, relative "
                        f"to it; it is {name[:100]!r}. Without `root`, paths "
                        "are left as they are"
                    )
                paths.append(name)
                labels.append(int(label))
        if not paths:
            raise ValueError("it holds no image")
    except (ValueError, OSError, OverflowError) as error:
        raise ValueError(
            f"Cannot read a list of images from {os.fspath(path)!r}: {error}"
        ) from error
    if root is not None:
        paths = paths.changed(functools.partial(os.path.join, os.fspath(root)))
    return paths, np.array(labels, dtype="int64")


def _leaves_its_folder(path: str) -> bool:
    """Returns whether a path leaves the folder that it is joined to."""
    if path[0] not in "/\\" and ":" not in path and ".." not in path:
        return False  # Most paths, in a fraction of the time.
    if os.path.splitdrive(path)[0] or path[0] in (os.sep, os.altsep):
        return True
    # Only the text counts: the file need not exist.
    return os.path.normpath(path).split(os.sep)[0] == os.pardir
