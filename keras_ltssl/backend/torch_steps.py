"""A training step that does not wait for a CUDA device.

Import this module only on the PyTorch backend.

Keras makes a tensor of each number that it computes with, by
`torch.as_tensor(2.0, device="cuda")`. PyTorch copies the number to the device
and waits for the copy, and so for all that was begun before: some thirty times
in a step of SimCLR. Then the device waits for the next kernel to be started.
Keras copies batches to the device in the same way.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

# A number, a color matrix, the weights of a gray image.
_MOST_NUMBERS = 64
_MOST_CONSTANTS = 256


class Unwaiting(TorchFunctionMode):
    """Makes tensors of numbers and arrays without waiting for the device.

    Attributes:
        constants: Small arrays that were needed before, on the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.constants: dict[Any, torch.Tensor] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.as_tensor:
            return self._as_tensor(*args, **(kwargs or {}))
        kwargs = kwargs or {}
        if function is torch._foreach_add_ and isinstance(
            kwargs.get("alpha"), torch.Tensor
        ):
            # Keras' SGD: PyTorch would read the learning rate to the host.
            variables, gradients = args
            return function(
                variables, torch._foreach_mul(gradients, kwargs["alpha"])
            )
        return function(*args, **kwargs)

    def _as_tensor(
        self,
        data: Any,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> torch.Tensor:
        if dtype is not None and isinstance(data, (bool, int, float)):
            return torch.full((), data, dtype=dtype, device=device)
        is_array = isinstance(data, (np.ndarray, list, tuple))
        array = np.asarray(data) if is_array else None
        if array is None or dtype is None or array.dtype.kind not in "biuf":
            return torch.as_tensor(data, dtype=dtype, device=device)
        if array.size > _MOST_NUMBERS:
            return _copied(torch.as_tensor(data, dtype=dtype), device)
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
            constant = torch.as_tensor(data, dtype=dtype).clone()
            self.constants[key] = _copied(constant, device)
        # A copy on the device, since the caller may write to it.
        return self.constants[key].clone()


def _copied(host: torch.Tensor, device: Any) -> torch.Tensor:
    """Returns a copy on a device, or the tensor itself on a processor."""
    if torch.device(device or "cpu").type != "cuda":
        return host.to(device)
    # PyTorch keeps pinned memory until the copies from it have ended.
    return host.pin_memory().to(device, non_blocking=True)
