"""A linear ramp from one temperature to another."""

from types import ModuleType
from typing import Any

import keras

from keras_ltssl.schedules.temperature_schedule import (
    TemperatureSchedule,
)
from keras_ltssl.validation import check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class LinearTemperature(TemperatureSchedule):
    """Changes linearly from `start` to `end`, then stays at `end`.

        τ(e) = start + (end - start) · min(e / period, 1)

    An ablation of the cosine, without its repetition. This package's own
    design.

    Args:
        start: Temperature at epoch 0, float > 0. Defaults to `1.0`.
        end: Temperature from epoch `period` on, float > 0. Defaults to `0.1`.
        period: Number of epochs of the ramp, > 0. Defaults to `400`.

    Raises:
        ValueError: If a temperature is not a finite number > 0 or `period` is
            not > 0.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.LinearTemperature(1.0, 0.5, period=10)
    >>> schedule(0), schedule(5), schedule(25)
    (1.0, 0.75, 0.5)
    """

    def __init__(
        self, start: float = 1.0, end: float = 0.1, period: float = 400
    ) -> None:
        self.start = check_number("start", start, above=0)
        self.end = check_number("end", end, above=0)
        self.period = check_number("period", period, above=0)

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        progress = xp.minimum(epoch / self.period, 1.0)
        return self.start + (self.end - self.start) * progress

    def get_config(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "period": self.period}
