"""Batches of images and sample ids, in an order that can be repeated."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.epoch_batches import Epoch, EpochBatches, Ids
from keras_ltssl.datasets.image_reader import ImageReader
from keras_ltssl.datasets.rows import FileRows, Images, checked_rows
from keras_ltssl.sample_ids import check_distinct
from keras_ltssl.validation import as_array, check_boolean, check_integer


class ImageBatches(EpochBatches):
    """Yields `(images, ids)` batches from an array or from image files.

    Every image comes once per epoch, the last batch may be smaller, and the
    order within an epoch depends on `(seed, epoch)` alone: not on the backend,
    on other random numbers, on `workers`, or on earlier epochs. A run that is
    continued at epoch 7 sees what an uninterrupted run sees from there:

    ```python
    batches = ImageBatches(images, batch_size=512, seed=1)
    batches.epoch = 7
    model.fit(batches, shuffle=False, initial_epoch=7, epochs=200)
    ```

    **Pass `shuffle=False` to `fit`.** By default it asks for the batches of a
    `PyDataset` in an order from Python's global random numbers. Each batch
    stays the same and each image still comes once, but the order of the
    batches is then not that of this class, and nothing can be read ahead.

    `epoch` moves on by one in `on_epoch_end`, if the last batch of the epoch
    has been asked for: Keras calls `on_epoch_end` also before the first epoch
    and after looking at the first batches for their shapes, and these calls
    change nothing. An epoch that was cut short begins again. (With fewer than
    three batches, that look takes in the last one, so `fit` may start one
    epoch further on.) `evaluate` and `predict` run through an epoch like any
    other: give them a dataset of their own.

    Image files are decoded when their batch is due, by `workers` threads or
    processes that belong to this class. Keras's own workers, which `PyDataset`
    offers, repeat some batches and leave out others when `fit` builds a model
    (PyTorch and JAX, Keras 3.15).

    Threads are the better choice as a rule: decoding releases Python's global
    lock, so they use all cores. Processes cannot be forked safely from one with
    a running backend. They are started afresh, which takes some seconds and
    the memory of an import of the backend each, and import the main script
    anew, so what it does must stand under a guard:

    ```python
    if __name__ == "__main__":
        data = ImageBatches(
            paths, image_size=(64, 64), workers=4, use_multiprocessing=True
        )
        model.fit(data, shuffle=False)
    ```

    They decode files; rows of an array lie in this process, where threads get
    at them without a copy for each process.

    Args:
        images: Array of shape `(n, ...)` and any real numeric dtype (also a
            `numpy.memmap`), held without a copy; or a sequence of `n` paths of
            image files, see `read_images`.
        ids: Integer array of shape `(n,)`, at least -1: the row of each image
            in the training set, -1 if it is out of distribution. No row may
            come twice, as in class labels. Defaults to `None`, which numbers
            the images from 0 to `n - 1`.
        batch_size: Integer, number of images in a batch. Defaults to `256`.
        seed: Integer, at least 0, for the order. Defaults to `0`.
        shuffle: Boolean, whether each epoch has an order of its own. If
            `False`, images come in the order given. Defaults to `True`.
        image_size: Tuple of integers `(height, width)` in pixels, required for
            files and meaningless for an array. Defaults to `None`.
        workers: Integer, number of threads that read batches ahead. 0 or 1
            read each batch when it is asked for. Defaults to `1`.
        use_multiprocessing: Boolean, whether image files are decoded by
            `workers` processes instead of threads, if these are two or more.
            Defaults to `False`.
        max_queue_size: Integer, number of batches that `workers` read ahead.
            Defaults to `10`.
        part: Pair of integers `(index, count)`: of every batch, which
            `batch_size` is the size of, only the part of this index of `count`
            equal ones. For processes that train together. Defaults to `None`,
            whole batches.

    Indexing returns:
        Tuple `(images, ids)`: an array of shape `(batch, ...)`, for files
        `uint8` of shape `(batch, height, width, 3)`; and ids of shape
        `(batch,)`, `int32` unless one is too large for it.

    Raises:
        ValueError: If an argument is out of range, an array of floats holds
            NaN or infinity, or the first file cannot be read. Any other
            file that cannot be read raises when its batch is due; the message
            names it.

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
        images: Images | Sequence[str | os.PathLike[str]],
        ids: npt.ArrayLike | None = None,
        batch_size: int = 256,
        seed: int = 0,
        shuffle: bool = True,
        image_size: tuple[int, int] | None = None,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
        part: tuple[int, int] | None = None,
    ):
        super().__init__(seed, workers, max_queue_size, part)
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
        self.ids = checked_ids(ids, num_images=len(self.rows))
        self.batch_size = batch_size
        self.shuffle = check_boolean("shuffle", shuffle)
        self.image_size = image_size
        self.epoch = 0

    @property
    def images(self) -> Images | Sequence[str]:
        """The array, or the paths."""
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
        return Epoch(self.rows, self.ids, np.split(order, ends))


def checked_ids(ids: npt.ArrayLike | None, num_images: int) -> Ids:
    """Returns ids of the smallest dtype that is used, or raises an error."""
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
