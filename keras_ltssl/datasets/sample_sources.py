"""Arrays, image files and datasets as rows of samples."""

import os
from collections.abc import Sequence
from typing import TypeAlias

import keras
import numpy as np

from keras_ltssl.datasets.dataset_rows import DatasetRows
from keras_ltssl.datasets.image_batches import ImageBatches
from keras_ltssl.datasets.image_reader import ImageReader
from keras_ltssl.datasets.rows import FileRows, Images, Rows, checked_rows

Source: TypeAlias = (
    Images | Sequence[str | os.PathLike[str]] | keras.utils.PyDataset
)


def are_paths(source: Source) -> bool:
    """Returns whether a source is a sequence of paths."""
    if isinstance(source, np.ndarray):
        return source.dtype.kind == "U"
    return not isinstance(source, keras.utils.PyDataset)


def rows_of(
    name: str,
    source: Source,
    image_size: tuple[int, int] | None,
    reader: ImageReader,
) -> Rows:
    """Returns the samples of a source as rows.

    Args:
        name: Name of the argument that `source` is, for messages.
        source: Array, sequence of paths, or `PyDataset`.
        image_size: Tuple of integers `(height, width)`, for paths only.
        reader: The `ImageReader` that decodes files.

    Returns:
        The `Rows`.

    Raises:
        ValueError: If `source` is anything else, has random crops, or `images`
            has ids of its own.
    """
    if isinstance(source, ImageBatches):
        rows = source.rows
        if source.crop_scale is not None:
            raise ValueError(
                f"`{name}` must be an `ImageBatches` without random crops. "
                f"Received: crop_scale={source.crop_scale}"
            )
        if name == "images" and not np.array_equal(
            source.ids, np.arange(len(rows))
        ):
            raise ValueError(
                "The ids of `images` are its rows, so an `ImageBatches` must "
                "not have its own `ids`; pass its images instead. "
                f"Received: ids={source.ids}"
            )
        if isinstance(rows, FileRows):
            return rows.with_reader(reader)
        return rows
    if isinstance(source, keras.utils.PyDataset):
        return DatasetRows(name, source)
    return checked_rows(
        name,
        source,
        image_size,
        reader,
        kinds="a NumPy array, a sequence of paths or a `PyDataset`",
    )


def check_alike(id_rows: Rows, pool_rows: Rows) -> None:
    """Raises if the pool has samples of another shape or dtype."""
    if (id_rows.shape, id_rows.dtype) != (pool_rows.shape, pool_rows.dtype):
        raise ValueError(
            "`pool` must hold samples like those of `images`, "
            f"shape={id_rows.shape}, dtype={id_rows.dtype}. Received: "
            f"shape={pool_rows.shape}, dtype={pool_rows.dtype}"
        )
