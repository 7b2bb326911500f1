"""A triangle wave between two temperatures."""

from types import ModuleType
from typing import Any

import keras

from keras_ltssl.schedules.periodic_temperature import PeriodicTemperature


@keras.saving.register_keras_serializable(package="keras_ltssl")
class TriangularTemperature(PeriodicTemperature):
    """Falls linearly to `minimum`, then rises linearly to `maximum`.

        τ(e) = minimum + (maximum - minimum) · |1 - 2 (e mod period) / period|

    An ablation of the cosine, which changes at a constant rate. This package's
    own design.

    Args:
        minimum: Temperature at half the period, float > 0. Defaults to `0.1`.
        maximum: Temperature at the start of a period, float >= `minimum`.
            Defaults to `1.0`.
        period: Epochs in a full cycle, > 0. Defaults to `400`.

    Raises:
        ValueError: If a temperature is not a finite number > 0, the range is
            reversed, or `period` is not > 0.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.TriangularTemperature(0.5, 1.0, period=4)
    >>> [schedule(epoch) for epoch in range(5)]
    [1.0, 0.75, 0.5, 0.75, 1.0]
    """

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        phase = xp.mod(epoch, self.period) / self.period
        return self.minimum + (self.maximum - self.minimum) * xp.abs(
            1.0 - 2.0 * phase
        )
