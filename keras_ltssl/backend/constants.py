"""Arrays that every step needs again, put on the device once."""

from collections.abc import Callable, Hashable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.types import Tensor

_made: dict[Hashable, Any] = {}
_MOST = 256


def constant(
    make: Callable[..., np.ndarray[Any, Any]],
    *arguments: Hashable,
    beside: Tensor,
) -> Tensor:
    """Returns a tensor of what a function makes. Do not write to it.

    Eager PyTorch would make it anew in each step, in several kernels, or copy
    it from the host, for which a GPU waits. So it is made once for each device.
    In a compiled step it is a constant of the graph.

    Args:
        make: A function of the module that calls this.
        *arguments: Its arguments.
        beside: A tensor or a variable on the device of the result.
    """
    if keras.backend.backend() != "torch":
        return ops.convert_to_tensor(make(*arguments))
    import torch

    device = ops.convert_to_tensor(beside).device
    if torch.compiler.is_compiling():
        return torch.as_tensor(make(*arguments), device=device)
    key = (make, arguments, device)
    if key not in _made:
        if len(_made) >= _MOST:
            _made.clear()
        # Of no mode that would keep it from taking part in a training step.
        with torch.inference_mode(False):
            array = torch.from_numpy(make(*arguments))
            _made[key] = array.to(device)
    return _made[key]
