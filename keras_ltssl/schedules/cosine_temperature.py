"""The cosine of Temperature Schedules (TS)."""

import math
from types import ModuleType
from typing import Any

import keras

from keras_ltssl.schedules.periodic_temperature import PeriodicTemperature


@keras.saving.register_keras_serializable(package="keras_ltssl")
class CosineTemperature(PeriodicTemperature):
    """Swings between two temperatures: group and instance discrimination.

        τ(e) = minimum + (maximum - minimum) · (1 + cos(2π e / period)) / 2

    A large τ makes a contrastive loss look at groups of samples, a small one at
    single samples; frequent classes profit from the first, rare ones from the
    second. Training starts at `maximum`, and after whole periods ends there.

    The released code of the paper takes *half* a cycle, `t_max = period / 2`,
    and counts epochs from 1; here `period` is the full cycle, from 0.

    Args:
        minimum: Smallest temperature, float > 0. Defaults to `0.1`.
        maximum: Largest temperature, float >= `minimum`. Defaults to `1.0`.
        period: Epochs in a full cycle, > 0. Defaults to `400`, published for
            runs of 2000 and 800 epochs; give short runs whole periods of
            their own.

    Raises:
        ValueError: If a temperature is not a finite number > 0, the range is
            reversed, or `period` is not > 0.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.CosineTemperature(0.1, 1.0, period=400)
    >>> [round(schedule(epoch), 3) for epoch in (0, 100, 200, 400)]
    [1.0, 0.55, 0.1, 1.0]

    Reference:
        Kukleva, Böhle, Schiele, Kuehne, Rupprecht. Temperature Schedules for
        Self-Supervised Contrastive Methods on Long-Tail Data. ICLR 2023,
        arXiv:2303.13664.
    """

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        phase = 2.0 * math.pi * xp.mod(epoch, self.period) / self.period
        swing = (1.0 + xp.cos(phase)) / 2.0
        return self.minimum + (self.maximum - self.minimum) * swing
