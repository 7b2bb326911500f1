"""Estimates the prior of Geometric Harmonization during training."""

import warnings
from typing import Any

import keras

from keras_ltssl.losses.geometric_harmonization import (
    GeometricHarmonizationLoss,
)
from keras_ltssl.losses.wrapping_loss import find_loss
from keras_ltssl.validation import check_integer, check_integer_or_none


class PriorEstimation(keras.callbacks.Callback):
    """Estimates the share of the population that belongs to each target.

    The callback works on any model whose loss is, or contains, a
    `GeometricHarmonizationLoss`. It sets the prior when the warm-up of the loss
    ends, and every `interval` epochs after that. With `num_samples`, the prior
    of a target is the share of samples whose momentum scores are largest there;
    without, it is the streaming share. With `prior="power_law"` of the loss,
    only the order of these shares counts. The loss logs `prior_entropy` next to
    `harmonization_weight` and both parts of the loss.

    Args:
        start: Epoch of the first estimate, counted from 0, integer >= 0.
            Defaults to `None`, the end of the loss's `warmup_epochs` (500 by
            default).
        interval: Epochs from one estimate to the next, integer >= 1. Defaults
            to `20`.

    Raises:
        ValueError: If an argument is out of range. When training begins, if the
            model's loss has no prior.

    Warns:
        UserWarning: If the training ends before the first estimate.

    Example: see `losses.GeometricHarmonizationLoss`.

    Reference:
        - [Combating Representation Learning Disparity with Geometric
          Harmonization](https://arxiv.org/abs/2310.17622), Zhou et al.,
          NeurIPS 2023
    """

    estimates_prior = True
    """What `GeometricHarmonizationLoss` looks for among the callbacks."""

    def __init__(self, start: int | None = None, interval: int = 20) -> None:
        super().__init__()
        self.start = check_integer_or_none("start", start, minimum=0)
        self.interval = check_integer("interval", interval, minimum=1)
        self.estimated_epochs: list[int] = []

    def _loss(self) -> GeometricHarmonizationLoss:
        # On JAX, reading `self.model` updates its variables.
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
