"""A constant temperature."""

from types import ModuleType
from typing import Any

import keras

from keras_ltssl.schedules.temperature_schedule import (
    TemperatureSchedule,
)
from keras_ltssl.validation import check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class ConstantTemperature(TemperatureSchedule):
    """Returns one temperature at every epoch, as a baseline for schedules.

    Args:
        temperature: Float > 0. Defaults to `0.2`.

    Raises:
        ValueError: If `temperature` is not a finite number > 0.

    Example:

    >>> import keras_ltssl as lt
    >>> lt.schedules.ConstantTemperature(0.2)(17)
    0.2
    """

    def __init__(self, temperature: float = 0.2) -> None:
        self.temperature = check_number("temperature", temperature, above=0)

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        return self.temperature + 0.0 * epoch

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature}
