"""Base class of the losses that have a temperature."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.schedules.temperature_schedule import get_schedule
from keras_ltssl.types import Tensor


class TemperatureLoss(ContrastiveLoss):
    """Base class of the losses that have a temperature.

    A subclass implements `per_sample(step)` and reads `step.temperature`.

    Args:
        temperature: τ, a number > 0 or a `TemperatureSchedule`. Defaults to
            `0.2`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `None`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.
    """

    has_temperature = True
    metric_names: tuple[str, ...] = ("temperature",)

    def __init__(
        self,
        temperature: float | TemperatureSchedule = 0.2,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self._temperature = get_schedule(temperature)

    @property
    def temperature(self) -> float | TemperatureSchedule:
        """τ as it was set: a number or a schedule.

        A number may be set at any time, and the next step uses it. What a
        callback drives shows in `current_temperature()`.
        """
        return self._temperature

    @temperature.setter
    def temperature(self, temperature: float | TemperatureSchedule) -> None:
        new = get_schedule(temperature)
        state = self.get_state()
        if state is not None:
            if isinstance(new, TemperatureSchedule) or isinstance(
                self._temperature, TemperatureSchedule
            ):
                raise ValueError(
                    "A schedule cannot be set or replaced after `compile`, "
                    "since a compiled step keeps the old one. Compile the "
                    "model with a new loss. "
                    f"Received: temperature={temperature!r}"
                )
            state.temperature.assign(new)
        self._temperature = new

    @property
    def requirements(self) -> Requirements:
        follows = isinstance(self._temperature, TemperatureSchedule)
        return super().requirements | Requirements(
            state=follows, epochs=follows
        )

    def current_temperature(self) -> float | Tensor:
        """Returns τ of this step: the schedule's, the driven or the set one."""
        state = self.get_state()
        if state is None:
            return self._temperature
        if isinstance(self._temperature, TemperatureSchedule):
            return self._temperature(state.epoch)
        return ops.convert_to_tensor(state.temperature)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        temperature: Any = self._temperature
        if isinstance(temperature, TemperatureSchedule):
            temperature = keras.saving.serialize_keras_object(temperature)
        return {"temperature": temperature, **super().get_config()}
