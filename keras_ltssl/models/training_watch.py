"""The callback that `ContrastiveModel.fit` adds to those of the user."""

import math
import warnings
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend import processes
from keras_ltssl.models.checks import single_samples


class TrainingWatch(keras.callbacks.Callback):
    """Sets the epoch of the loss, and raises if training goes wrong.

    Raises:
        ValueError: If a schedule of epochs cannot know the length of an epoch,
            batches hold a single sample, ids repeat as class labels do, or a
            weight is NaN or infinite at the end of an epoch.
    """

    reads_step_logs = False

    def __init__(self) -> None:
        super().__init__()
        self._is_first_epoch = True
        self._has_warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets the steps of an epoch and prepares replicas."""
        model = self.model
        steps = self.params.get("steps")
        processes.prepare(model, steps)
        model.loss_state.watches_data = True
        if steps is not None:
            model.loss_state.set_steps_per_epoch(int(steps))
        elif model.needs_epochs or model.loss.requirements.epochs:
            who = model if model.needs_epochs else model.loss
            raise ValueError(
                f"{type(who).__name__} follows a schedule of epochs, "
                "but this data does not say how many batches it has. Pass "
                "`steps_per_epoch` to `fit`. Received: steps_per_epoch=None"
            )

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Sets the epoch that schedules in the loss follow."""
        state = self.model.loss_state
        if self._is_first_epoch and self.model.loss.requirements.epochs:
            trained = float(ops.convert_to_numpy(state.epoch))
            if trained > epoch:
                warnings.warn(
                    f"The loss has trained for {trained:g} epochs, and `fit` "
                    f"begins at epoch {epoch}, so its schedules go back. To "
                    f"go on, pass `initial_epoch={math.ceil(trained)}`.",
                    stacklevel=2,
                )
        if state.knows_epochs:
            state.set_epoch(epoch)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Checks the data of the first epoch."""
        # After batches 1, 2, 4, 8, ... only: reading the counts waits for the
        # device.
        steps = batch + 1
        if self._is_first_epoch and steps & (steps - 1) == 0:
            self._check_counts(steps)

    def _check_counts(self, steps: int) -> None:
        model = self.model
        samples, named, repeated = model.loss_state.counts()
        # A step that `train_on_batch` has compiled counts no samples.
        if model.has_negatives_in_batch and 0 < samples <= steps:
            raise single_samples(type(model.loss).__name__)
        if not repeated:
            return
        message = (
            "`y` must name each sample once, by its row in the training set. "
            "Repeated ids look like class labels, which are never needed: "
            "leave them out. `keras.utils.image_dataset_from_directory` does "
            "so with `labels=None`. Received: "
            f"{repeated} of {named} ids repeat another one of their batch"
        )
        if repeated > named / 2:
            raise ValueError(message)
        if repeated > named / 20 and not self._has_warned:
            self._has_warned = True
            warnings.warn(message, stacklevel=2)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Raises if ids were out of range or the weights have diverged."""
        model = self.model
        self._is_first_epoch = False
        model.loss_state.watches_data = False
        model.loss_state.check_ids_seen()
        weights = model.trainable_weights
        if not weights:
            return
        # Together, since reading each result would wait for the device.
        finite = ops.convert_to_numpy(
            ops.stack([ops.all(ops.isfinite(weight)) for weight in weights])
        )
        for weight, is_finite in zip(weights, finite, strict=True):
            if not is_finite:
                raise ValueError(
                    f"Training has diverged in epoch {epoch}: the weight "
                    f"{weight.path} holds NaN or infinity. A smaller learning "
                    "rate or a larger temperature may help; so may a look for "
                    "NaN in the data."
                )
