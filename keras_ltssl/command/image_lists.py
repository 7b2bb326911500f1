"""Lists of labeled images, as long-tailed sets are published."""

import dataclasses
import posixpath
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import flags

from keras_ltssl.datasets import DirectoryBatches, read_image_list
from keras_ltssl.evaluation.long_tail import check_split

# Flags that name a list.
LISTS = ("train", "probe", "test")


@dataclasses.dataclass(frozen=True)
class ImageList:
    """Holds a list of images.

    Attributes:
        labels: Label of each image, by its path relative to the folder.
    """

    labels: dict[str, int]

    @property
    def names(self) -> list[str]:
        """The relative paths, in the order of the list."""
        return list(self.labels)

    def labels_of(self, photos: DirectoryBatches) -> npt.NDArray[np.int64]:
        """Returns the labels of those images that can be read."""
        return np.array([self.labels[name] for name in photos.names])


def read_lists(values: flags.FlagValues) -> dict[str, ImageList]:
    """Returns the lists that the flags name, by the names of the flags.

    Args:
        values: The flags.

    Raises:
        ValueError: If a list cannot be read, has an image twice, or is given
            without another that it goes with.
    """
    given = [name for name in LISTS if values[name].value is not None]
    if given not in ([], ["train"], list(LISTS)):
        raise ValueError(
            "`--probe` and `--test` go together, and with `--train`. Received "
            f"only --{' and --'.join(given)}"
        )
    return {name: _read(name, str(values[name].value)) for name in given}


def check_lists(
    labels: dict[str, npt.NDArray[np.int64]], values: flags.FlagValues
) -> None:
    """Raises if probes cannot be trained and tested on these labels.

    Args:
        labels: Labels of the images that can be read, for each of `LISTS`.
        values: The flags.
    """
    try:
        check_split(split_of(labels, labels), values.groups, values.shots)
    except ValueError as error:
        raise ValueError(
            "The images of `--train`, `--probe` and `--test` must allow the "
            f"probes of the report. What is wrong: {error}"
        ) from error


def split_of(images: dict[str, Any], labels: dict[str, Any]) -> "ListedSplit":
    """Returns images, or their features, and labels as a split."""
    return ListedSplit(
        *(part[name] for name in LISTS for part in (images, labels))
    )


@dataclasses.dataclass(frozen=True)
class ListedSplit:
    """Holds what `long_tail_report` reads."""

    x_train: Any
    y_train: Any
    x_probe: Any
    y_probe: Any
    x_test: Any
    y_test: Any

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, as texts."""
        return tuple(map(str, np.unique(self.y_train)))


def _read(flag: str, path: str) -> ImageList:
    try:
        paths, labels = read_image_list(path)
    except ValueError as error:
        raise ValueError(f"`--{flag}` must be a list of images. {error}") from (
            error
        )
    found: dict[str, int] = {}
    for name, label in zip(paths, labels.tolist(), strict=True):
        name = posixpath.normpath(name)
        if name in found:
            raise ValueError(
                f"`--{flag}` must list each image once. Received: {path} with "
                f"{name!r} twice"
            )
        found[name] = label
    return ImageList(found)
