"""Batch normalization of Keras in one kernel of PyTorch.

Import this module only on the PyTorch backend.
"""

from typing import Any

import torch

from keras_ltssl.backend.torch_values import Values


def normalized(
    layer: Any, x: torch.Tensor, training: bool | None, values: Values
) -> torch.Tensor | None:
    """Returns what `BatchNormalization` makes of channels in the second axis.

    Args:
        layer: The layer, whose own axis does not count.
        x: `(batch, channels, ...)`.
        training: Whether the model trains.
        values: What reads variables.

    Returns:
        The output, or `None` where PyTorch has no kernel for it.
    """
    is_training = bool(training and layer.trainable)
    mean = values.of(layer.moving_mean)
    if not _can_normalize(layer, x, is_training, mean):
        return None
    variance = values.of(layer.moving_variance)
    gamma = values.of(layer.gamma) if layer.scale else None
    beta = values.of(layer.beta) if layer.center else None
    if not is_training:
        if layer.trainable and torch.is_grad_enabled():
            # A step on other data may come before the backward pass.
            mean, variance = mean.clone(), variance.clone()
        y = torch.batch_norm(
            x,
            gamma,
            beta,
            mean,
            variance,
            False,
            0.0,
            layer.epsilon,
            torch.backends.cudnn.enabled,
        )
    else:
        y = _normalize_batch(layer, x, mean, variance, gamma, beta, values)
    return y.to(getattr(torch, layer.compute_dtype))


def _can_normalize(
    layer: Any, x: torch.Tensor, is_training: bool, mean: torch.Tensor
) -> bool:
    if x.device != mean.device:
        return False
    if x.dtype != mean.dtype and not (
        x.dtype in (torch.float16, torch.bfloat16)
        and mean.dtype == torch.float32
    ):
        return False
    if mean.dtype not in (torch.float32, torch.float64):
        return False
    if not is_training:
        return True
    # One value for each channel has no unbiased variance. Older versions of
    # Keras have no `renorm`.
    return (
        not getattr(layer, "renorm", False)
        and layer.momentum != 0
        and x.numel() >= 2 * mean.numel()
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
    count = x.numel() // mean.numel()
    unbiased = (count - 1) / count
    stateless = values.are_passed
    new_mean = mean.clone() if stateless else mean.data
    step = variance.data * (-share / (unbiased * layer.momentum))
    y = torch.batch_norm(
        x,
        gamma,
        beta,
        new_mean,
        step,
        True,
        share,
        layer.epsilon,
        torch.backends.cudnn.enabled,
    )
    if stateless:
        layer.moving_mean.assign(new_mean)
        layer.moving_variance.assign(variance + unbiased * step)
    else:
        variance.data.add_(step, alpha=unbiased)
    return y
