"""Drives the temperature of a loss by a schedule."""

from typing import Any

import keras

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.validation import check_choice


class TemperatureScheduler(keras.callbacks.Callback):
    """Sets the temperature of the model's loss, per epoch or per batch.

    Works on any model that is compiled with a loss of this package whose
    `temperature` is a number: a `ContrastiveModel`, or a plain `keras.Model`
    whose projections pass through `layers.LossState(loss)`. The loss logs
    `temperature`, so it shows in the progress bar, in `History`, `CSVLogger`
    and TensorBoard. Validation uses the temperature of the moment.

    Args:
        schedule: A `TemperatureSchedule`.
        frequency: `"epoch"`: constant inside an epoch, as published; `"batch"`:
            a new value at every batch, from the fractional epoch. Defaults to
            `"epoch"`.

    Raises:
        ValueError: If `schedule` is no schedule, `frequency` is unknown, or,
            when training begins, the model has nothing to drive.

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
        Kukleva, Böhle, Schiele, Kuehne, Rupprecht. Temperature Schedules for
        Self-Supervised Contrastive Methods on Long-Tail Data. ICLR 2023,
        arXiv:2303.13664.
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
                "TemperatureScheduler drives a loss of keras_ltssl. "
                f"Received: a model compiled with loss={loss!r}"
            )
        if not loss.has_temperature:
            raise ValueError(
                "TemperatureScheduler needs a loss with a temperature. BYOL "
                f"has none. Received: loss={loss!r}"
            )
        if isinstance(loss.temperature, TemperatureSchedule):
            raise ValueError(
                "The loss follows a schedule of its own already. Give it a "
                "number, or leave TemperatureScheduler away. "
                f"Received: temperature={loss.temperature!r}"
            )
        state = loss.get_state()
        if state is None or not any(
            variable is state.temperature for variable in model.variables
        ):
            raise ValueError(
                "The loss of this model keeps its temperature outside of the "
                "model, where a compiled step may not see it change. Pass the "
                "projections through the loss's state: "
                "`outputs = keras_ltssl.layers.LossState(loss)(outputs)`."
            )
        if self.frequency == "batch" and not self.params.get("steps"):
            raise ValueError(
                'frequency="batch" has to know how many batches an epoch has. '
                "Pass `steps_per_epoch` to `fit`. "
                "Received: steps_per_epoch=None"
            )

    def _set(self, epoch: float) -> None:
        # Reading `self.model` makes Keras write the state of a running JAX
        # epoch back into the variables; without it an assignment would be lost.
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
