"""Layers of Keras that run PyTorch's own operations.

Import this module only on the PyTorch backend.

On PyTorch, Keras writes batch normalization as a dozen elementwise operations,
and copies the inputs of convolutions and pooling from one memory layout to
another and back. A GPU then waits for Python to start small kernels. Here the
method `call` of single layers is replaced. Classes, weights, configs and saved
files are those of Keras, and so are layers that were not asked for.
"""

from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

import keras
import torch
from torch.nn import functional

from keras_ltssl.backend.torch_normalization import normalized
from keras_ltssl.backend.torch_values import KerasValues, Values

_VALUES = KerasValues()


def set_torch_kernels(
    layers: Iterable[keras.layers.Layer], enabled: bool
) -> int:
    """Replaces `call` of layers, or restores it.

    Args:
        layers: Any layers. Those of other classes stay as they are, also
            subclasses, which may compute something else, and so do layers
            whose `call` somebody else has replaced.
        enabled: Whether to replace `call`.

    Returns:
        How many layers have a `call` of this module now.
    """
    count = 0
    for layer in layers:
        call = _CALLS.get(type(layer))
        if call is None:
            continue
        replaced = vars(layer).get("call")
        is_ours = getattr(replaced, "__func__", None) is call
        if enabled and replaced is None:
            layer.call = MethodType(call, layer)
        elif is_ours and not enabled:
            del layer.call
        count += enabled and (is_ours or replaced is None)
    return count


def _normalize(
    layer: Any,
    inputs: torch.Tensor,
    training: bool | None = None,
    mask: torch.Tensor | None = None,
    values: Values = _VALUES,
) -> torch.Tensor:
    """Calls `BatchNormalization`, in one kernel where PyTorch has it.

    Keras' own operations compute what PyTorch has no kernel for.
    """
    y = None
    if mask is None and not inputs.is_meta:
        inputs = values.tensor(inputs)
        last = layer.axis % inputs.ndim == inputs.ndim - 1
        if last and inputs.ndim == 4:
            x = inputs.permute(0, 3, 1, 2)
            y = normalized(layer, x, training, values)
            y = None if y is None else y.permute(0, 2, 3, 1)
        elif last:
            x = inputs.reshape(-1, inputs.shape[-1])
            y = normalized(layer, x, training, values)
            y = None if y is None else y.reshape(inputs.shape)
        elif layer.axis % inputs.ndim == 1:
            y = normalized(layer, inputs, training, values)
    if y is None:
        y = type(layer).call(layer, inputs, training=training, mask=mask)
    return y


def _convolve(
    layer: Any, inputs: torch.Tensor, values: Values = _VALUES
) -> torch.Tensor:
    """Calls `Conv2D` or `DepthwiseConv2D` without copies between layouts."""
    y = None
    if has_channels_last(layer) and not inputs.is_meta:
        x = values.tensor(inputs).permute(0, 3, 1, 2)
        y = convolved(layer, x, values)
    if y is None:
        return type(layer).call(layer, inputs)  # type: ignore[no-any-return]
    y = y.permute(0, 2, 3, 1)
    return y if layer.activation is None else layer.activation(y)


def convolved(
    layer: Any, x: torch.Tensor, values: Values
) -> torch.Tensor | None:
    """Returns what a convolution makes of channels in the second axis.

    Args:
        layer: `Conv2D` or `DepthwiseConv2D`. Its activation is left out, and
            its data format does not count.
        x: `(batch, channels, height, width)`.
        values: What reads variables.

    Returns:
        The output, or `None` where the layer converts dtypes.
    """
    kernel = values.tensor(layer.kernel)
    if x.dtype != kernel.dtype:
        return None
    bias = values.of(layer.bias) if layer.use_bias else None
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    kernel = kernel.permute(3, 2, 0, 1)
    # A view, unless the memory has the channels first already.
    x = x.contiguous(memory_format=torch.channels_last)
    padding = (0, 0)
    if layer.padding == "same":
        (top, bottom), (left, right) = map(
            _same_padding,
            x.shape[2:],
            kernel.shape[2:],
            layer.strides,
            layer.dilation_rate,
        )
        if top == bottom and left == right:
            padding = (top, left)
        else:
            x = functional.pad(x, (left, right, top, bottom))
    return torch.conv2d(
        x,
        kernel,
        bias,
        layer.strides,
        padding,
        layer.dilation_rate,
        x.shape[1] // kernel.shape[1],
    )


def _same_padding(
    size: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Returns how many zeros Keras puts before and after an axis."""
    reach = dilation * (kernel - 1) + 1
    outputs = (size + stride - 1) // stride
    total = max(0, (outputs - 1) * stride + reach - size)
    return total // 2, total - total // 2


def _pool(
    layer: Any, inputs: torch.Tensor, values: Values = _VALUES
) -> torch.Tensor:
    """Calls `MaxPooling2D` or `AveragePooling2D` without a copy."""
    y = None
    if has_channels_last(layer) and not inputs.is_meta:
        y = pooled(layer, values.tensor(inputs).permute(0, 3, 1, 2))
    if y is None:
        return type(layer).call(layer, inputs)  # type: ignore[no-any-return]
    return y.permute(0, 2, 3, 1)


def pooled(layer: Any, x: torch.Tensor) -> torch.Tensor | None:
    """Returns what a pooling layer makes of channels in the second axis.

    Args:
        layer: `MaxPooling2D` or `AveragePooling2D`, whose data format does not
            count.
        x: `(batch, channels, height, width)`.

    Returns:
        The output, or `None` where the layer pads.
    """
    if layer.padding != "valid":
        return None
    pool: Callable[..., torch.Tensor] = (
        functional.max_pool2d
        if layer.pool_mode == "max"
        else functional.avg_pool2d
    )
    x = x.contiguous(memory_format=torch.channels_last)
    return pool(x, layer.pool_size, layer.strides)


def has_channels_last(layer: Any) -> bool:
    """Returns whether a layer for images has the channels in the last axis.

    Args:
        layer: A layer with a data format, or batch normalization.
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.axis in (-1, 3)
    return bool(layer.data_format == "channels_last")


_CALLS: dict[type, Callable[..., torch.Tensor]] = {
    keras.layers.BatchNormalization: _normalize,
    keras.layers.Conv2D: _convolve,
    keras.layers.DepthwiseConv2D: _convolve,
    keras.layers.MaxPooling2D: _pool,
    keras.layers.AveragePooling2D: _pool,
}

REPLACED = frozenset(_CALLS)
"""The classes of layers whose `call` is replaced."""

# They read variables by their argument `values`.
TAKES_VALUES = frozenset(_CALLS.values())
