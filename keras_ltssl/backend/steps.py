"""Training steps that do not wait for the device."""

import collections
import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

_STEPS_BEGUN = 2


class _Cuda(NamedTuple):
    """What serves the steps on a CUDA device."""

    unwaiting: Any
    transfer: Any


class _Entered(threading.local):
    is_inside = False


_entered = _Entered()


@functools.cache
def _on_cuda(device: Any) -> _Cuda:
    from keras_ltssl.backend import torch_steps, torch_transfer

    return _Cuda(torch_steps.Unwaiting(), torch_transfer.PinnedTransfer(device))


def _cuda() -> _Cuda | None:
    """Returns `None` where a step waits for nothing, or cannot be changed.

    On JAX and TensorFlow a step is compiled; a processor has nothing to wait
    for.
    """
    if keras.backend.backend() != "torch":
        return None
    import torch

    device = keras.ops.zeros((), "bool").device
    if device.type != "cuda" or torch.compiler.is_compiling():
        return None
    return _on_cuda(device)


@contextlib.contextmanager
def unwaiting(compiled: bool = False) -> Iterator[None]:
    """Runs training steps, and Keras' copies of batches, without waiting.

    Args:
        compiled: Whether PyTorch compiles the steps: it would compile what
            this does, too.
    """
    cuda = None if compiled or _entered.is_inside else _cuda()
    if cuda is None:
        yield
        return
    _entered.is_inside = True
    try:
        with cuda.unwaiting:
            yield
    finally:
        _entered.is_inside = False


def on_device(data: Any) -> Any:
    """Returns the data of a step; what is on the host is copied.

    Args:
        data: Nested structure of arrays or tensors.
    """
    cuda = _cuda()
    if cuda is None:
        return data
    return cuda.transfer.receive(cuda.transfer.send(data))


class Pace:
    """Keeps two steps on the device, so that few batches take memory there.

    A step is begun before the last one has ended. Nothing else would keep
    training from beginning dozens of them.
    """

    def __init__(self) -> None:
        self._begun: collections.deque[Any] = collections.deque()

    def step(self, logs: dict[str, Any]) -> None:
        """Waits until the step before the last one has ended.

        Args:
            logs: What the step that was begun last will return.
        """
        end = _end_of_step(logs)
        if end is not None:
            self._begun.append(end)
        if len(self._begun) > _STEPS_BEGUN:
            _wait_for(self._begun.popleft())


def _end_of_step(logs: dict[str, Any]) -> Any:
    if keras.backend.backend() == "jax":
        return logs.get("loss")
    cuda = _cuda()
    return None if cuda is None else cuda.transfer.end_of_step()


def _wait_for(end: Any) -> None:
    if keras.backend.backend() == "torch":
        end.synchronize()
    # A step may take over the memory of an older one's results.
    elif not end.is_deleted():
        end.block_until_ready()
