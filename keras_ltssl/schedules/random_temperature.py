"""A new random temperature at every epoch."""

from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_ltssl.schedules.temperature_schedule import (
    TemperatureSchedule,
    check_range,
)
from keras_ltssl.validation import check_integer

# Keras cannot seed a draw by a tensor inside a compiled step, so the values are
# drawn once. No published run has more epochs.
TABLE_LENGTH = 4096


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomTemperature(TemperatureSchedule):
    """Draws each epoch's temperature uniformly from a range.

    An ablation of the cosine: the same range in random order. The temperature
    depends on the seed and on the integer part of the epoch. It is the same on
    every backend, and the sequence repeats after 4096 epochs. This package's
    own design.

    Args:
        minimum: Smallest temperature, float > 0. Defaults to `0.1`.
        maximum: Largest temperature, float >= `minimum`. Defaults to `1.0`.
        seed: Integer >= 0. Defaults to `0`.

    Raises:
        ValueError: If a temperature is not a finite number > 0, the range is
            reversed, or `seed` is not an integer >= 0.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.RandomTemperature(0.1, 1.0, seed=7)
    >>> schedule(3.0) == schedule(3.9), schedule(3) == schedule(4)
    (True, False)
    """

    def __init__(
        self, minimum: float = 0.1, maximum: float = 1.0, seed: int = 0
    ) -> None:
        self.minimum, self.maximum = check_range(minimum, maximum)
        self.seed = check_integer("seed", seed, minimum=0)
        self._table = (
            np.random.default_rng(self.seed)
            .uniform(self.minimum, self.maximum, TABLE_LENGTH)
            .astype("float32")
        )

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        row = xp.mod(xp.floor(epoch), TABLE_LENGTH)
        if xp is np:
            return self._table[int(row)]
        return xp.take(self._table, xp.cast(row, "int32"))

    def get_config(self) -> dict[str, Any]:
        return {
            "minimum": self.minimum,
            "maximum": self.maximum,
            "seed": self.seed,
        }
