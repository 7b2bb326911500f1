"""What every temperature schedule is: a pure function of the epoch."""

import math
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.typing import Tensor


class TemperatureSchedule:
    """Base class: epoch in, temperature out.

    A schedule has no state. The same epoch always gives the same temperature,
    so training can be stopped, resumed and replayed, and the same object can
    drive several models. Subclasses implement `value_at(epoch, xp)`, where
    `xp` is `numpy` for numbers and `keras.ops` for tensors; the names that the
    two share (`cos`, `floor`, `where`, ...) are enough for every schedule here.

    Call arguments:
        epoch: The epoch counted from 0, a number or a scalar tensor. Fractions
            are welcome: 2.5 is the middle of the third epoch.

    Call returns:
        The temperature (no unit): a `float` for a number, a float32 scalar
        tensor for a tensor.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.CosineTemperature(period=400)
    >>> schedule(0), round(schedule(200), 6)
    (1.0, 0.1)
    """

    def __call__(self, epoch: float | Tensor) -> float | Tensor:
        if isinstance(epoch, (int, float, np.integer, np.floating)):
            number = float(epoch)
            if not math.isfinite(number) or number < 0:
                raise ValueError(
                    "`epoch` must be a finite number >= 0. "
                    f"Received: epoch={epoch}"
                )
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


def check_temperature(name: str, value: float) -> float:
    """Returns `value` as a float, or says why it is no temperature."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not math.isfinite(value)
        or value <= 0
    ):
        raise ValueError(
            f"`{name}` must be a finite number > 0. Received: {name}={value!r}"
        )
    return float(value)


def check_range(minimum: float, maximum: float) -> tuple[float, float]:
    """Returns both ends as floats, or says what is wrong with the range."""
    low = check_temperature("minimum", minimum)
    high = check_temperature("maximum", maximum)
    if low > high:
        raise ValueError(
            "`minimum` must not exceed `maximum`. "
            f"Received: minimum={minimum}, maximum={maximum}"
        )
    return low, high


def check_period(period: float) -> float:
    """Returns `period` as a float, or says why it is no number of epochs."""
    if (
        isinstance(period, bool)
        or not isinstance(period, (int, float, np.integer, np.floating))
        or not math.isfinite(period)
        or period <= 0
    ):
        raise ValueError(
            "`period` must be a finite number of epochs > 0. "
            f"Received: period={period!r}"
        )
    return float(period)


def get_schedule(
    temperature: "float | TemperatureSchedule | dict[str, Any]",
) -> "float | TemperatureSchedule":
    """Returns a checked number or schedule, from either or from a config."""
    restored: Any = temperature
    if isinstance(temperature, dict):
        restored = keras.saving.deserialize_keras_object(temperature)
    if isinstance(restored, TemperatureSchedule):
        return restored
    return check_temperature("temperature", restored)
