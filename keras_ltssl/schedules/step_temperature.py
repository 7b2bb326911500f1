"""A square wave between two temperatures."""

from types import ModuleType
from typing import Any

import keras

from keras_ltssl.schedules.periodic_temperature import PeriodicTemperature


@keras.saving.register_keras_serializable(package="keras_ltssl")
class StepTemperature(PeriodicTemperature):
    """Holds `maximum` for half a period, then `minimum` for the other half.

    An ablation of the cosine, without intermediate temperatures. This package's
    own design.

    Args:
        minimum: Temperature of the second half, float > 0. Defaults to `0.1`.
        maximum: Temperature of the first half, float >= `minimum`. Defaults to
            `1.0`.
        period: Epochs in a full cycle, > 0. Defaults to `400`.

    Raises:
        ValueError: If a temperature is not a finite number > 0, the range is
            reversed, or `period` is not > 0.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.StepTemperature(0.1, 1.0, period=4)
    >>> [schedule(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.1, 0.1, 1.0]
    """

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        in_first_half = xp.mod(epoch, self.period) < self.period / 2.0
        return xp.where(in_first_half, self.maximum, self.minimum)
