"""How far two views of a sample agree about its headness."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_operations import at_least
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class Reliability(keras.layers.Layer):
    """Follows the correlation between the estimates from two views.

        c ← m c + (1-m) · corr(h_1, h_2),   r = max(0, c)

    h_1 and h_2 are the headness of the samples of a batch, each from one view
    alone. r is 1 for an estimate that depends on the sample alone and 0 for one
    that depends on chance alone: the test-retest reliability of statistics. The
    first batch sets c. This package's own design.

    Args:
        momentum: m in [0, 1). Defaults to `0.95`.

    Raises:
        ValueError: If `momentum` is out of range.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.state.reliability import Reliability
    >>> reliability = Reliability()
    >>> reliability.build((None, 2))
    >>> h = np.array([0.1, 0.5, 0.9], "float32")
    >>> reliability.update(h, h)
    >>> round(float(reliability.read()), 3)
    1.0
    """

    def __init__(self, momentum: float = 0.95, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.correlation = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="correlation"
        )
        self.updates = self.add_weight(
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name="updates",
        )

    def read(self) -> Tensor:
        """Returns r, in [0, 1]."""
        # Clipped here: the mean of clipped correlations of chance is above 0.
        return at_least(ops.convert_to_tensor(self.correlation), 0.0)

    def update(self, one: Tensor, other: Tensor) -> None:
        """Moves the reliability by one batch.

        Args:
            one: Headness of each sample from its first view, `(batch,)`.
            other: The same from its second view.
        """
        one = ops.convert_to_tensor(one) - ops.mean(one)
        other = ops.convert_to_tensor(other) - ops.mean(other)
        lengths = ops.sum(one * one) * ops.sum(other * other)
        # Where all estimates are equal, they tell nothing of a sample.
        found = ops.sum(one * other) * ops.rsqrt(lengths + 1e-30)
        found = ops.cast(found, "float32")
        updates = ops.convert_to_tensor(self.updates)
        keep = self.momentum * ops.cast(updates > 0, "float32")
        self.correlation.assign(keep * self.correlation + (1.0 - keep) * found)
        self.updates.assign(updates + 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}
