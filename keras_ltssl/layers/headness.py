"""How likely a sample is one of many of its kind."""

from typing import Any, NamedTuple

import keras

from keras_ltssl.typing import Tensor


class Assignment(NamedTuple):
    """What is known of a batch when its headness is estimated."""

    ids: Tensor | None
    """Sample ids, `(batch,)`, where training has them."""
    units: Tensor
    """Normalised mean of each sample's two views, `(batch, dim)`."""
    similarities: Tensor
    """Cosine with every prototype, `(batch, K)`."""
    shares: Tensor
    """Population share of every prototype, `(K,)`."""


class Headness(keras.layers.Layer):
    """Base class: estimates in [0, 1], 0.5 on average over the population.

    A state layer: `update` may learn from each training batch, in the graph.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for projections of shape `input_shape`."""

    def estimate(self, assignment: Assignment) -> Tensor:
        """Returns the headness of each sample, `(batch,)`."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `estimate(assignment)`."
        )

    def update(self, assignment: Assignment) -> None:
        """Learns from a training batch; by default nothing."""
