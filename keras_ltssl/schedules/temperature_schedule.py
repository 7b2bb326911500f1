"""The base class of temperature schedules."""

from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


class TemperatureSchedule:
    """Base class of functions from the epoch to the temperature.

    A schedule has no state: the same epoch always gives the same temperature.
    Training can therefore be stopped, resumed and repeated, and several models
    can share a schedule. Subclasses implement `value_at(epoch, xp)` and
    `get_config()`. `xp` is `numpy` for numbers and `keras.ops` for tensors; use
    functions that both have, such as `cos`, `floor` or `where`.

    Call arguments:
        epoch: The epoch, counted from 0, a number or a scalar tensor. It may be
            fractional: 2.5 is the middle of the third epoch.

    Call returns:
        The temperature, a `float` for a number, or a float32 scalar tensor for
        a tensor.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.CosineTemperature(period=400)
    >>> schedule(0), round(schedule(200), 6)
    (1.0, 0.1)
    """

    def __call__(self, epoch: float | Tensor) -> float | Tensor:
        if not hasattr(epoch, "shape") or isinstance(epoch, np.generic):
            number = check_number("epoch", epoch, minimum=0)
            return float(self.value_at(number, np))
        return ops.cast(
            self.value_at(ops.cast(epoch, "float32"), ops), "float32"
        )

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        """Returns the temperature at `epoch`, computed with `xp`."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `value_at(epoch, xp)`."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `get_config()`."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TemperatureSchedule":
        """Builds a schedule from what `get_config()` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{k}={v!r}" for k, v in self.get_config().items()
        )
        return f"{type(self).__name__}({arguments})"


def check_range(minimum: float, maximum: float) -> tuple[float, float]:
    """Returns both as floats; raises if they are not valid temperatures."""
    low = check_number("minimum", minimum, above=0)
    high = check_number("maximum", maximum, above=0)
    if low > high:
        raise ValueError(
            "`minimum` must not exceed `maximum`. "
            f"Received: minimum={minimum}, maximum={maximum}"
        )
    return low, high


def get_schedule(
    temperature: "float | TemperatureSchedule | dict[str, Any]",
) -> "float | TemperatureSchedule":
    """Returns a temperature or a schedule, also from its configuration."""
    restored: Any = temperature
    if isinstance(temperature, dict):
        restored = keras.saving.deserialize_keras_object(temperature)
    if isinstance(restored, TemperatureSchedule):
        return restored
    return check_number("temperature", restored, above=0)
