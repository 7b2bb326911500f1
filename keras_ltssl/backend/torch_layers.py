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
    is_training = bool(training and layer.trainable)
    mean = values.of(layer.moving_mean)
    if not inputs.is_meta:
        inputs = values.tensor(inputs)
    if not _can_normalize(layer, inputs, is_training, mask, mean):
        return type(layer).call(  # type: ignore[no-any-return]
            layer, inputs, training=training, mask=mask
        )
    variance = values.of(layer.moving_variance)
    gamma = values.of(layer.gamma) if layer.scale else None
    beta = values.of(layer.beta) if layer.center else None
    ndim = inputs.ndim
    last = layer.axis % ndim == ndim - 1
    x = inputs
    if last and ndim == 4:
        x = inputs.permute(0, 3, 1, 2)
    elif last:
        x = inputs.reshape(-1, inputs.shape[-1])
    if not is_training:
        if layer.trainable and torch.is_grad_enabled():
            # A step on other data may come before the backward pass.
            mean, variance = mean.clone(), variance.clone()
        y = functional.batch_norm(
            x, mean, variance, gamma, beta, False, 0.0, layer.epsilon
        )
    else:
        y = _normalize_batch(layer, x, mean, variance, gamma, beta, values)
    if last and ndim == 4:
        y = y.permute(0, 2, 3, 1)
    elif last:
        y = y.reshape(inputs.shape)
    return y.to(getattr(torch, layer.compute_dtype))


def _can_normalize(
    layer: Any,
    inputs: torch.Tensor,
    is_training: bool,
    mask: torch.Tensor | None,
    mean: torch.Tensor,
) -> bool:
    if inputs.is_meta or inputs.device != mean.device or mask is not None:
        return False
    if inputs.dtype != mean.dtype and not (
        inputs.dtype in (torch.float16, torch.bfloat16)
        and mean.dtype == torch.float32
    ):
        return False
    if mean.dtype not in (torch.float32, torch.float64):
        return False
    if layer.axis % inputs.ndim not in (1, inputs.ndim - 1):
        return False
    if not is_training:
        return True
    # One value for each channel has no unbiased variance. Older versions of
    # Keras have no `renorm`.
    return (
        not getattr(layer, "renorm", False)
        and layer.momentum != 0
        and inputs.numel() >= 2 * len(mean)
    )


def _normalize_batch(
    layer: Any,
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    gamma: torch.Tensor | None,
    beta: torch.Tensor | None,
    values: Values,
) -> torch.Tensor:
    """Normalizes by the statistics of the batch and moves those of the layer.

    Keras moves the biased variance, `m v + (1-m) b`, and PyTorch the unbiased
    one, u = b / c with c = (count - 1) / count. So PyTorch moves a tensor s
    that starts as -(1-m) v / (c m), and v + c s is what Keras computes. Scaling
    v itself back and forth would add a rounding error at each step.

    `data` is the same memory with a version of its own: a later call may write
    to it before the backward pass, which does not need it.
    """
    share = 1 - layer.momentum
    count = x.numel() // len(mean)
    unbiased = (count - 1) / count
    stateless = values.are_passed
    new_mean = mean.clone() if stateless else mean.data
    step = variance.data * (-share / (unbiased * layer.momentum))
    y = functional.batch_norm(
        x, new_mean, step, gamma, beta, True, share, layer.epsilon
    )
    if stateless:
        layer.moving_mean.assign(new_mean)
        layer.moving_variance.assign(variance + unbiased * step)
    else:
        variance.data.add_(step, alpha=unbiased)
    return y


def _convolve(
    layer: Any, inputs: torch.Tensor, values: Values = _VALUES
) -> torch.Tensor:
    """Calls `Conv2D` or `DepthwiseConv2D` without copies between layouts."""
    kernel = values.tensor(layer.kernel)
    bias = values.of(layer.bias) if layer.use_bias else None
    if not _has_channels_last(layer, inputs) or inputs.dtype != kernel.dtype:
        return type(layer).call(layer, inputs)  # type: ignore[no-any-return]
    inputs = values.tensor(inputs)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    x, padding = _channels_first(inputs), [0, 0]
    if layer.padding == "same":
        before, after = zip(
            *map(
                _same_padding,
                inputs.shape[1:3],
                kernel.shape[:2],
                layer.strides,
                layer.dilation_rate,
            ),
            strict=True,
        )
        if before == after:
            padding = list(before)
        else:
            sides = (before[1], after[1], before[0], after[0])
            x = functional.pad(x, sides)
    y = functional.conv2d(
        x,
        kernel.permute(3, 2, 0, 1),
        bias,
        layer.strides,
        padding,
        layer.dilation_rate,
        x.shape[1] // kernel.shape[2],
    ).permute(0, 2, 3, 1)
    return y if layer.activation is None else layer.activation(y)


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
    if not _has_channels_last(layer, inputs) or layer.padding != "valid":
        return type(layer).call(layer, inputs)  # type: ignore[no-any-return]
    inputs = values.tensor(inputs)
    pool: Callable[..., torch.Tensor] = (
        functional.max_pool2d
        if layer.pool_mode == "max"
        else functional.avg_pool2d
    )
    y = pool(_channels_first(inputs), layer.pool_size, layer.strides)
    return y.permute(0, 2, 3, 1)


def _has_channels_last(layer: Any, inputs: torch.Tensor) -> bool:
    return layer.data_format == "channels_last" and not inputs.is_meta


def _channels_first(inputs: torch.Tensor) -> torch.Tensor:
    """Returns a view, unless the memory has the channels first already."""
    return inputs.permute(0, 3, 1, 2).contiguous(
        memory_format=torch.channels_last
    )


_CALLS: dict[type, Callable[..., torch.Tensor]] = {
    keras.layers.BatchNormalization: _normalize,
    keras.layers.Conv2D: _convolve,
    keras.layers.DepthwiseConv2D: _convolve,
    keras.layers.MaxPooling2D: _pool,
    keras.layers.AveragePooling2D: _pool,
}

# They read variables by their argument `values`.
TAKES_VALUES = frozenset(_CALLS.values())
