"""Sets the temperature of a loss by a schedule."""

from typing import Any

import keras

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.validation import check_choice


class TemperatureScheduler(keras.callbacks.Callback):
    """Sets the temperature of the model's loss, per epoch or per batch.

    The model must be compiled with a loss of this package whose `temperature`
    is a number. It is a `ContrastiveModel`, or a plain `keras.Model` whose
    projections pass through `layers.LossState(loss)`. The loss logs
    `temperature`, which `History`, `CSVLogger` and TensorBoard record.
    Validation uses the current temperature.

    Args:
        schedule: A `TemperatureSchedule`.
        frequency: `"epoch"` keeps the temperature constant within an epoch, as
            published. `"batch"` sets a new value at every batch, from the
            fractional epoch. Defaults to `"epoch"`.

    Raises:
        ValueError: If `schedule` is not a schedule, or `frequency` is unknown.
            When training begins, if the model's loss has no temperature that
            can be set.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> model.compile("sgd", loss=lt.losses.NTXentLoss())
    >>> views = np.random.default_rng(0).normal(size=(32, 2, 8))
    >>> scheduler = lt.callbacks.TemperatureScheduler(
    ...     lt.schedules.CosineTemperature(0.25, 0.75, period=2)
    ... )
    >>> history = model.fit(
    ...     views.astype("float32"), epochs=3, callbacks=[scheduler], verbose=0
    ... ).history
    >>> [round(float(value), 3) for value in history["temperature"]]
    [0.75, 0.25, 0.75]

    Reference:
        - [Temperature Schedules for Self-Supervised Contrastive Methods on
          Long-Tail Data](https://arxiv.org/abs/2303.13664), Kukleva et al.,
          ICLR 2023
    """

    def __init__(
        self, schedule: TemperatureSchedule, frequency: str = "epoch"
    ) -> None:
        super().__init__()
        if not isinstance(schedule, TemperatureSchedule):
            raise ValueError(
                "`schedule` must be a keras_ltssl.schedules object. "
                f"Received: schedule={schedule!r}"
            )
        self.schedule = schedule
        self.frequency = check_choice(
            "frequency", frequency, ("epoch", "batch")
        )
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        loss = model.loss
        if not isinstance(loss, ContrastiveLoss):
            raise ValueError(
                "TemperatureScheduler needs a loss of keras_ltssl. "
                f"Received: a model compiled with loss={loss!r}"
            )
        if not loss.has_temperature:
            raise ValueError(
                "TemperatureScheduler needs a loss with a temperature. BYOL "
                f"has none. Received: loss={loss!r}"
            )
        if isinstance(loss.temperature, TemperatureSchedule):
            raise ValueError(
                "The loss already has a schedule. Give it a number, or remove "
                "the TemperatureScheduler. "
                f"Received: temperature={loss.temperature!r}"
            )
        state = loss.get_state()
        if state is None or not any(
            variable is state.temperature for variable in model.variables
        ):
            raise ValueError(
                "The temperature of this loss is not part of the model, so a "
                "compiled step may not see it change. Pass the projections "
                "through the loss's state: "
                "`outputs = keras_ltssl.layers.LossState(loss)(outputs)`."
            )
        if self.frequency == "batch" and not self.params.get("steps"):
            raise ValueError(
                'frequency="batch" needs the number of batches in an epoch. '
                "Pass `steps_per_epoch` to `fit`. "
                "Received: steps_per_epoch=None"
            )

    def _set(self, epoch: float) -> None:
        # On JAX, reading `self.model` updates its variables. Without it, the
        # assignment would be lost.
        state = self.model.loss.get_state()
        state.temperature.assign(self.schedule(epoch))

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._epoch = epoch
        if self.frequency == "epoch":
            self._set(epoch)

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self.frequency == "batch":
            self._set(self._epoch + batch / self.params["steps"])
