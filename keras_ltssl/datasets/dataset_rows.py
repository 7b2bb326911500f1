"""The samples of a `PyDataset`, read by row number."""

from typing import Any

import keras
import numpy as np

from keras_ltssl.datasets.rows import (
    ArrayRows,
    Images,
    Numbers,
    Rows,
    check_finite,
)


class DatasetRows(Rows):
    """The samples of a `PyDataset`, which can only read whole batches.

    Rows are numbered through the batches in order. All batches have the size
    of the first; only the last may be smaller. The latest batch is kept, so a
    pass in order reads each batch once. `on_epoch_end` is never called, so a
    dataset that shuffles itself there keeps its order.

    Args:
        name: Name of the argument that `dataset` is, for messages.
        dataset: `keras.utils.PyDataset` of batches `x` or `(x, ...)`. An index
            must always give the same batch.
    """

    def __init__(self, name: str, dataset: keras.utils.PyDataset):
        self._name = name
        self._dataset = dataset
        num_batches = dataset.num_batches
        if not num_batches:
            raise ValueError(
                f"`{name}` must have a known number of batches, at least one. "
                f"Received: num_batches={num_batches}"
            )
        first = self._samples_of(0)
        if not np.array_equal(first, self._samples_of(0)):
            raise ValueError(
                f"`{name}` must always give the same batch for the same index; "
                "shuffle and augment later. Received: two different batches "
                "for index 0"
            )
        self._batch_size = len(first)
        last = first if num_batches == 1 else self._samples_of(num_batches - 1)
        num_rows = (num_batches - 1) * self._batch_size + len(last)
        super().__init__(num_rows, first.shape[1:], first.dtype)
        self._read_last = (0, first)
        self._check_batch(0, first)
        self._check_batch(num_batches - 1, last)

    def read(self, numbers: Numbers) -> Images:
        samples = np.empty((len(numbers), *self.shape), self.dtype)
        order = np.argsort(numbers, kind="stable")
        batches, starts = np.unique(
            numbers[order] // self._batch_size, return_index=True
        )
        for batch, places in zip(
            batches, np.split(order, starts[1:]), strict=False
        ):
            samples[places] = self._batch(int(batch))[
                numbers[places] - batch * self._batch_size
            ]
        return samples

    def select(self, numbers: Numbers) -> Rows:
        return ArrayRows(self.read(numbers))

    def _batch(self, number: int) -> Images:
        last_number, samples = self._read_last
        if number != last_number:
            samples = self._samples_of(number)
            self._check_batch(number, samples)
            self._read_last = (number, samples)
        return samples

    def _samples_of(self, number: int) -> Images:
        batch: Any = self._dataset[number]
        x = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if keras.ops.is_tensor(x):
            x = keras.ops.convert_to_numpy(x)
        if (
            not isinstance(x, np.ndarray)
            or x.dtype.kind not in "biuf"
            or x.ndim < 1
            or not x.size
        ):
            what = (
                f"shape={x.shape}, dtype={x.dtype}"
                if isinstance(x, np.ndarray)
                else type(x).__name__
            )
            raise ValueError(
                f"`{self._name}` must yield batches `x` or `(x, ...)` where x "
                "is an array of real numbers, not empty. "
                f"Received: {what} in batch {number}"
            )
        return x

    def _check_batch(self, number: int, samples: Images) -> None:
        start = number * self._batch_size
        size = min(self._batch_size, len(self) - start)
        if samples.shape != (size, *self.shape) or samples.dtype != self.dtype:
            raise ValueError(
                f"`{self._name}` must yield batches of one size, shape and "
                "dtype; only the last may be smaller. Expected: "
                f"shape={(size, *self.shape)}, dtype={self.dtype}. Received: "
                f"shape={samples.shape}, dtype={samples.dtype} in batch "
                f"{number}"
            )
        check_finite(self._name, samples, first_row=start)
