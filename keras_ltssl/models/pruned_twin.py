"""Runs a layer a second time, without its smallest weights."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.types import Tensor

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def kernels_of(layer: keras.layers.Layer) -> list[Any]:
    """Returns the kernels of convolutions and dense layers, without biases.

    Args:
        layer: A built layer or model.
    """
    return [
        weight
        for weight in layer.weights
        # PyTorch calls every weight "weight", so there variables are marked.
        if getattr(weight, "is_kernel", weight.name in _KERNELS)
        and len(weight.shape) > 1
    ]


def magnitude_masks(
    kernels: list[np.ndarray[Any, Any]], share: float
) -> list[np.ndarray[Any, Any]]:
    """Returns masks that are False at the smallest entries.

    There is one threshold for all kernels together. Of all n entries, the
    ceil(share * n) entries of smallest magnitude are masked. Fewer are masked
    if entries tie at the threshold; at least one entry is always kept.

    Args:
        kernels: Arrays of any shapes.
        share: Share of all entries to mask, in [0, 1).

    Returns:
        List of boolean arrays of the shapes of `kernels`.

    Example:

    >>> import numpy as np
    >>> kernels = [np.array([[1.0, -5.0]]), np.array([[2.0], [-3.0]])]
    >>> [mask.tolist() for mask in magnitude_masks(kernels, 0.5)]
    [[[False, True]], [[False], [True]]]
    """
    sizes = [np.abs(np.asarray(kernel, "float32")) for kernel in kernels]
    magnitudes = np.concatenate([size.ravel() for size in sizes])
    count = min(math.ceil(share * len(magnitudes)), len(magnitudes) - 1)
    threshold = np.partition(magnitudes, count)[count]
    return [size >= threshold for size in sizes]


class PrunedTwin(keras.layers.Layer):
    """Runs another layer with its smallest weights set to 0.

    The twin shares the trainable weights of the layer. Gradients flow to them;
    in pruned kernels, only where the mask is 1. The twin has its own copy of
    the state that is not trained, such as the moving statistics of a batch
    norm, which comes from the batches that the twin sees. This works for every
    layer or model that is made of Keras layers.

    Args:
        share: Share of the kernels' entries to set to 0, in [0, 1). With 0
            there are no masks, and only the statistics are separate.
    """

    def __init__(self, share: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = share
        self.masks: list[Any] = []
        self.statistics: list[Any] = []
        # Indices of the layer's weights for `masks` and `statistics`.
        self._masked: list[int] = []
        self._separate: list[int] = []

    def build_for(self, layer: keras.layers.Layer) -> None:
        """Creates masks that keep every entry, and copies the statistics.

        Args:
            layer: The layer to run. It must be built.
        """
        kernels = kernels_of(layer)
        if self.share and not kernels:
            raise ValueError(
                "`encoder` must have convolution or dense kernels to prune. "
                f"Received: encoder={layer.name} with weights "
                f"{[weight.path for weight in layer.weights]}"
            )
        is_kernel = {id(kernel) for kernel in kernels}
        for index, weight in enumerate(layer.weights):
            if id(weight) in is_kernel:
                if self.share:
                    self._masked.append(index)
                    self.masks.append(self._mask(weight))
            elif not weight.trainable:
                self._separate.append(index)
                self.statistics.append(self._clone(weight))
        self.built = True

    def _mask(self, weight: Any) -> Any:
        return self.add_weight(
            shape=weight.shape,
            dtype="bool",
            initializer="ones",
            trainable=False,
            name="mask",
        )

    def _clone(self, weight: Any) -> Any:
        return self.add_weight(
            shape=weight.shape,
            dtype=weight.dtype,
            # A function: it reads the weight when it is called, so a value
            # that was loaded in the meantime counts.
            initializer=lambda *_, **__: ops.convert_to_numpy(weight),
            trainable=False,
            autocast=False,
            name=weight.name,
        )

    def update_masks(self, layer: keras.layers.Layer) -> None:
        """Masks the entries of the kernels that are smallest now.

        Args:
            layer: The layer that the twin was built for.
        """
        weights = layer.weights
        kernels = [
            ops.convert_to_numpy(ops.cast(weights[index], "float32"))
            for index in self._masked
        ]
        new = magnitude_masks(kernels, self.share)
        for mask, value in zip(self.masks, new, strict=True):
            mask.assign(value)

    def run(
        self, layer: keras.layers.Layer, x: Tensor, training: bool | None
    ) -> Tensor:
        """Returns the output of the layer with masks and separate statistics.

        Args:
            layer: The layer that the twin was built for.
            x: Inputs of the layer.
            training: Whether the layer runs in training mode. If so, the
                twin's statistics are updated.
        """
        if not self.built:
            self.build_for(layer)
        if isinstance(x, keras.KerasTensor):
            return layer(x)
        weights = layer.weights
        statistics = self._own_statistics(weights)
        values = self._masked_kernels(weights)
        for key, statistic in statistics.items():
            values[key] = ops.convert_to_tensor(statistic)

        def value(variable: Any) -> Tensor:
            found = values.get(id(variable))
            return ops.convert_to_tensor(variable) if found is None else found

        fixed = layer.non_trainable_variables
        outputs, updated = layer.stateless_call(
            [value(variable) for variable in layer.trainable_variables],
            [value(variable) for variable in fixed],
            x,
            training=training,
        )
        if training:
            is_weight = {id(weight) for weight in weights}
            for variable, new in zip(fixed, updated, strict=True):
                if id(variable) in statistics:
                    statistics[id(variable)].assign(new)
                elif id(variable) not in is_weight:
                    variable.assign(new)  # The state of a seed generator.
        return outputs

    def _masked_kernels(self, weights: list[Any]) -> dict[int, Tensor]:
        """Returns the kernels times their masks, by the id of the kernel."""
        masked = {}
        for index, mask in zip(self._masked, self.masks, strict=True):
            kernel = ops.convert_to_tensor(weights[index])
            masked[id(weights[index])] = kernel * ops.cast(mask, kernel.dtype)
        return masked

    def _own_statistics(self, weights: list[Any]) -> dict[int, Any]:
        """Returns the twin's statistics, by the id of the layer's variable.

        A weight that was frozen when the twin was built and is trainable now
        is shared, as every trainable weight is.
        """
        pairs = zip(self._separate, self.statistics, strict=True)
        return {
            id(weights[index]): statistic
            for index, statistic in pairs
            if not weights[index].trainable
        }
