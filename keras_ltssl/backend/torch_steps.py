"""A training step that does not wait for a CUDA device.

Import this module only on the PyTorch backend.

Keras makes a tensor of each number that it computes with, by
`torch.as_tensor(2.0, device="cuda")`. PyTorch copies the number to the device
and waits for the copy, and so for all that was begun before: some thirty times
in a step of SimCLR. Then the device waits for the next kernel to be started.
Keras copies batches to the device in the same way.
"""

import threading
from typing import Any

import numpy as np
import torch

# A number, a color matrix, the weights of a gray image.
_MOST_NUMBERS = 64
_MOST_CONSTANTS = 256

_as_tensor = torch.as_tensor
_foreach_add = torch._foreach_add_


class _Entered(threading.local):
    """The objects that this thread is within, the innermost last."""

    def __init__(self) -> None:
        self.objects: list[Unwaiting] = []


_entered = _Entered()
_lock = threading.Lock()
_count = 0  # Of all threads.


class Unwaiting:
    """Makes tensors of numbers and arrays without waiting for the device.

    A context manager. Within it two functions of PyTorch are replaced, and in
    other threads compute as before. A `TorchFunctionMode` would not have to,
    but it makes PyTorch run Python code whenever a tensor is asked for its
    shape, dtype or device: 900 to 2,500 times in a step.

    Attributes:
        constants: Small arrays that were needed before, on the device.
    """

    def __init__(self) -> None:
        self.constants: dict[Any, torch.Tensor] = {}

    def __enter__(self) -> "Unwaiting":
        global _count
        _entered.objects.append(self)
        with _lock:
            _count += 1
            _set_functions(_as_tensor_unwaiting, _foreach_add_unwaiting)
        return self

    def __exit__(self, *raised: Any) -> None:
        global _count
        _entered.objects.pop()
        with _lock:
            _count -= 1
            if not _count:
                _set_functions(_as_tensor, _foreach_add)

    def as_tensor(
        self,
        data: Any,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> torch.Tensor:
        """Returns what `torch.as_tensor` returns.

        Args:
            data: As for `torch.as_tensor`.
            dtype: As for `torch.as_tensor`. Defaults to `None`.
            device: As for `torch.as_tensor`. Defaults to `None`.
        """
        if dtype is not None and isinstance(data, (bool, int, float)):
            return torch.full((), data, dtype=dtype, device=device)
        is_array = isinstance(data, (np.ndarray, list, tuple))
        array = np.asarray(data) if is_array else None
        if array is None or dtype is None or array.dtype.kind not in "biuf":
            return _as_tensor(data, dtype=dtype, device=device)
        if array.size > _MOST_NUMBERS:
            return _copied(_as_tensor(data, dtype=dtype), device)
        key = (
            array.tobytes(),
            array.shape,
            array.dtype.str,
            dtype,
            str(device),
        )
        if key not in self.constants:
            if len(self.constants) >= _MOST_CONSTANTS:
                self.constants.clear()
            # Of its own memory: on a processor it would share the array's.
            constant = _as_tensor(data, dtype=dtype).clone()
            self.constants[key] = _copied(constant, device)
        # A copy on the device, since the caller may write to it.
        return self.constants[key].clone()


def _set_functions(as_tensor: Any, foreach_add: Any) -> None:
    torch.as_tensor = as_tensor
    torch._foreach_add_ = foreach_add


def _as_tensor_unwaiting(*args: Any, **kwargs: Any) -> torch.Tensor:
    if torch.compiler.is_compiling() or not _entered.objects:
        return _as_tensor(*args, **kwargs)
    return _entered.objects[-1].as_tensor(*args, **kwargs)


def _foreach_add_unwaiting(*args: Any, **kwargs: Any) -> None:
    alpha = kwargs.get("alpha")
    if (
        torch.compiler.is_compiling()
        or not _entered.objects
        or not isinstance(alpha, torch.Tensor)
    ):
        return _foreach_add(*args, **kwargs)
    # Keras' SGD: PyTorch would read the learning rate to the host.
    variables, gradients = args
    return _foreach_add(variables, torch._foreach_mul(gradients, alpha))


def _copied(host: torch.Tensor, device: Any) -> torch.Tensor:
    """Returns a copy on a device, or the tensor itself on a processor."""
    if torch.device(device or "cpu").type != "cuda":
        return host.to(device)
    # PyTorch keeps pinned memory until the copies from it have ended.
    return host.pin_memory().to(device, non_blocking=True)
