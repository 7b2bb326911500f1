"""Checks of PyTorch modules and of what they return.

Import this module only on the PyTorch backend.
"""

from typing import Any

import keras
import torch


def checked_module(module: Any) -> torch.nn.Module:
    """Returns a module, or what a function makes; raises if it is none.

    Args:
        module: A `torch.nn.Module`, or a function without arguments that
            returns one.
    """
    made = module
    is_class = isinstance(made, type)
    if (
        callable(made)
        and not is_class
        and not isinstance(made, torch.nn.Module)
    ):
        made = made()
    if not isinstance(made, torch.nn.Module):
        raise ValueError(
            "`module` must be a torch.nn.Module, or a function without "
            f"arguments that returns one. Received: module={module!r} of type "
            f"{type(module).__name__}"
        )
    if isinstance(made, keras.layers.Layer):
        raise ValueError(
            "`module` must be a torch.nn.Module of PyTorch. A Keras layer is "
            f"an encoder already. Received: module={made!r}"
        )
    for name, parameter in made.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise ValueError(
                "`module` must know the shapes of its parameters: call it "
                f"once on a batch. Received: {name} without a shape"
            )
    return made


def check_module_features(outputs: Any) -> None:
    """Raises if a module returns anything but `(batch, features)`."""
    if not isinstance(outputs, torch.Tensor):
        raise not_features(
            f"a {type(outputs).__name__}", " Wrap it to return one tensor."
        )
    if outputs.ndim != 2:
        advice = {
            3: " Of tokens, return their mean or one of them.",
            4: " A feature map has to be pooled: `torch.nn.Sequential(module, "
            "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())`.",
        }.get(outputs.ndim, "")
        raise not_features(f"shape {tuple(outputs.shape)}", advice)


def not_features(received: str, advice: str = "") -> ValueError:
    """Returns the error for outputs that are not features.

    Args:
        received: What the module returned.
        advice: How to get features. Defaults to `""`.
    """
    return ValueError(
        "`module` must return features, one tensor of shape (batch, "
        f"features).{advice} Received: {received}"
    )
