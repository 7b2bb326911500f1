"""One call of a `LossState`, handed on to the loss that runs next."""

import dataclasses
import weakref
from typing import Any

from keras_ltssl.backend import replicas
from keras_ltssl.backend.compilation import traced_function
from keras_ltssl.state.key_queue import KeyQueue
from keras_ltssl.types import Tensor


@dataclasses.dataclass(eq=False)
class Call:
    """What a loss must know of the forward pass, as Keras does not tell it."""

    training: bool
    """Whether this is a training step."""
    queue: KeyQueue | None
    """Earlier keys to compare with, or `None` to compare within the batch."""
    is_of_shapes: bool
    """Whether PyTorch ran the forward pass on stand-ins, to learn shapes."""
    graph: "weakref.ref[Any] | None"
    """The graph that TensorFlow traced the forward pass into."""
    views: Tensor | None = None
    """What `look_at` returned for the views, where they are looked at."""

    def serves(self, z: Tensor) -> bool:
        """Returns whether the loss of `z` belongs to this forward pass.

        Calls by which Keras learns shapes, as when a model is made, serve no
        step. On TensorFlow, neither do calls outside the step that is traced.
        """
        if self.is_of_shapes:
            return False
        if replicas.infers_shapes():
            return True
        if self.graph is None:
            return traced_function(z) is None
        graph = self.graph()
        return graph is not None and graph is traced_function(z)
