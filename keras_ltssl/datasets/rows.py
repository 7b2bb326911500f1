"""Sources of samples that are read by row number."""

import abc
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.image_files import CHANNELS, read_images
from keras_ltssl.datasets.image_reader import ImageReader
from keras_ltssl.datasets.packed_texts import PackedTexts
from keras_ltssl.datasets.random_crops import VIEWS, RandomCrops, draw_crops
from keras_ltssl.validation import check_sizes

Images = npt.NDArray[Any]
Numbers = npt.NDArray[np.int64]

# Bytes of a float array that are checked for NaN at once.
_CHUNK_BYTES = 2**24


class Rows(abc.ABC):
    """Samples of one shape and dtype, read by `rows[4:8]` or `rows[[7, 2]]`.

    Args:
        num_rows: Integer, number of samples.
        shape: Tuple of integers, the shape of one sample.
        dtype: The NumPy dtype of the samples.
    """

    def __init__(
        self, num_rows: int, shape: tuple[int, ...], dtype: npt.DTypeLike
    ):
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._num_rows = num_rows

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, index: slice | npt.ArrayLike) -> Images:
        if isinstance(index, slice):
            return self.read(np.arange(*index.indices(len(self))))
        numbers = np.asarray(index)
        if numbers.ndim > 1 or (
            numbers.size and numbers.dtype.kind not in "iu"
        ):
            raise TypeError(
                "Rows are read by an integer, a slice or a 1-D array of "
                f"integers. Received: {index!r}"
            )
        if numbers.size and not (
            numbers.min() >= 0 and numbers.max() < len(self)
        ):
            raise IndexError(
                f"Rows must lie in 0 ... {len(self) - 1}. "
                f"Received: {numbers.min()} to {numbers.max()}"
            )
        samples = self.read(np.atleast_1d(numbers).astype(np.int64))
        return samples if numbers.ndim else samples[0]

    @abc.abstractmethod
    def read(self, numbers: Numbers) -> Images:
        """Returns the samples of some rows, in the order given."""

    def select(self, numbers: Numbers) -> "Rows":
        """Returns a source of some rows, which can be read repeatedly."""
        return SelectedRows(self, numbers)


class ArrayRows(Rows):
    """The rows of an array. The array is not copied.

    Args:
        array: Array of shape `(num_rows, ...)`, or a `numpy.memmap`.
    """

    def __init__(self, array: Images):
        super().__init__(len(array), array.shape[1:], array.dtype)
        self.array = array

    def read(self, numbers: Numbers) -> Images:
        return np.asarray(self.array[numbers])


class FileRows(Rows):
    """Image files, decoded each time they are read.

    Args:
        paths: Sequence of paths, one per row.
        image_size: Tuple of integers `(height, width)`, in pixels.
        reader: The `ImageReader` that decodes them.
        color_mode: `"rgb"` or `"grayscale"`.
        crop_to_aspect_ratio: Whether to crop rather than to distort.
    """

    def __init__(
        self,
        paths: Sequence[str],
        image_size: tuple[int, int],
        reader: ImageReader,
        color_mode: str = "rgb",
        crop_to_aspect_ratio: bool = True,
    ):
        channels = CHANNELS[color_mode]
        super().__init__(len(paths), (*image_size, channels), np.uint8)
        self.paths = paths
        self.image_size = image_size
        self._reader = reader
        self._color_mode = color_mode
        self._crop_to_aspect_ratio = crop_to_aspect_ratio

    def read(self, numbers: Numbers) -> Images:
        return self._reader.read(
            [self.paths[number] for number in numbers],
            self.image_size,
            self._color_mode,
            self._crop_to_aspect_ratio,
        )

    def read_crops(self, numbers: Numbers, crops: RandomCrops) -> Images:
        """Returns two crops of the images of some rows, in the order given.

        Args:
            numbers: The rows.
            crops: The crops of each of them.

        Returns:
            Array of shape `(rows, 2, height, width, channels)`.
        """
        return self._reader.read(
            [self.paths[number] for number in numbers],
            self.image_size,
            self._color_mode,
            crops=crops,
        )

    def with_reader(self, reader: ImageReader) -> "FileRows":
        """Returns the same rows, decoded by another reader."""
        return FileRows(
            self.paths,
            self.image_size,
            reader,
            self._color_mode,
            self._crop_to_aspect_ratio,
        )


