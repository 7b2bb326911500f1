"""The base class of datasets whose order depends on seed and epoch."""

import dataclasses
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.look_ahead import LookAhead
from keras_ltssl.datasets.rows import Images, Numbers, Rows
from keras_ltssl.validation import check_integer

Ids = npt.NDArray[np.integer[Any]]


# Compared by identity, so that batches read ahead for an epoch are dropped when
# the epoch is composed again.
@dataclasses.dataclass(frozen=True, eq=False)
class Epoch:
    """The samples of an epoch, their ids, and the rows of each batch."""

    rows: Rows
    ids: Ids
    batches: list[Numbers]

    def read(self, index: int) -> tuple[Images, Ids]:
        """Returns a batch by its index."""
        numbers = self.batches[index]
        return self.rows.read(numbers), self.ids[numbers]


@dataclasses.dataclass(frozen=True)
class Request:
    """A batch of an epoch, and whether the ones after it will be needed."""

    epoch: Epoch
    index: int
    in_sequence: bool = dataclasses.field(default=True, compare=False)

    def following(self, count: int) -> list["Request"]:
        """Returns requests for the next batches of the epoch, if needed.

        Args:
            count: Integer, the largest number of batches.
        """
        if not self.in_sequence:
            return []
        end = min(self.index + 1 + count, len(self.epoch.batches))
        return [Request(self.epoch, i) for i in range(self.index + 1, end)]


class EpochBatches(keras.utils.PyDataset):
    """Base class: batches of successive epochs, read ahead by threads.

    Batches come in the order of `compose`. A subclass overrides `compose`, and
    sets `epoch` to 0 at the end of its constructor.

    Args:
        seed: Integer, at least 0, for the order.
        workers: Integer, number of threads that read batches ahead. With 0 or
            1, each batch is read when it is requested.
        max_queue_size: Integer, number of batches to read ahead.
        part: Pair `(index, count)`. Each batch is split into `count` parts of
            nearly equal size, and only the part of this index is read. `None`
            reads whole batches.
    """

    reads_ahead = True
    """Whether `fit` reads the next batches while a step runs."""

    def __init__(
        self,
        seed: int,
        workers: int,
        max_queue_size: int,
        part: tuple[int, int] | None = None,
    ):
        # Keras must not use its own workers.
        super().__init__(workers=1, use_multiprocessing=False)
        check_integer("workers", workers, minimum=0)
        check_integer("max_queue_size", max_queue_size, minimum=1)
        check_integer("seed", seed, minimum=0)
        self.seed = seed
        self.part = None if part is None else checked_part(part)
        self._num_ahead = max_queue_size
        self._look_ahead = (
            LookAhead(_read_batch, num_threads=workers) if workers > 1 else None
        )

    def compose(self, epoch: int) -> Epoch:
        """Returns the `Epoch` of this number."""
        raise NotImplementedError

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 0."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        check_integer("epoch", epoch, minimum=0)
        self._epoch = int(epoch)
        self._current = self._part_of(self.compose(self._epoch))
        self._last_index = -1
        self._reached_the_end = False

    def _part_of(self, epoch: Epoch) -> Epoch:
        if self.part is None:
            return epoch
        index, count = self.part
        smallest = min(len(batch) for batch in epoch.batches)
        if smallest < count:
            raise ValueError(
                "Every batch must have a sample for each part. Received: "
                f"part={self.part}, and a batch of {smallest} samples"
            )
        batches = [np.array_split(b, count)[index] for b in epoch.batches]
        return dataclasses.replace(epoch, batches=batches)

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return len(self._current.batches)

    @property
    def batch_sizes(self) -> list[int]:
        """Number of samples in each batch of the epoch."""
        return [len(numbers) for numbers in self._current.batches]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._current.rows.shape

    def first_samples(self, count: int) -> Images:
        """Returns up to `count` samples, without effect on `fit`.

        Args:
            count: Integer >= 1.
        """
        numbers = self._current.batches[0][:count]
        return self._current.rows.read(numbers)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> tuple[Images, Ids]:
        return self.read(self.request(index))

    def request(self, index: int) -> "Request":
        """Notes that a batch is used. It is not read yet.

        Args:
            index: Integer, index of the batch in its epoch.

        Returns:
            What `read` takes.
        """
        num_batches = len(self._current.batches)
        if not 0 <= index < num_batches:
            raise IndexError(
                f"`index` must lie in 0 ... {num_batches - 1}. "
                f"Received: {index=}"
            )
        if index == num_batches - 1:
            self._reached_the_end = True
        # Read ahead only if batches are requested in sequence, which they are
        # not under `fit(shuffle=True)` of a plain Keras model.
        in_sequence = index in (0, self._last_index + 1)
        self._last_index = index
        return Request(self._current, index, in_sequence)

    def read(self, request: "Request") -> tuple[Images, Ids]:
        """Returns a batch. It has no effect on `epoch`.

        Args:
            request: What `request` returned, or one of the following requests.
        """
        if self._look_ahead is None:
            return request.epoch.read(request.index)
        return self._look_ahead.get(request, request.following(self._num_ahead))

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch if the last batch was requested."""
        if self._reached_the_end:
            self.epoch += 1

    def _permutation(self, epoch: int, num_samples: int) -> Numbers:
        generator = np.random.default_rng([self.seed, epoch])
        return generator.permutation(num_samples)


def checked_part(part: tuple[int, int]) -> tuple[int, int]:
    """Returns a pair `(index, count)`; raises if it is not one."""
    if (
        not isinstance(part, tuple | list)
        or len(part) != 2
        or not all(
            isinstance(number, int) and not isinstance(number, bool)
            for number in part
        )
        or not 0 <= part[0] < part[1]
    ):
        raise ValueError(
            "`part` must be a pair of integers (index, count) with "
            f"0 <= index < count. Received: part={part!r}"
        )
    return part[0], part[1]


def _read_batch(request: Request) -> tuple[Images, Ids]:
    return request.epoch.read(request.index)
