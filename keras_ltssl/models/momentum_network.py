"""A copy of layers whose weights are moving averages of theirs."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.pytorch import copied_layers
from keras_ltssl.types import Tensor


class MomentumNetwork(keras.layers.Layer):
    """Runs copies of layers whose weights are moving averages.

        θ_k ← m θ_k + (1-m) θ_q        (the first update copies every weight)

    where θ_q are the trainable weights of the original layers and θ_k those of
    the copies. State that is not trained, such as the moving statistics of a
    batch norm, comes from the batches that the copies see. No gradient flows
    into the copies.

    Args:
        layers: The layers to copy. Each is applied to the output of the one
            before it.

    Call arguments:
        x: Inputs of the first layer.
        training: Whether to update the copies before they are called.
        originals: The layers to follow; only needed for an update.
        momentum: m, in [0, 1]; only needed for an update.
    """

    def __init__(
        self, layers: Sequence[keras.layers.Layer], **kwargs: Any
    ) -> None:
        # float32 also in mixed precision, or small updates would vanish.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.copies = copied_layers(layers)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.has_started = self.add_weight(
            shape=(),
            dtype="bool",
            initializer="zeros",
            trainable=False,
            name="has_started",
        )
        outputs = keras.KerasTensor(input_shape)
        for copy in self.copies:
            outputs = copy(outputs)
            # The weights, not the layer: a batch norm with `trainable=False`
            # would use its moving statistics instead of those of the batch.
            for weight in copy.weights:
                weight.trainable = False

    def call(
        self,
        x: Tensor,
        training: bool | None = None,
        originals: Sequence[keras.layers.Layer] | None = None,
        momentum: float | Tensor = 1.0,
    ) -> Tensor:
        if training and originals is not None:
            self._follow(originals, momentum)
        for copy in self.copies:
            x = copy(x, training=training)
        return ops.stop_gradient(x)

    def _follow(
        self, originals: Sequence[keras.layers.Layer], momentum: float | Tensor
    ) -> None:
        has_started = ops.convert_to_tensor(self.has_started)
        for layer, copy in zip(originals, self.copies, strict=True):
            pairs = zip(layer.weights, copy.weights, strict=True)
            for original, follower in pairs:
                new = ops.stop_gradient(ops.convert_to_tensor(original))
                old = ops.convert_to_tensor(follower)
                moved = old
                if original.trainable:
                    share = ops.cast(momentum, old.dtype)
                    moved = share * old + (1.0 - share) * new
                follower.assign(ops.where(has_started, moved, new))
        self.has_started.assign(ops.ones_like(has_started))
