"""A cosine wave between two temperatures, as in Temperature Schedules."""

import math
from types import ModuleType
from typing import Any

import keras

from keras_ltssl.schedules.periodic_temperature import PeriodicTemperature


@keras.saving.register_keras_serializable(package="keras_ltssl")
class CosineTemperature(PeriodicTemperature):
    """Oscillates between two temperatures along a cosine.

        τ(e) = minimum + (maximum - minimum) · (1 + cos(2π e / period)) / 2

    With a large τ, a contrastive loss separates groups of samples, which helps
    frequent classes. With a small τ, it separates single samples, which helps
    rare classes. Training starts at `maximum`, and ends there after a whole
    number of periods.

    The published code uses *half* a cycle, `t_max = period / 2`, and counts
    epochs from 1. Here `period` is the full cycle, and epochs count from 0.

    Args:
        minimum: Smallest temperature, float > 0. Defaults to `0.1`.
        maximum: Largest temperature, float >= `minimum`. Defaults to `1.0`.
        period: Epochs in a full cycle, > 0. Defaults to `400`, published for
            runs of 800 and 2,000 epochs. Shorten it for shorter runs, which
            should last a whole number of periods.

    Raises:
        ValueError: If a temperature is not a finite number > 0, the range is
            reversed, or `period` is not > 0.

    Example:

    >>> import keras_ltssl as lt
    >>> schedule = lt.schedules.CosineTemperature(0.1, 1.0, period=400)
    >>> [round(schedule(epoch), 3) for epoch in (0, 100, 200, 400)]
    [1.0, 0.55, 0.1, 1.0]

    Reference:
        - [Temperature Schedules for Self-Supervised Contrastive Methods on
          Long-Tail Data](https://arxiv.org/abs/2303.13664), Kukleva et al.,
          ICLR 2023
    """

    def value_at(self, epoch: Any, xp: ModuleType) -> Any:
        phase = 2.0 * math.pi / self.period * (epoch % self.period)
        amplitude = (self.maximum - self.minimum) / 2.0
        return (self.minimum + amplitude) + amplitude * xp.cos(phase)
