"""The base class of periodic schedules."""

from typing import Any

from keras_ltssl.schedules.temperature_schedule import (
    TemperatureSchedule,
    check_range,
)
from keras_ltssl.validation import check_number


class PeriodicTemperature(TemperatureSchedule):
    """Base class of schedules that return to `maximum` after each period.

    Args:
        minimum: Smallest temperature, float > 0. Defaults to `0.1`.
        maximum: Largest temperature, float >= `minimum`. Defaults to `1.0`.
        period: Epochs in a full cycle, > 0. Defaults to `400`.

    Raises:
        ValueError: If a temperature is not a finite number > 0, the range is
            reversed, or `period` is not > 0.
    """

    def __init__(
        self,
        minimum: float = 0.1,
        maximum: float = 1.0,
        period: float = 400,
    ) -> None:
        self.minimum, self.maximum = check_range(minimum, maximum)
        self.period = check_number("period", period, above=0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "period": self.period,
        }
