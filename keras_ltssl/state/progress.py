"""How far a training is: its step, its epoch and its temperature."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_operations import at_least
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number


class Progress(keras.layers.Layer):
    """Base layer of variables that say how far a training is.

    Args:
        steps_per_epoch: Training steps in an epoch, integer >= 1. Defaults to
            `None`, not known yet.
    """

    def __init__(
        self, steps_per_epoch: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # Saved files hold these variables in this order.
        self.step = self._counter("step")
        self._steps_per_epoch = self._counter("steps_per_epoch")
        self._earlier_epochs = self._number("earlier_epochs", 0.0)
        self.temperature = self._number("temperature", 1.0)
        self._first_step = self._counter("first_step")
        self.knows_epochs = False
        self._given_steps_per_epoch = steps_per_epoch
        if steps_per_epoch is not None:
            self.set_steps_per_epoch(steps_per_epoch)

    def _counter(self, name: str) -> Any:
        return self.add_weight(
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name=name,
        )

    def _number(self, name: str, value: float) -> Any:
        return self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            # A model in mixed precision may read it in its forward pass.
            autocast=False,
            name=name,
        )

    @property
    def epoch(self) -> Tensor:
        """Epochs trained so far as a float32 scalar, fractions included."""
        steps = at_least(ops.convert_to_tensor(self._steps_per_epoch), 1)
        since = ops.convert_to_tensor(self.step) - ops.convert_to_tensor(
            self._first_step
        )
        return ops.convert_to_tensor(self._earlier_epochs) + ops.cast(
            ops.divide(since, steps), "float32"
        )

    def restart(self) -> None:
        """Counts steps and epochs from zero again."""
        for counter in (self.step, self._first_step, self._earlier_epochs):
            counter.assign(0)

    def set_steps_per_epoch(self, steps: int) -> None:
        """Sets how many steps an epoch has from now on.

        Epochs trained so far keep their count when the number changes.

        Args:
            steps: Integer >= 1.
        """
        steps = check_integer("steps_per_epoch", steps, minimum=1)
        before = int(ops.convert_to_numpy(self._steps_per_epoch))
        if before not in (0, steps):
            self.set_epoch(float(ops.convert_to_numpy(self.epoch)))
        self._steps_per_epoch.assign(steps)
        self.knows_epochs = True

    def set_epoch(self, epoch: float) -> None:
        """Sets the epoch that training is in; schedules go on from there.

        `ContrastiveModel.fit` does this when an epoch begins, so that a
        schedule in the loss follows Keras' epoch. A plain `keras.Model` counts
        its steps instead: call this before `fit(initial_epoch=epoch)`.

        Args:
            epoch: Epochs trained so far, a number >= 0.
        """
        check_number("epoch", epoch, minimum=0)
        if float(ops.convert_to_numpy(self.epoch)) != epoch:
            self._earlier_epochs.assign(float(epoch))
            # A copy: JAX gives the array of each variable away in a step.
            self._first_step.assign(ops.copy(ops.convert_to_tensor(self.step)))

    def load_own_variables(self, store: Any) -> None:
        """Restores the counters and the temperature."""
        own = self._non_trainable_variables
        if len(store.keys()) == len(own) - 1:
            # Saved before there was a first step, which was always 0.
            for index, variable in enumerate(own[:-1]):
                variable.assign(store[str(index)])
            self._first_step.assign(0)
        else:
            super().load_own_variables(store)
        steps = int(ops.convert_to_numpy(self._steps_per_epoch))
        self.knows_epochs = steps > 0
