"""Lists image files of a folder that are given by their names."""

import os
import posixpath
import reprlib
import stat
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.directory_messages import first_of
from keras_ltssl.datasets.image_listing import ImageListing, joined


def check_names(names: Any) -> None:
    """Raises unless these are different relative paths."""
    if (
        not isinstance(names, Sequence | np.ndarray)
        or isinstance(names, str)
        or not len(names)
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise ValueError(
            "`names` must be a sequence of paths relative to `directory`, not "
            f"empty. Received: names={reprlib.repr(names)}"
        )
    outside = [name for name in names if _leaves(name)]
    if outside:
        raise ValueError(
            "`names` must be paths inside `directory`, relative to it. "
            f"Received: {first_of(outside)}"
        )
    twice = repeated(names)
    if twice:
        raise ValueError(
            "`names` must name each image once. Received twice: "
            f"{first_of(twice)}"
        )


def repeated(names: Sequence[str] | npt.NDArray[Any]) -> list[str]:
    """Returns the names that occur more than once, each of them once."""
    # Numbers first: to count texts takes hundreds of bytes for each.
    hashes = np.fromiter(map(hash, names), np.int64, len(names))
    if len(np.unique(hashes)) == len(names):
        return []
    counts = Counter(names)
    return [name for name, count in counts.items() if count > 1]


def _leaves(name: str) -> bool:
    """Returns whether a path is no plain relative one, such as `a/b.jpg`."""
    return (
        os.path.isabs(name)
        or posixpath.normpath(name) != name
        or (name.split("/")[0] == "..")
    )


def list_named_images(
    directory: str | os.PathLike[str], names: Sequence[str]
) -> ImageListing:
    """Returns image files of a folder that are given by their names.

    Args:
        directory: The folder.
        names: Paths relative to it, with `/` between their parts, all
            different. The listing has their order.

    Returns:
        An `ImageListing`.
    """
    listing = ImageListing()
    for name in names:
        try:
            status = os.stat(joined(os.fspath(directory), name))
        except OSError as error:
            listing.faults[name] = error.strerror or str(error)
            continue
        if not stat.S_ISREG(status.st_mode):
            listing.faults[name] = "it is no regular file"
        elif status.st_size:
            listing.add(name, status.st_size)
        else:
            listing.faults[name] = "it is empty"
    return listing
