"""Layers of Keras that are given images with the channels first.

Import this module only on the PyTorch backend.

PyTorch takes images so. In memory the channels stay last, as Keras has them:
what is given here are views.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import torch
from torch.nn import functional

from keras_ltssl.backend import torch_layers
from keras_ltssl.backend.torch_normalization import normalized
from keras_ltssl.backend.torch_values import Values

_Layers = keras.layers


class Images(NamedTuple):
    """A tensor `(batch, channels, height, width)` of a graph of channels last.

    Layers that do not know this form are given `last`.
    """

    first: torch.Tensor

    @property
    def last(self) -> torch.Tensor:
        return self.first.permute(0, 2, 3, 1)


def as_dtype(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns floats in a dtype, and other tensors as they are."""
    if x.dtype is dtype or not x.is_floating_point():
        return x
    return x.to(dtype)


def is_plain_relu(layer: Any) -> bool:
    """Returns whether a `ReLU` has the default arguments."""
    return bool(
        not layer.negative_slope
        and not layer.threshold
        and layer.max_value is None
    )


def of_images(
    layer: Any,
    inputs: list[torch.Tensor | Images],
    arguments: dict[str, Any],
    dtype: torch.dtype,
    values: Values,
) -> torch.Tensor | Images | None:
    """Returns the output of a layer for images.

    Args:
        layer: Any layer of Keras.
        inputs: What it is called with, tensors or `Images`.
        arguments: Other arguments of its call.
        dtype: The dtype in which it computes.
        values: What reads variables.

    Returns:
        `Images`, or a tensor of another rank; `None` where the layer or its
        arguments are not served, or the inputs are no images.
    """
    run = _OF_IMAGES.get(type(layer))
    if run is None or not run.is_served(layer):
        return None
    first = []
    for x in inputs:
        if not isinstance(x, Images):
            if x.ndim != 4:
                return None
            x = Images(x.permute(0, 3, 1, 2))
        first.append(as_dtype(x.first, dtype))
    y = run.call(layer, first, arguments, values)
    return Images(y) if y is not None and y.ndim == 4 else y


class _OfImages(NamedTuple):
    """How a layer is called with the channels of images first."""

    is_served: Callable[[Any], bool]
    """Whether the arguments of the layer are served, and its channels last."""
    call: Callable[..., torch.Tensor | None]
    """From `(layer, inputs, arguments, values)` to the output."""


def _convolve(
    layer: Any, x: list[torch.Tensor], arguments: Any, values: Values
) -> torch.Tensor | None:
    y = torch_layers.convolved(layer, x[0], values)
    if y is None or layer.activation in (None, keras.activations.linear):
        return y
    if layer.activation is keras.activations.relu:
        return torch.relu(y)
    # It may look at the last axis.
    activated: torch.Tensor = layer.activation(y.permute(0, 2, 3, 1))
    return activated.permute(0, 3, 1, 2)


def _normalize(
    layer: Any,
    x: list[torch.Tensor],
    arguments: dict[str, Any],
    values: Values,
) -> torch.Tensor | None:
    return normalized(layer, x[0], arguments.get("training"), values)


def _add(
    layer: Any, x: list[torch.Tensor], arguments: Any, values: Any
) -> torch.Tensor:
    total = x[0]
    for each in x[1:]:
        total = torch.add(total, each)
    return total


def _pad(
    layer: Any, x: list[torch.Tensor], arguments: Any, values: Any
) -> torch.Tensor:
    rows, columns = layer.padding
    return functional.pad(x[0], (*columns, *rows))


def _always(layer: Any) -> bool:
    return True


_BY_CONVOLUTION = _OfImages(torch_layers.has_channels_last, _convolve)
_BY_POOLING = _OfImages(
    torch_layers.has_channels_last,
    lambda layer, x, *_: torch_layers.pooled(layer, x[0]),
)
_OF_IMAGES: dict[type, _OfImages] = {
    _Layers.Add: _OfImages(_always, _add),
    _Layers.AveragePooling2D: _BY_POOLING,
    _Layers.BatchNormalization: _OfImages(
        torch_layers.has_channels_last, _normalize
    ),
    _Layers.Conv2D: _BY_CONVOLUTION,
    _Layers.DepthwiseConv2D: _BY_CONVOLUTION,
    _Layers.GlobalAveragePooling2D: _OfImages(
        lambda layer: (
            torch_layers.has_channels_last(layer) and not layer.keepdims
        ),
        lambda layer, x, *_: torch.mean(x[0], (2, 3)),
    ),
    _Layers.MaxPooling2D: _BY_POOLING,
    _Layers.ReLU: _OfImages(
        is_plain_relu, lambda layer, x, *_: torch.relu(x[0])
    ),
    _Layers.ZeroPadding2D: _OfImages(torch_layers.has_channels_last, _pad),
}
