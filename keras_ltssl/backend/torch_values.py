"""The values of variables, with and without the scopes of Keras.

Import this module only on the PyTorch backend.
"""

from typing import Any, Protocol

import keras
import torch

from keras_ltssl.backend.compilation import is_stateless


class Values(Protocol):
    """Reads variables."""

    @property
    def are_passed(self) -> bool:
        """Whether tensors stand for variables, as in `stateless_call`."""

    def of(self, variable: Any) -> torch.Tensor:
        """Returns the value of a variable, as `variable.value` does.

        Args:
            variable: A `keras.Variable`.
        """

    def tensor(self, x: Any) -> torch.Tensor:
        """Returns a tensor of a tensor or variable, on the device of Keras.

        Args:
            x: A tensor or a `keras.Variable`.
        """


class KerasValues:
    """Asks Keras for each value: it looks for scopes each time."""

    @property
    def are_passed(self) -> bool:
        return is_stateless()

    def of(self, variable: Any) -> torch.Tensor:
        value: torch.Tensor = variable.value
        return value

    def tensor(self, x: Any) -> torch.Tensor:
        tensor: torch.Tensor = keras.ops.convert_to_tensor(x)
        return tensor


class PlainValues:
    """Reads variables where it is known which scopes there are.

    No values stand for variables, all tensors are on the device of Keras, and
    variables of floats come in one dtype.

    Args:
        dtype: The dtype in which Keras casts variables, or `None`.
    """

    are_passed = False

    def __init__(self, dtype: torch.dtype | None) -> None:
        self._dtype = dtype

    def of(self, variable: Any) -> torch.Tensor:
        value: torch.Tensor = variable._value
        if (
            self._dtype is not None
            and variable._autocast
            and value.is_floating_point()
        ):
            return value.to(self._dtype)
        return value

    def tensor(self, x: Any) -> torch.Tensor:
        return x if isinstance(x, torch.Tensor) else self.of(x)
