"""Batches that are read, and sent to the device, while a step runs."""

from typing import Any, Protocol

import keras

from keras_ltssl.datasets.epoch_batches import EpochBatches, Request
from keras_ltssl.datasets.look_ahead import LookAhead

BATCHES_AHEAD = 2
"""How many batches wait for the device at most."""


class Transfer(Protocol):
    """How the arrays of a batch get to the device."""

    def send(self, batch: Any) -> Any:
        """Begins to copy a batch, in the thread that reads."""

    def receive(self, sent: Any) -> Any:
        """Returns the batch that `send` has sent, in the thread that trains."""


class FedBatches(keras.utils.PyDataset):
    """The batches of a dataset, read and sent to the device ahead of need.

    A thread reads the next two batches and sends them while the device works.
    Order, contents and the epoch of the dataset are as without it: a batch
    that was read ahead counts as used when it is requested.

    Args:
        batches: The dataset.
        transfer: How batches get to the device.
    """

    def __init__(self, batches: EpochBatches, transfer: Transfer):
        super().__init__(workers=1, use_multiprocessing=False)
        self._batches = batches
        self._transfer = transfer
        self._ahead = LookAhead(self._read, num_threads=1)

    def _read(self, request: Request) -> Any:
        return self._transfer.send(self._batches.read(request))

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return self._batches.num_batches

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Any:
        request = self._batches.request(index)
        following = request.following(BATCHES_AHEAD)
        return self._transfer.receive(self._ahead.get(request, following))

    def on_epoch_begin(self) -> None:
        """Begins an epoch of the dataset."""
        self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Ends an epoch of the dataset."""
        self._batches.on_epoch_end()

    def close(self) -> None:
        """Ends the thread, once it has read what it is reading."""
        self._ahead.close()


def can_be_fed(batches: Any) -> bool:
    """Returns whether batches can be read ahead without a difference.

    Args:
        batches: Argument `x` of `fit`.
    """
    return (
        isinstance(batches, EpochBatches)
        and batches.reads_ahead
        # A subclass may change what a batch is.
        and type(batches).__getitem__ is EpochBatches.__getitem__
    )
