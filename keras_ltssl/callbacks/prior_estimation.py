"""Estimates the prior of Geometric Harmonization from time to time."""

import warnings
from typing import Any

import keras

from keras_ltssl.losses.geometric_harmonization import (
    GeometricHarmonizationLoss,
)
from keras_ltssl.losses.wrapping_loss import find_loss
from keras_ltssl.validation import check_integer, check_integer_or_none


class PriorEstimation(keras.callbacks.Callback):
    """Estimates how much of the population belongs to each target.

    Works on any model whose loss is a `GeometricHarmonizationLoss` or adds to
    one. When the warm-up of the loss ends, and every `interval` epochs from
    then on, it sets the prior: the share of samples whose momentum scores have
    their maximum at each target, or the streaming shares where the loss keeps
    no samples apart. The loss logs the result as `prior_entropy`, next to
    `harmonization_weight` and both parts of the loss.

    Args:
        start: Epoch of the first estimate, counted from 0, integer >= 0.
            Defaults to `None`: where the loss's `warmup_epochs` end (500,
            unless set otherwise).
        interval: Epochs from one estimate to the next, integer >= 1. Defaults
            to `20`.

    Raises:
        ValueError: If an argument is out of range or, when training begins,
            the model's loss has no prior.

    Warns:
        UserWarning: If the training ends before the first estimate.

    Example: see `losses.GeometricHarmonizationLoss`.

    Reference:
        Zhou, Yao, Hong, Zhang, Han, Wang. Combating Representation
        Learning Disparity with Geometric Harmonization. NeurIPS 2023,
        arXiv:2310.17622.
    """

    estimates_prior = True
    """What `GeometricHarmonizationLoss` looks for among the callbacks."""

    def __init__(self, start: int | None = None, interval: int = 20) -> None:
        super().__init__()
        self.start = check_integer_or_none("start", start, minimum=0)
        self.interval = check_integer("interval", interval, minimum=1)
        self.estimated_epochs: list[int] = []

    def _loss(self) -> GeometricHarmonizationLoss:
        # On JAX, reading `self.model` brings its variables up to date.
        found = find_loss(self.model.loss, GeometricHarmonizationLoss)
        if found is None:
            raise ValueError(
                "PriorEstimation needs a model compiled with a "
                "GeometricHarmonizationLoss. "
                f"Received: loss={self.model.loss!r}"
            )
        return found

    def _first(self, loss: GeometricHarmonizationLoss) -> int:
        if self.start is not None:
            return self.start
        return int(-(-loss.warmup_epochs // 1))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        loss = self._loss()
        epochs = self.params.get("epochs")
        if epochs is not None and self._first(loss) >= epochs:
            warnings.warn(
                f"The prior is first estimated at epoch {self._first(loss)}, "
                f"but training ends at epoch {epochs}. Lower `warmup_epochs` "
                "of GeometricHarmonizationLoss, or `start`.",
                stacklevel=2,
            )

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        loss = self._loss()
        since = epoch - self._first(loss)
        if since >= 0 and since % self.interval == 0:
            loss.estimate_prior()
            self.estimated_epochs.append(epoch)