class CroppedRows(Rows):
    """Two random crops of each image file, drawn for one epoch.

    Args:
        rows: The `FileRows` of the images.
        scale: Smallest and largest share of an image's area.
        seed: Integer, at least 0.
        epoch: Integer, at least 0.
    """

    def __init__(
        self, rows: FileRows, scale: tuple[float, float], seed: int, epoch: int
    ):
        super().__init__(len(rows), (VIEWS, *rows.shape), rows.dtype)
        self._rows = rows
        self._draws = (scale, seed, epoch)

    def read(self, numbers: Numbers) -> Images:
        return self._rows.read_crops(numbers, draw_crops(*self._draws, numbers))


class JoinedRows(Rows):
    """The rows of one source followed by the rows of another."""

    def __init__(self, first: Rows, second: Rows):
        super().__init__(len(first) + len(second), first.shape, first.dtype)
        self.first = first
        self.second = second

    def read(self, numbers: Numbers) -> Images:
        in_first = numbers < len(self.first)
        samples = np.empty((len(numbers), *self.shape), self.dtype)
        samples[in_first] = self.first.read(numbers[in_first])
        samples[~in_first] = self.second.read(
            numbers[~in_first] - len(self.first)
        )
        return samples


class SelectedRows(Rows):
    """Some rows of a source, read when they are needed.

    Args:
        rows: The source.
        numbers: Numbers of the rows.
    """

    def __init__(self, rows: Rows, numbers: Numbers):
        super().__init__(len(numbers), rows.shape, rows.dtype)
        self._rows = rows
        self._numbers = numbers

    def read(self, numbers: Numbers) -> Images:
        return self._rows.read(self._numbers[numbers])


def checked_rows(
    name: str,
    source: Images | Sequence[str | os.PathLike[str]] | FileRows,
    image_size: tuple[int, int] | None,
    reader: ImageReader,
    kinds: str = "a NumPy array or a sequence of paths",
) -> ArrayRows | FileRows:
    """Returns the rows of an array or of image files.

    Args:
        name: Name of the argument that `source` is, for the message.
        source: Array of finite real numbers, a sequence of paths, or the
            `FileRows` of files that are checked already.
        image_size: Tuple of integers `(height, width)`, for paths only.
        reader: The `ImageReader` that decodes files.
        kinds: Types that the argument may have, for the message.

    Returns:
        `ArrayRows` or `FileRows`.

    Raises:
        ValueError: If `source` is not valid, or the first file cannot be read.
    """
    if isinstance(source, FileRows):
        return source.with_reader(reader)
    if isinstance(source, np.ndarray) and source.dtype.kind != "U":
        if (
            source.dtype.kind not in "biuf"
            or source.ndim < 1
            or not source.size
        ):
            raise ValueError(
                f"`{name}` must be an array of real numbers, not empty. "
                f"Received: shape={source.shape}, dtype={source.dtype}"
            )
        check_finite(name, source)
        return ArrayRows(source)
    if isinstance(source, str | bytes) or not isinstance(
        source, np.ndarray | Sequence
    ):
        raise ValueError(
            f"`{name}` must be {kinds}. Received: {type(source).__name__}"
        )
    paths = _checked_paths(name, source, kinds)
    if not paths:
        raise ValueError(f"`{name}` must not be empty. Received: no path")
    if image_size is None:
        raise ValueError(
            "`image_size` must be given as (height, width) to read image "
            "files. Received: image_size=None"
        )
    check_sizes("image_size", image_size, ("height", "width"))
    # A wrong folder or a missing package raises now, not in the first epoch.
    read_images(paths[:1], image_size)
    return FileRows(paths, image_size, reader)


def _checked_paths(
    name: str, source: Images | Sequence[str | os.PathLike[str]], kinds: str
) -> Sequence[str]:
    if isinstance(source, PackedTexts):
        return source  # A list would take twice as much memory.
    for path in source:
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"`{name}` must be {kinds}. "
                f"Received a sequence that holds: {type(path).__name__}"
            )
    return [os.fspath(path) for path in source]


def check_finite(name: str, samples: Images, first_row: int = 0) -> None:
    """Raises if `samples` has NaN or infinity; the error names the row."""
    if samples.dtype.kind != "f" or not samples.size:
        return
    rows = max(1, _CHUNK_BYTES * len(samples) // samples.nbytes)
    for start in range(0, len(samples), rows):
        chunk = samples[start : start + rows]
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"`{name}` must be finite. Received: NaN or infinity in image "
                f"{first_row + start + int(np.argmin(finite))}"
            )
