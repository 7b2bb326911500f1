"""Lists of labeled images, as long-tailed sets are published."""

import dataclasses
import posixpath
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from absl import flags

from keras_ltssl.datasets import DirectoryBatches, read_image_list
from keras_ltssl.datasets.directory_messages import first_of
from keras_ltssl.datasets.named_images import repeated
from keras_ltssl.datasets.packed_texts import PackedTexts
from keras_ltssl.evaluation.long_tail import check_split

# Flags that name a list.
LISTS = ("train", "probe", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageList:
    """Holds a list of images.

    Attributes:
        names: Paths relative to the folder, all different, in the order of the
            list.
        labels: Label of each image, `(images,)`.
    """

    names: Sequence[str]
    labels: npt.NDArray[np.int64]

    def is_same(self, other: "ImageList") -> bool:
        """Returns whether another list has the same images and labels."""
        return self.names == other.names and np.array_equal(
            self.labels, other.labels
        )

    def labels_of(self, photos: DirectoryBatches) -> npt.NDArray[np.int64]:
        """Returns the labels of those images that can be read.

        Args:
            photos: The images, in the order of the list.
        """
        rows = enumerate(self.names)
        # Each search goes on behind the image before: no table of all names.
        found = [
            next(row for row, listed in rows if listed == name)
            for name in photos.names
        ]
        return self.labels[found]


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
    names = PackedTexts(map(posixpath.normpath, paths))
    twice = repeated(names)
    if twice:
        raise ValueError(
            f"`--{flag}` must list each image once. Received: {path} with "
            f"{first_of(twice)} twice"
        )
    return ImageList(names, labels)
