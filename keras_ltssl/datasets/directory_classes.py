"""The subfolders of a folder of images that are its classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ltssl.datasets import directory_messages as messages
from keras_ltssl.datasets.image_listing import ImageListing, class_of


def checked_class_names(names: Any, labels: str | None) -> list[str] | None:
    """Returns the argument `class_names` as a list; raises if it is none.

    Args:
        names: The argument.
        labels: The argument `labels`.
    """
    if names is None:
        return None
    if labels is None:
        raise ValueError(
            '`class_names` must be None without labels="inferred". '
            f"Received: class_names={names!r}"
        )
    if (
        not isinstance(names, Sequence | np.ndarray)
        or isinstance(names, str)
        or not len(names)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(
            "`class_names` must be a sequence of different names of "
            f"subfolders. Received: class_names={names!r}"
        )
    return [str(name) for name in names]


def classes_of(listing: ImageListing) -> list[str]:
    """Returns the subfolders that hold images, sorted.

    Args:
        listing: The images.
    """
    return sorted({class_of(name) for name in listing.names} - {""})


def check_classes(folder: str, found: list[str], names: list[str]) -> None:
    """Raises if a class has no images.

    Args:
        folder: The folder.
        found: Its classes.
        names: Those that were asked for.
    """
    missing = sorted(set(names) - set(found))
    if missing:
        raise ValueError(
            "`class_names` must be subfolders of `directory` that hold images. "
            f"Received: class_names={names}, directory={folder!r}, which has "
            f"no images in {missing}"
        )


def keep_classes(
    folder: str, listing: ImageListing, names: list[str] | None
) -> int:
    """Removes images outside of the classes, and returns their number.

    Args:
        folder: The folder.
        listing: Its images, which this changes.
        names: The classes, or `None` for all subfolders.
    """
    wanted = None if names is None else set(names)
    found = classes_of(listing)
    if names is not None:
        check_classes(folder, found, names)
    elif not found:
        raise ValueError(messages.no_classes(folder, listing))

    def is_wanted(name: str) -> bool:
        label = class_of(name)
        return bool(label) and (wanted is None or label in wanted)

    before = listing.num_files
    listing.keep(is_wanted)
    return before - listing.num_files
