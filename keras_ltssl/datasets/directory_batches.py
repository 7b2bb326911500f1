"""Batches of the images in a folder, which know their files."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.image_batches import ImageBatches
from keras_ltssl.datasets.image_folder_list import (
    changes_in_words,
    read_image_sizes,
    write_image_sizes,
)
from keras_ltssl.datasets.image_listing import class_of, joined
from keras_ltssl.datasets.rows import FileRows


class DirectoryBatches(ImageBatches):
    """Yields `(images, ids)` batches of the images in a folder.

    `image_batches_from_directory` makes it. It is an `ImageBatches` that also
    knows its files.

    Args:
        directory: The folder.
        rows: The `FileRows` of its images.
        sizes: Bytes of each image by its path relative to the folder.
        skipped: Reasons of skipped files by their relative paths.
        class_names: Names of the subfolders that are classes, or `None`.
        **options: Further arguments of `ImageBatches`.

    Attributes:
        directory: The folder, as a string.
        paths: List of the paths of the images. Sample ids are its rows.
        names: List of the same paths relative to `directory`, with `/` between
            their parts.
        labels: Array of shape `(images,)` and dtype `int64`: the row of each
            image's class in `class_names`. `None` unless labels were asked for.
        class_names: List of the names of the classes, or `None`.
        skipped: List of pairs `(path, reason)` of the files that cannot be
            read.
    """

    def __init__(
        self,
        directory: str,
        rows: FileRows,
        sizes: Mapping[str, int],
        skipped: Mapping[str, str],
        class_names: list[str] | None,
        **options: Any,
    ):
        super().__init__(rows, **options)
        self.directory = directory
        self.paths = list(rows.paths)
        self.names = list(sizes)
        self.class_names = class_names
        self.labels: npt.NDArray[np.int64] | None = None
        if class_names is not None:
            row_of = {name: row for row, name in enumerate(class_names)}
            self.labels = np.array(
                [row_of[class_of(name)] for name in sizes], np.int64
            )
        self.skipped = [
            (joined(directory, name), reason)
            for name, reason in skipped.items()
        ]
        self._sizes = dict(sizes)
        self._skipped = dict(skipped)

    def write_list(self, path: str | os.PathLike[str]) -> None:
        """Writes a CSV file of the images and of the skipped files.

        Its columns are `id`, `path` (relative to the folder), `bytes` and
        `skipped`, the reason why a file has no id. `changes_since` reads it.

        Args:
            path: Path of the file, such as `"run/images.csv"`.
        """
        write_image_sizes(path, self._sizes, self._skipped)

    def changes_since(self, path: str | os.PathLike[str]) -> str:
        """Returns how the images differ from those of a list, in words.

        A run that is resumed on other images would give samples other ids.
        Images are compared by their paths and sizes; they are not read.

        Args:
            path: Path of a file that `write_list` wrote.

        Returns:
            A text such as `"2 images were added ('a.jpg', 'b.jpg')"`, which
            is empty if nothing changed.

        Raises:
            ValueError: If the file is missing or damaged.
        """
        before = read_image_sizes(path)
        if list(before) != list(self._sizes) and before == self._sizes:
            return "the images have another order"
        return changes_in_words(before, self._sizes)
