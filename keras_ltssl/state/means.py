"""Means of what a loss logs, and counts of what it was given."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.compilation import one_after
from keras_ltssl.backend.constants import constant
from keras_ltssl.backend.fused_operations import stack
from keras_ltssl.backend.in_place_operations import add_to
from keras_ltssl.types import Tensor


class _Means(keras.metrics.Metric):
    """The means of what a loss logs, by name.

    All are in one variable. As a `keras.metrics.Mean` each, four of them take
    nearly twice as long in eager PyTorch, where each operation costs time.
    Saved files know this class by its name.

    Args:
        names: Names of the values that may be logged.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(name="means_of_the_loss")
        self.names = names
        # The sums of the values, then how many values each sum holds.
        self.sums = self.add_variable(
            shape=(2 * len(names),), initializer="zeros", name="sums"
        )
        self.counted = self.add_variable(
            shape=(3,), initializer="zeros", name="counted"
        )

    def count(
        self, samples: int | Tensor, named: Tensor, repeated: Tensor
    ) -> None:
        """Adds how many samples, ids and repeated ids this step has."""
        self._add(self.counted, [samples, named, repeated], 1)

    def update_state(
        self, logged: Mapping[str, float | Tensor], after: Tensor | None = None
    ) -> None:
        """Adds what a step has logged to the sums.

        Args:
            logged: Scalars by name.
            after: The losses of the step, `(batch,)`. Without data, nothing is
                added. Defaults to `None`: added in any case.
        """
        if not logged:
            return
        one = self._one(self.sums)
        # Not needed, and one kernel, where every name is logged.
        zero = one if len(logged) == len(self.names) else ops.zeros_like(one)
        new = [logged.get(name, zero) for name in self.names]
        new += [one if name in logged else zero for name in self.names]
        self._add(self.sums, new, one_after(after))

    def _add(
        self, variable: Any, values: list[float | Tensor], one: int | Tensor
    ) -> None:
        # Keras would copy a number to the device, and a GPU waits for that.
        new = stack(
            [
                ops.cast(value, self.dtype)
                if ops.is_tensor(value)
                else value * self._one(variable)
                for value in values
            ]
        )
        if ops.is_tensor(one):
            new *= ops.cast(one, self.dtype)
        add_to(variable, ops.stop_gradient(new))

    def _one(self, variable: Any) -> Tensor:
        """Returns 1, beside a variable."""
        return constant(np.ones, (), self.dtype, beside=variable)

    def result(self) -> dict[str, Tensor]:
        """Returns the mean of each value since the last reset, by name."""
        sums = ops.convert_to_tensor(self.sums)
        count = len(self.names)
        means = ops.divide_no_nan(sums[:count], sums[count:])
        return {name: means[i] for i, name in enumerate(self.names)}

    def counts(self) -> tuple[int, int, int]:
        """Returns the samples, ids and repeated ids since the last reset."""
        samples, named, repeated = ops.convert_to_numpy(self.counted)
        return int(samples), int(named), int(repeated)
