"""How likely a sample is one of many of its kind."""

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_operations import (
    largest_and_place,
    sorted_and_order,
)
from keras_ltssl.types import Tensor


@dataclasses.dataclass(eq=False)
class Assignment:
    """What is known of a batch when its headness is estimated."""

    ids: Tensor | None
    """Sample ids, `(batch,)`, where training has them."""
    units: Tensor
    """Normalized mean of each sample's two views, `(batch, dim)`."""
    similarities: Tensor
    """Cosine with every prototype, `(batch, K)`."""
    shares: Tensor
    """Population share of every prototype, `(K,)`."""

    labels: Tensor = dataclasses.field(init=False)
    """The nearest prototype of each sample, `(batch,)`."""
    closeness: Tensor = dataclasses.field(init=False)
    """The cosine with it, `(batch,)`."""

    def __post_init__(self) -> None:
        similarities = ops.convert_to_tensor(self.similarities)
        self.closeness, self.labels = largest_and_place(similarities)
        self._by_closeness: tuple[Tensor, Tensor] | None = None

    def by_closeness(self) -> tuple[Tensor, Tensor]:
        """Returns `closeness` in ascending order, and the indices that sort it.

        Computed once.
        """
        if self._by_closeness is None:
            self._by_closeness = sorted_and_order(self.closeness)
        return self._by_closeness


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
