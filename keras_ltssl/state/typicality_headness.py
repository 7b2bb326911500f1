"""Headness from how typical a sample is of its prototype."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.state.headness import Assignment, Headness
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class TypicalityHeadness(Headness):
    """The rank of a sample's similarity to its prototype in the population.

        h_i = share of the population with max_k ẑ · μ_k below that of sample i

    The population's distribution is kept as 64 quantiles, an exponential
    moving average of the quantiles of each batch. It has to forget quickly:
    similarities rise while training, and ranks against an outdated
    distribution would all be high. This package's own design.

    Args:
        momentum: Of the moving average, in [0, 1). Defaults to `0.5`.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> from keras_ltssl.state.headness import Assignment
    >>> headness = lt.layers.TypicalityHeadness()
    >>> headness.build((None, 2))
    >>> similarities = np.array([[0.1], [0.9]], "float32")
    >>> assignment = Assignment(None, None, similarities, None)
    >>> headness.update(assignment)
    >>> np.asarray(headness.estimate(assignment)).round(2).tolist()
    [0.0, 1.0]
    """

    num_quantiles = 64

    def __init__(self, momentum: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.quantiles = self.add_weight(
            shape=(self.num_quantiles,),
            initializer="zeros",
            trainable=False,
            name="quantiles",
        )
        self.updates = self.add_weight(
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name="updates",
        )

    def estimate(self, assignment: Assignment) -> Tensor:
        score = assignment.closeness[:, None]
        quantiles = ops.convert_to_tensor(self.quantiles)
        below = ops.cast(quantiles < score, "float32")
        not_above = ops.cast(quantiles <= score, "float32")
        below = ops.sum(below + not_above, axis=-1)
        return below / (2.0 * self.num_quantiles)

    def update(self, assignment: Assignment) -> None:
        scores = ops.sort(assignment.closeness)
        last = ops.cast(ops.shape(scores)[0] - 1, "float32")
        # The middles of 64 equal parts, so that ranks average to 0.5.
        middles = ops.arange(0.5, self.num_quantiles, dtype="float32")
        place = middles * (last / self.num_quantiles)
        low, high = ops.floor(place), ops.ceil(place)
        part = place - low

        def scores_at(places: Tensor) -> Tensor:
            return ops.take(scores, ops.cast(places, "int32"))

        batch_quantiles = (1.0 - part) * scores_at(low) + part * scores_at(high)
        updates = ops.convert_to_tensor(self.updates)
        keep = self.momentum * ops.cast(updates > 0, "float32")
        self.quantiles.assign(
            keep * self.quantiles + (1.0 - keep) * batch_quantiles
        )
        self.updates.assign(updates + 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}
