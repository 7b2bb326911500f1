"""Training steps that do not wait for the device."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras


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
