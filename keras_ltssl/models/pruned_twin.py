"""A layer that runs a second time, without its smallest weights."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.types import Tensor

_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def kernels_of(layer: keras.layers.Layer) -> list[Any]:
    """Returns the weights of convolutions and dense layers, but for biases.

    Args:
        layer: A built layer or model.
    """
    return [
        weight
        for weight in layer.weights
        if weight.name in _KERNELS and len(weight.shape) > 1
    ]


def magnitude_masks(
    kernels: list[np.ndarray[Any, Any]], share: float
) -> list[np.ndarray[Any, Any]]:
    """Returns which entries are left without the smallest ones.

    One threshold for all kernels together: of n entries in all, ceil(share * n)
    are left out, those of the smallest magnitude. Entries as large as the
    smallest one that stays, stay, too, and at least one stays.

    Args:
        kernels: Arrays of any shapes.
        share: Share of all entries to leave out, in [0, 1).

    Returns:
        Booleans of the shapes of `kernels`.

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
    """Runs a layer with a part of its weights set to 0.

    It shares the trainable weights of the layer: gradients flow to them, to
    pruned kernels only where the mask is 1. What a layer keeps by itself, such
    as the moving statistics of a batch norm, the twin has of its own, from the
    batches that it sees. It works for every layer or model that is made of
    Keras layers.

    Args:
        share: Share of the kernels' entries to leave out, in [0, 1). With 0
            there are no masks, and only the statistics are its own.
    """

    def __init__(self, share: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = share
        self.masks: list[Any] = []
        self.statistics: list[Any] = []
        # Which weights of the layer these belong to.
        self._masked: list[int] = []
        self._separate: list[int] = []

    def build_for(self, layer: keras.layers.Layer) -> None:
        """Creates masks that keep everything, and clones the statistics.

        Args:
            layer: The layer to run; it is built.
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
            # When it is called, the weight has its value, a loaded one, too.
            initializer=lambda *_, **__: ops.convert_to_numpy(weight),
            trainable=False,
            autocast=False,
            name=weight.name,
        )

    def update_masks(self, layer: keras.layers.Layer) -> None:
        """Leaves out what are now the smallest entries of the kernels.

        Args:
            layer: The layer that the twin was built for.
        """
        kernels = [
            ops.convert_to_numpy(ops.cast(layer.weights[index], "float32"))
            for index in self._masked
        ]
        new = magnitude_masks(kernels, self.share)
        for mask, value in zip(self.masks, new, strict=True):
            mask.assign(value)

    def run(
        self, layer: keras.layers.Layer, x: Tensor, training: bool | None
    ) -> Tensor:
        """Returns what the layer makes of `x` as this twin.

        Args:
            layer: The layer that the twin was built for.
            x: Inputs of the layer.
            training: Whether the twin's statistics are those of the batch,
                and follow it.
        """
        if not self.built:
            self.build_for(layer)
        if isinstance(x, keras.KerasTensor):
            return layer(x)
        weights = layer.weights
        values: dict[int, Tensor] = {}
        for index, mask in zip(self._masked, self.masks, strict=True):
            kernel = ops.convert_to_tensor(weights[index])
            values[id(weights[index])] = kernel * ops.cast(mask, kernel.dtype)
        own: dict[int, Any] = {}
        for index, statistic in zip(
            self._separate, self.statistics, strict=True
        ):
            # What was frozen and now learns is shared like all that learns.
            if not weights[index].trainable:
                own[id(weights[index])] = statistic
                values[id(weights[index])] = ops.convert_to_tensor(statistic)

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
                if id(variable) in own:
                    own[id(variable)].assign(new)
                elif id(variable) not in is_weight:
                    variable.assign(new)  # How far random numbers have come.
        return outputs
