"""Warnings when a training learns nothing."""

import warnings
from typing import Any

import keras

from keras_ltssl.learning_limits import COLLAPSED_SPREAD, is_at_chance

# The mean of fewer steps tells little, and a small set needs epochs for them.
_STEPS = 100
_VIEWS = 32


class LearningWatch(keras.callbacks.Callback):
    """Warns, once each, of what keeps a model from learning.

    It reads what `compile(monitor_learning=True)` counts and logs, and warns
    when

    - most samples have two views that are the same, or most views are of one
      value alone, such as black: after 32 samples of the first epoch;
    - features collapse: the spread of the epoch is below 0.02;
    - two views of a sample are not recognized: the contrastive accuracy of the
      epoch is near chance. Not of BYOL, which may learn without.

    The last two are judged at the end of epochs, after 100 steps.
    """

    reads_step_logs = False

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()
        self._looks_at_views = True
        self._next_look = 1
        self._steps = self._steps_of_epoch = 0

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Warns of views that teach nothing."""
        self._steps_of_epoch = batch + 1
        if not self._looks_at_views or self._steps_of_epoch < self._next_look:
            return
        # Rarely: reading the counts waits for the device, and on JAX `model`
        # takes the weights out of the training loop.
        self._next_look = 2 * self._steps_of_epoch
        learning = self.model.loss_state.learning
        if learning is None:
            return
        samples, same, constant = learning.views_seen()
        if samples < _VIEWS:
            return
        self._looks_at_views = False
        if constant > samples:  # Of 2 * samples views.
            self._warn(
                "constant",
                f"{constant / (2 * samples):.0%} of the views have the same "
                "value everywhere, as a black image has: there is nothing to "
                "learn from. Look at the images, and at the value range that "
                "the augmenter expects (images here are 0 to 255).",
            )
        elif same > samples / 2:
            self._warn(
                "same",
                f"The two views of {same / samples:.0%} of the samples are the "
                "same: the augmenter changes nothing, so the model learns "
                "nothing. Pass another `augmenter`, or views that differ.",
            )

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Warns of features that collapse or are at chance."""
        self._looks_at_views = False
        self._steps += self._steps_of_epoch
        logs = logs or {}
        if self._steps < _STEPS or "spread" not in logs:
            return
        spread = float(logs["spread"])
        accuracy = float(logs["contrastive_accuracy"])
        chance = float(logs["contrastive_chance"])
        if spread < COLLAPSED_SPREAD:
            self._warn(
                "collapsed",
                f"Features collapse in epoch {epoch}: all samples have nearly "
                f"the same projection, with a `spread` of {spread:.3f} where 1 "
                "is a uniform sphere. A smaller learning rate, batch "
                "normalization in the projector (BYOL needs it) or a look at "
                "the images may help.",
            )
        elif (
            # BYOL learns long before it tells samples apart.
            not self.model.loss.requirements.target_views
            and is_at_chance(accuracy, chance)
        ):
            self._warn(
                "chance",
                f"Nothing is learned by epoch {epoch}: the second view of a "
                "sample is the nearest one to its first view for "
                f"{accuracy:.1%} of samples, and chance is {chance:.1%}. "
                "Another learning rate, weaker views or a look at them may "
                "help.",
            )

    def _warn(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(message, stacklevel=2)
