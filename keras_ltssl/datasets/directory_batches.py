"""Batches of the images in a folder, which know their files."""

import os
from collections.abc import Mapping, Sequence
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
        names: Paths of the images relative to the folder.
        sizes: Bytes of each image.
        skipped: Reasons of skipped files by their relative paths.
        class_names: Names of the subfolders that are classes, or `None`.
        **options: Further arguments of `ImageBatches`.

    Attributes:
        directory: The folder, as a string.
        paths: Sequence of the paths of the images. Sample ids are its rows.
            It is kept in one buffer; `list(paths)` makes a list.
        names: Sequence of the same paths relative to `directory`, with `/`
            between their parts.
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
        names: Sequence[str],
        sizes: Sequence[int],
        skipped: Mapping[str, str],
        class_names: list[str] | None,
        **options: Any,
    ):
        super().__init__(rows, **options)
        self.directory = directory
        self.paths = rows.paths
        self.names = names
        self.class_names = class_names
        self.labels: npt.NDArray[np.int64] | None = None
        if class_names is not None:
            row_of = {name: row for row, name in enumerate(class_names)}
            self.labels = np.fromiter(
                (row_of[class_of(name)] for name in names), np.int64, len(names)
            )
        self.skipped = [
            (joined(directory, name), reason)
            for name, reason in skipped.items()
        ]
        self._sizes = sizes
        self._skipped = dict(skipped)

    def write_list(self, path: str | os.PathLike[str]) -> None:
        """Writes a CSV file of the images and of the skipped files.

        Its columns are `id`, `path` (relative to the folder), `bytes` and
        `skipped`, the reason why a file has no id. `changes_since` reads it.

        Args:
            path: Path of the file, such as `"run/images.csv"`.
        """
        write_image_sizes(
            path, zip(self.names, self._sizes, strict=True), self._skipped
        )

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
        now = dict(zip(self.names, self._sizes, strict=True))
        if before == now and list(before) != list(now):
            return "the images have another order"
        return changes_in_words(before, now)
