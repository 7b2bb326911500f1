"""Copies batches to a CUDA device on a stream of their own.

Import this module only on the PyTorch backend.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import torch


class Sent(NamedTuple):
    """A batch on its way to the device, and the end of its copies."""

    batch: Any
    copied: Any


class PinnedTransfer:
    """Copies from pinned memory, so that neither thread waits for a copy.

    The copies run on a stream of their own, beside the kernels of the step.
    Bytes travel as bytes: images of dtype uint8 become floats on the device.

    Args:
        device: The CUDA device, with its index: a new thread would use the
            first one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        stream: Any = torch.cuda.Stream
        self._stream = stream(device)

    def send(self, batch: Any) -> Sent:
        """Begins to copy what is on the host.

        Args:
            batch: Nested structure of arrays or tensors.
        """
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            sent = keras.tree.map_structure(self._copied, batch)
            return Sent(sent, self._stream.record_event())

    def _copied(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            with keras.device("cpu"):  # Keras chooses the dtype.
                value = keras.ops.convert_to_tensor(value)
        if not isinstance(value, torch.Tensor) or value.device.type != "cpu":
            return value
        # PyTorch keeps pinned memory until the copies from it have ended.
        return value.pin_memory().to(self._device, non_blocking=True)

    def receive(self, sent: Sent) -> Any:
        """Returns the batch; kernels that are started from now on wait for it.

        Args:
            sent: What `send` returned.
        """
        current: Any = torch.cuda.current_stream(self._device)
        current.wait_event(sent.copied)
        for tensor in keras.tree.flatten(sent.batch):
            # Or else the next copy could take its memory too early.
            if isinstance(tensor, torch.Tensor) and tensor.is_cuda:
                tensor.record_stream(current)
        return sent.batch

    def end_of_step(self) -> Any:
        """Returns what can `synchronize` with all that was begun until now."""
        current: Any = torch.cuda.current_stream(self._device)
        return current.record_event()
