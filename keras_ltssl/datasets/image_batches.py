"""Batches of images and sample ids in a reproducible order."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.epoch_batches import Epoch, EpochBatches, Ids
from keras_ltssl.datasets.image_reader import ImageReader
from keras_ltssl.datasets.rows import (
    CroppedRows,
    FileRows,
    Images,
    Rows,
    checked_rows,
)
from keras_ltssl.sample_ids import check_distinct
from keras_ltssl.validation import (
    as_array,
    check_boolean,
    check_integer,
    check_pair,
)


class ImageBatches(EpochBatches):
    """Yields `(images, ids)` batches from an array or from image files.

    Each image comes once per epoch. The last batch may be smaller. The order of
    an epoch depends only on `(seed, epoch)`. It does not depend on the
    backend, other random numbers, `workers` or earlier epochs, nor in
    `ContrastiveModel.fit` on the argument `shuffle`. A run that was killed and
    is started again therefore reads the same batches as an uninterrupted run:

    ```python
    batches = ImageBatches(images, batch_size=512, seed=1)
    model.fit(batches, epochs=200, callbacks=[ResumableCheckpoint(folder)])
    ```

    Without a checkpoint, set the epoch to go on with. The `fit` of a plain
    `keras.Model` also needs `shuffle=False`: by default it requests the
    batches of a `PyDataset` in an order from Python's global random numbers:

    ```python
    batches.epoch = 7
    model.fit(batches, initial_epoch=7, epochs=200, shuffle=False)
    ```

    `on_epoch_end` moves `epoch` on by one if the last batch of the epoch was
    requested. Keras also calls it before the first epoch, and after it has read
    the first batches to find their shapes; these calls change nothing. An epoch
    that was interrupted begins again. With fewer than three batches, Keras
    reads the last one while it looks for shapes, so `fit` may begin one epoch
    later. `evaluate` and `predict` also use up an epoch; give them a dataset of
    their own.

    `ContrastiveModel.fit` reads the next two batches, and copies them to a GPU,
    while a step runs. Nothing else depends on it. To turn it off, set
    `batches.reads_ahead = False`.

    Image files are decoded when their batch is read, by `workers` threads or
    processes of this class. The workers of `PyDataset` itself are not used:
    when `fit` builds a model, they repeat some batches and skip others (PyTorch
    and JAX, Keras 3.15).

    Threads are usually the better choice. Decoding releases Python's global
    lock, so they use all cores. A process with a running backend cannot be
    forked safely. Worker processes are therefore started from scratch: each
    takes some seconds, and the memory of an import of the backend. They also
    import the main script, which must be guarded:

    ```python
    if __name__ == "__main__":
        data = ImageBatches(
            paths, image_size=(64, 64), workers=4, use_multiprocessing=True
        )
        model.fit(data)
    ```

    Processes only decode files. Arrays are read by threads, which need no copy
    of the array.

    Args:
        images: Array of shape `(n, ...)` and any real numeric dtype, which is
            not copied and may be a `numpy.memmap`; or a sequence of `n` paths
            of image files, see `read_images`.
        ids: Integer array of shape `(n,)`: the row of each image in the
            training set, or -1 if it is out of distribution. No row may be
            repeated, so class labels are refused. Defaults to `None`, which
            numbers the images from 0 to `n - 1`.
        batch_size: Integer, number of images in a batch. Defaults to `256`.
        seed: Integer, at least 0, for the order. Defaults to `0`.
        shuffle: Boolean, whether each epoch has an order of its own. If
            `False`, images come in the order given. Defaults to `True`.
        image_size: Tuple of integers `(height, width)` in pixels. Required for
            files, and refused for an array. Defaults to `None`.
        workers: Integer, number of threads that read batches ahead. With 0 or
            1, each batch is read when it is requested. Defaults to `1`.
        use_multiprocessing: Boolean, whether image files are decoded by
            `workers` processes instead of threads. It has an effect if
            `workers` is at least 2. Defaults to `False`.
        max_queue_size: Integer, number of batches that `workers` read ahead.
            Defaults to `10`.
        part: Pair of integers `(index, count)`, for processes that train
            together. Each batch of `batch_size` images is split into `count`
            equal parts, and only the part of this index is read. Defaults to
            `None`, whole batches.

        crop_scale: Pair of floats in `(0, 1]`, for files: batches then hold two
            random crops of each image, which is decoded once. They have this
            smallest and largest share of its area, and are resized to
            `image_size`. Their windows are those of `RandomResizedCrop`, and
            depend only on the seed, the epoch and the row of the image. The
            model needs an augmenter that takes them, such as
            `simclr_views(size, scale=None)`. Defaults to `None`, no crops.

    Indexing returns:
        Tuple `(images, ids)`: an array of shape `(batch, ...)`, for files
        `uint8` of shape `(batch, height, width, 3)`, or `(batch, 2, height,
        width, 3)` with `crop_scale`; and ids of shape
        `(batch,)`, `int32` unless one is too large for it.

    Raises:
        ValueError: If an argument is out of range, an array of floats holds
            NaN or infinity, or the first file cannot be read. Any other file
            that cannot be read raises an error that names it when its batch is
            read.

    Example:

    >>> import numpy as np
    >>> batches = ImageBatches(np.zeros((10, 8, 8, 3), "uint8"), batch_size=4)
    >>> [ids.shape for _, ids in batches]
    [(4,), (4,), (2,)]
    >>> sorted(np.concatenate([ids for _, ids in batches]).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(
        self,
        images: Images | Sequence[str | os.PathLike[str]] | FileRows,
        ids: npt.ArrayLike | None = None,
        batch_size: int = 256,
        seed: int = 0,
        shuffle: bool = True,
        image_size: tuple[int, int] | None = None,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
        part: tuple[int, int] | None = None,
        crop_scale: tuple[float, float] | None = None,
    ):
        super().__init__(seed, workers, max_queue_size, part)
        self.crop_scale = checked_crop_scale(crop_scale)
        check_integer("batch_size", batch_size, minimum=1)
        self.rows = checked_rows(
            "images",
            images,
            image_size,
            ImageReader(workers, use_multiprocessing),
        )
        if image_size is not None and not isinstance(self.rows, FileRows):
            raise ValueError(
                "`image_size` is for image files; an array has its size. "
                f"Received: {image_size=}, a sample's shape={self.rows.shape}"
            )
        if crop_scale is not None and not isinstance(self.rows, FileRows):
            raise ValueError(
                "`crop_scale` is for image files; crops of an array are made "
                f"by the model's augmenter. Received: {crop_scale=}, a "
                f"sample's shape={self.rows.shape}"
            )
        self.ids = checked_ids(ids, num_images=len(self.rows))
        self.batch_size = batch_size
        self.shuffle = check_boolean("shuffle", shuffle)
        self.image_size = (
            self.rows.image_size if isinstance(self.rows, FileRows) else None
        )
        self.epoch = 0

    @property
    def images(self) -> Images | Sequence[str]:
        """The array or the paths that were given."""
        if isinstance(self.rows, FileRows):
            return self.rows.paths
        return self.rows.array

    def compose(self, epoch: int) -> Epoch:
        num_images = len(self.rows)
        order = (
            self._permutation(epoch, num_images)
            if self.shuffle
            else np.arange(num_images)
        )
        ends = np.arange(self.batch_size, num_images, self.batch_size)
        rows: Rows = self.rows
        if self.crop_scale is not None and isinstance(rows, FileRows):
            rows = CroppedRows(rows, self.crop_scale, self.seed, epoch)
        return Epoch(rows, self.ids, np.split(order, ends))


def checked_crop_scale(
    crop_scale: tuple[float, float] | None,
) -> tuple[float, float] | None:
    """Returns a pair of shares of an area, or `None`; raises if it is none."""
    if crop_scale is None:
        return None
    smallest, largest = check_pair("crop_scale", crop_scale, above=0, maximum=1)
    return float(smallest), float(largest)


def checked_ids(ids: npt.ArrayLike | None, num_images: int) -> Ids:
    """Returns ids as `int32` or `int64`; raises if they are not valid."""
    if ids is None:
        numbers: npt.NDArray[Any] = np.arange(num_images)
    else:
        numbers = as_array("ids", ids)
        if numbers.shape != (num_images,) or numbers.dtype.kind not in "iu":
            raise ValueError(
                "`ids` must hold one integer per image, "
                f"shape=({num_images},). Received: shape={numbers.shape}, "
                f"dtype={numbers.dtype}"
            )
        if numbers.min() < -1 or numbers.max() > np.iinfo(np.int64).max:
            raise ValueError(
                "`ids` must be rows of the training set, or -1 for images out "
                f"of distribution. Received: {numbers.min()} to {numbers.max()}"
            )
        check_distinct("ids", numbers)
    small = int(numbers.max()) <= np.iinfo(np.int32).max
    return numbers.astype(np.int32 if small else np.int64)
