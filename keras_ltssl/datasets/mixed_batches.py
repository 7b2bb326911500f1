"""Batches of in-distribution samples and of chosen samples of a pool."""

import math

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.dataset_rows import DatasetRows
from keras_ltssl.datasets.epoch_batches import (
    Epoch,
    EpochBatches,
    Request,
)
from keras_ltssl.datasets.image_batches import checked_ids
from keras_ltssl.datasets.image_reader import ImageReader
from keras_ltssl.datasets.rows import JoinedRows, Numbers
from keras_ltssl.datasets.sample_sources import (
    Source,
    are_paths,
    check_alike,
    rows_of,
)
from keras_ltssl.validation import as_array, check_integer


class MixedBatches(EpochBatches):
    """Yields `(images, ids)` batches of in- and out-of-distribution samples.

    An epoch holds each in-distribution (ID) sample once, with its row as its
    id, and each sample of `chosen` once, with id -1. They are shuffled
    together. `chosen` holds rows of an out-of-distribution (OOD) `pool`. It is
    empty at first, and may be set between epochs:

    ```python
    data = MixedBatches(images, pool=others, budget=10_000, batch_size=512)

    class Choose(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch % 25 == 0:
                data.chosen = rows_of_the_pool(data.pool_rows)

    model.fit(data, epochs=200, callbacks=[Choose()])
    ```

    Keras fixes the number of batches when `fit` starts, so it never changes
    here (this package's own design; the published code makes a new loader for
    each choice):

        num_batches = ceil((num_id + budget) / batch_size)

    The samples of an epoch are spread evenly over the batches, whose sizes
    differ by at most one. A batch has about `batch_size` samples if the whole
    budget is chosen, and fewer before. For example, 11,165 ID samples and a
    budget of 10,000 make 42 batches, of 266 samples before the choice and of
    504 after it. A choice does not change schedules that count steps.

    The order depends only on the seed, the epoch and the set of chosen rows.
    See `ImageBatches` for `epoch`, `on_epoch_end`, and how to resume a run; its
    checkpoint also needs what chooses: `ResumableCheckpoint(folder,
    callbacks=[sampler])`. Without one, set `epoch` and `chosen`.

    `images` and `pool` may each be an array, a sequence of image paths or a
    `PyDataset`. Their samples must have one shape and dtype; files are `uint8`
    of shape `(height, width, 3)`. An `ImageBatches` gives its array or paths.

    **Any other `PyDataset` can only read whole batches, so its samples are held
    in memory**: all of `images`, read by the constructor, and the chosen rows
    of `pool`, read when they are chosen. Its batches must be the same each time
    and of one size; only the last may be smaller. `on_epoch_end` of it is never
    called, and `y` of batches `(x, y)` is not used.

    Args:
        images: The ID samples: an array of shape `(n, ...)` and any real
            numeric dtype, which is not copied and may be a `numpy.memmap`; a
            sequence of `n` paths of image files, see `read_images`; or a
            `PyDataset`.
        pool: The OOD samples to choose from, in one of the same forms.
        budget: Integer, the largest number of samples that may be chosen, at
            most the size of the pool.
        batch_size: Integer, number of samples in the largest batch. Defaults
            to `256`.
        seed: Integer, at least 0, for the order. Defaults to `0`.
        image_size: Tuple of integers `(height, width)` in pixels. Required for
            paths, and refused without paths. Defaults to `None`.
        workers: Integer, number of threads that read batches ahead. With 0 or
            1, each batch is read when it is requested. Defaults to `1`.
        use_multiprocessing: Boolean, whether `workers` processes instead of
            threads decode image files, see `ImageBatches`. Defaults to
            `False`.
        max_queue_size: Integer, number of batches that `workers` read ahead.
            Defaults to `10`.
        part: Pair of integers `(index, count)`, for processes that train
            together. Each batch is split into `count` equal parts, and only
            the part of this index is read. Defaults to `None`, whole batches.

    Indexing returns:
        Tuple `(images, ids)`: array of shape `(batch, ...)`, and ids of shape
        `(batch,)`, `int32` unless one is too large for it.

    Attributes:
        id_rows: All ID samples, in order, for example to embed them. They have
            a length, the `shape` of one sample and a `dtype`, and
            `id_rows[0:256]` or `id_rows[[5, 3]]` returns an array of rows.
            `workers` decode files.
        pool_rows: The samples of the pool in the same form. If the pool is a
            `PyDataset`, a pass in ascending order reads each batch once.
        num_batches_read: Number of batches requested in this process so far.

    Raises:
        ValueError: If an argument is out of range, the samples of `pool` have
            another shape or dtype than those of `images`, floats are NaN or
            infinite, a file cannot be read, a `PyDataset` breaks the rules
            above, or batches would have fewer than two samples, which a
            contrastive loss needs. Files after the first, and batches of the
            pool between the first and last, are checked when they are read.

    Example:

    >>> import numpy as np
    >>> images, pool = np.zeros((6, 8, 8, 3)), np.ones((100, 8, 8, 3))
    >>> data = MixedBatches(images, pool, budget=4, batch_size=4)
    >>> [len(ids) for _, ids in data]
    [2, 2, 2]
    >>> data.chosen = [70, 20, 50]
    >>> [len(ids) for _, ids in data]
    [3, 3, 3]
    >>> sorted(np.concatenate([ids for _, ids in data]).tolist())
    [-1, -1, -1, 0, 1, 2, 3, 4, 5]

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """

    def __init__(
        self,
        images: Source,
        pool: Source,
        budget: int,
        batch_size: int = 256,
        seed: int = 0,
        image_size: tuple[int, int] | None = None,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
        part: tuple[int, int] | None = None,
    ):
        super().__init__(seed, workers, max_queue_size, part)
        check_integer("batch_size", batch_size, minimum=2)
        check_integer("budget", budget, minimum=1)
        if image_size is not None and not (
            are_paths(images) or are_paths(pool)
        ):
            raise ValueError(
                "`image_size` is for paths of image files; neither `images` "
                f"nor `pool` is a sequence of paths. Received: {image_size=}"
            )
        reader = ImageReader(workers, use_multiprocessing)
        self.pool_rows = rows_of("pool", pool, image_size, reader)
        if budget > len(self.pool_rows):
            raise ValueError(
                "`budget` must not be larger than the pool. Received: "
                f"{budget=}, samples in `pool`: {len(self.pool_rows)}"
            )
        id_rows = rows_of("images", images, image_size, reader)
        check_alike(id_rows, self.pool_rows)
        num_id = len(id_rows)
        num_batches = math.ceil((num_id + budget) / batch_size)
        if num_id < 2 * num_batches:
            raise ValueError(
                "`images` must have two samples for each batch, since there "
                "are no others before the first choice. Received: "
                f"{num_id} samples for {num_batches} batches of up to "
                f"{batch_size}, with a budget of {budget} (choose a smaller "
                "`budget` or a larger `batch_size`)"
            )
        if isinstance(id_rows, DatasetRows):
            id_rows = id_rows.select(np.arange(num_id))
        self.id_rows = id_rows
        self.budget = budget
        self.batch_size = batch_size
        self.num_batches_read = 0
        self._num_batches = num_batches
        self._id_ids = checked_ids(None, num_id)
        self._choose(np.empty(0, np.int64))
        self.epoch = 0

    @property
    def chosen(self) -> Numbers:
        """Rows of the pool to train on.

        A one-dimensional array of at most `budget` different integers, in any
        order. Rows that are set before an epoch begins, for example in the
        `on_epoch_begin` of a callback, are part of that epoch. Rows that are
        set within an epoch are part of the next one. An epoch begins when Keras
        says so, and at batch 0. If `steps_per_epoch` divides an epoch of this
        class into pieces, each piece counts as an epoch.
        """
        return self._chosen

    @chosen.setter
    def chosen(self, chosen: npt.ArrayLike) -> None:
        numbers = as_array("chosen", chosen)
        if numbers.ndim != 1 or (
            numbers.size and numbers.dtype.kind not in "iu"
        ):
            raise ValueError(
                "`chosen` must be a one-dimensional array of integers, rows "
                f"of the pool. Received: shape={numbers.shape}, "
                f"dtype={numbers.dtype}"
            )
        if len(numbers) > self.budget:
            raise ValueError(
                f"`chosen` must hold at most `budget` rows, {self.budget}. "
                f"Received: {len(numbers)}"
            )
        if numbers.size and not (
            numbers.min() >= 0 and numbers.max() < len(self.pool_rows)
        ):
            raise ValueError(
                "`chosen` must be rows of the pool, "
                f"0 ... {len(self.pool_rows) - 1}. "
                f"Received: {numbers.min()} to {numbers.max()}"
            )
        values, counts = np.unique(numbers, return_counts=True)
        if len(values) < len(numbers):
            raise ValueError(
                "`chosen` must hold no row twice. Received: row "
                f"{values[counts.argmax()]}, {counts.max()} times"
            )
        self._choose(numbers.astype(np.int64))
        if not self._has_begun:
            self._begin()

    def compose(self, epoch: int) -> Epoch:
        self._has_begun = False
        self._is_composed = True
        rows = JoinedRows(self.id_rows, self._chosen_rows)
        out_of_distribution = np.full(
            len(self._chosen_rows), -1, self._id_ids.dtype
        )
        return Epoch(
            rows,
            np.concatenate([self._id_ids, out_of_distribution]),
            np.array_split(
                self._permutation(epoch, len(rows)), self._num_batches
            ),
        )

    def request(self, index: int) -> Request:
        if index == 0:
            self._begin()
        self._has_begun = True
        self.num_batches_read += 1
        return super().request(index)

    def on_epoch_begin(self) -> None:
        """Begins an epoch with the rows that are chosen now."""
        # TensorFlow's thread may read ahead after an epoch has ended, so a
        # choice for the next epoch seems to come within the last one.
        self._begin()

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch if the last batch was requested."""
        super().on_epoch_end()
        self._begin()

    def _begin(self) -> None:
        self._has_begun = False
        if not self._is_composed:
            self.epoch = self.epoch

    def _choose(self, chosen: Numbers) -> None:
        self._chosen_rows = self.pool_rows.select(np.sort(chosen))
        chosen.flags.writeable = False
        self._chosen = chosen
        self._is_composed = False
