"""Batches of images and sample ids, in an order that can be repeated."""

import math
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.image_files import read_images
from keras_ltssl.datasets.long_tail import check_integer
from keras_ltssl.datasets.look_ahead import LookAhead

Images = npt.NDArray[Any]
Ids = npt.NDArray[np.integer[Any]]

# Bytes of a float array that are checked for NaN at a time.
_CHUNK_BYTES = 2**24


class ImageBatches(keras.utils.PyDataset):
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

    Image files are decoded when their batch is due, by `workers` threads that
    belong to this class. Keras's own workers, which `PyDataset` offers, repeat
    some batches and leave out others when `fit` builds a model (PyTorch and
    JAX, Keras 3.15), and there is no choice of processes: decoding releases
    Python's global lock, so threads use all cores, and forking a process with
    a running backend is unsafe.

    Args:
        images: Array of shape `(n, ...)` and any real numeric dtype (also a
            `numpy.memmap`), held without a copy; or a sequence of `n` paths of
            image files, see `read_images`.
        ids: Integer array of shape `(n,)`, at least -1: the row of each image
            in the training set, -1 if it is out of distribution. Defaults to
            `None`, which numbers the images from 0 to `n - 1`.
        batch_size: Integer, number of images in a batch. Defaults to `256`.
        seed: Integer, at least 0, for the order. Defaults to `0`.
        shuffle: Boolean, whether each epoch has an order of its own. If
            `False`, images come in the order given. Defaults to `True`.
        image_size: Tuple of integers `(height, width)` in pixels, required for
            files and meaningless for an array. Defaults to `None`.
        workers: Integer, number of threads that read batches ahead. 0 or 1
            read each batch when it is asked for. Defaults to `1`.
        max_queue_size: Integer, number of batches that `workers` read ahead.
            Defaults to `10`.

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
        max_queue_size: int = 10,
    ):
        # Keras must not put its own workers in between.
        super().__init__(workers=1, use_multiprocessing=False)
        check_integer("batch_size", batch_size, minimum=1)
        check_integer("workers", workers, minimum=0)
        check_integer("max_queue_size", max_queue_size, minimum=1)
        check_integer("seed", seed, minimum=0)
        self.images = _checked_images(images, image_size)
        self.ids = _checked_ids(ids, num_images=len(self.images))
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.image_size = image_size
        self._num_ahead = max_queue_size
        self._look_ahead = (
            LookAhead(self._read_batch, num_threads=workers)
            if workers > 1
            else None
        )
        self.epoch = 0

    @property
    def epoch(self) -> int:
        """Number of the epoch whose order is in force, from 0."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        check_integer("epoch", epoch, minimum=0)
        self._epoch = int(epoch)
        self._order = (self._epoch, self._order_of(self._epoch))
        self._last_index = -1
        self._reached_the_end = False

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self.ids) / self.batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> tuple[Images, Ids]:
        if not 0 <= index < self.num_batches:
            raise IndexError(
                f"`index` must lie in 0 ... {self.num_batches - 1}. "
                f"Received: {index=}"
            )
        if index == self.num_batches - 1:
            self._reached_the_end = True
        if self._look_ahead is None:
            return self._read_batch((self.epoch, index))
        # Out of sequence, as under `fit(shuffle=True)`, what follows here is
        # not what is wanted next, and reading it would be wasted work.
        in_sequence = index in (0, self._last_index + 1)
        self._last_index = index
        end = index + 1 + (self._num_ahead if in_sequence else 0)
        return self._look_ahead.get(
            (self.epoch, index),
            following=[
                (self.epoch, later)
                for later in range(index + 1, min(end, self.num_batches))
            ],
        )

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch, if this one reached its last batch."""
        if self._reached_the_end:
            self.epoch += 1

    def _read_batch(self, key: tuple[int, int]) -> tuple[Images, Ids]:
        epoch, index = key
        order_epoch, order = self._order
        # A thread may still be at work on a batch of an epoch that is over.
        if order_epoch != epoch:
            order = self._order_of(epoch)
        start = index * self.batch_size
        rows = order[start : start + self.batch_size]
        if isinstance(self.images, np.ndarray):
            batch = np.asarray(self.images[rows])
        else:
            assert self.image_size is not None
            paths = [self.images[row] for row in rows]
            batch = read_images(paths, self.image_size)
        return batch, self.ids[rows]

    def _order_of(self, epoch: int) -> npt.NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(self.ids))
        generator = np.random.default_rng([self.seed, epoch])
        return generator.permutation(len(self.ids))


def _checked_images(
    images: Images | Sequence[str | os.PathLike[str]],
    image_size: tuple[int, int] | None,
) -> Images | list[str]:
    if isinstance(images, np.ndarray) and images.dtype.kind != "U":
        if (
            images.dtype.kind not in "biuf"
            or images.ndim < 1
            or not images.size
        ):
            raise ValueError(
                "`images` must be an array of real numbers, not empty. "
                f"Received: shape={images.shape}, dtype={images.dtype}"
            )
        if image_size is not None:
            raise ValueError(
                "`image_size` is for image files; an array has its size. "
                f"Received: {image_size=}, images.shape={images.shape}"
            )
        _check_finite(images)
        return images
    if isinstance(images, str | bytes) or not isinstance(
        images, np.ndarray | Sequence
    ):
        raise ValueError(
            "`images` must be a NumPy array or a sequence of paths. "
            f"Received: {type(images).__name__}"
        )
    for path in images:
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                "`images` must be a NumPy array or a sequence of paths. "
                f"Received a sequence that holds: {type(path).__name__}"
            )
    paths = [os.fspath(path) for path in images]
    if not paths:
        raise ValueError("`images` must not be empty. Received: no path")
    if image_size is None:
        raise ValueError(
            "`image_size` must be given as (height, width) to read image "
            "files. Received: image_size=None"
        )
    if (
        not isinstance(image_size, tuple | list)
        or len(image_size) != 2
        or not all(isinstance(n, int) and n >= 1 for n in image_size)
    ):
        raise ValueError(
            "`image_size` must be two integers >= 1, (height, width). "
            f"Received: {image_size=}"
        )
    # A wrong folder or a missing package shows here, not in the first epoch.
    read_images(paths[:1], image_size)
    return paths


def _check_finite(images: Images) -> None:
    if images.dtype.kind != "f":
        return
    rows = max(1, _CHUNK_BYTES * len(images) // images.nbytes)
    for start in range(0, len(images), rows):
        chunk = images[start : start + rows]
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                "`images` must be finite. Received: NaN or infinity in image "
                f"{start + int(np.argmin(finite))}"
            )


def _checked_ids(ids: npt.ArrayLike | None, num_images: int) -> Ids:
    if ids is None:
        numbers: npt.NDArray[Any] = np.arange(num_images)
    else:
        numbers = np.asarray(ids)
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
    small = int(numbers.max()) <= np.iinfo(np.int32).max
    return numbers.astype(np.int32 if small else np.int64)
