"""What Keras runs on PyTorch: modules as layers, and PyTorch's own kernels."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras

_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def check_pytorch() -> None:
    """Raises if Keras does not run on PyTorch.

    Raises:
        ValueError: On other backends.
    """
    backend = keras.backend.backend()
    if backend != "torch":
        raise ValueError(
            "`torch_encoder` needs Keras on PyTorch, since a "
            "`torch.nn.Module` runs nowhere else. Set the environment "
            "variable KERAS_BACKEND=torch before Keras is imported. "
            f"Received: keras.backend.backend()={backend!r}"
        )


def set_torch_kernels(
    layers: Iterable[keras.layers.Layer], enabled: bool
) -> int:
    """Replaces `call` of layers by faster ones, or restores it.

    See `torch_layers.set_torch_kernels`. Functional models of plain layers also
    run as a list of them; see `torch_graph`. On other backends this does
    nothing.

    Args:
        layers: Any layers.
        enabled: Whether to replace `call`.

    Returns:
        How many layers have a faster `call` now.
    """
    if keras.backend.backend() != "torch":
        return 0
    from keras_ltssl.backend import torch_graph, torch_layers

    layers = list(layers)
    for layer in layers:
        torch_graph.set_plain_graph(layer, enabled)
    return torch_layers.set_torch_kernels(layers, enabled)


def fails_to_compile(layers: Iterable[keras.layers.Layer]) -> bool:
    """Returns whether PyTorch's compiler fails on a step with these layers.

    It was tried with convolutions, Keras 3.15.1, and PyTorch 2.11 and 2.13: the
    guide "Speed and memory" says how it failed. Modules were not tried.

    Args:
        layers: The layers that a compiled step calls.
    """
    if keras.backend.backend() != "torch":
        return False
    from keras_ltssl.backend.torch_modules import TorchModule

    return any(isinstance(x, (*_CONVOLUTIONS, TorchModule)) for x in layers)


def checked_module(module: Any) -> Any:
    """Returns a module, or what a function makes; raises if it is none.

    Args:
        module: A `torch.nn.Module`, or a function without arguments that
            returns one.
    """
    from keras_ltssl.backend import torch_checks

    return torch_checks.checked_module(module)


def module_layer(module: Any, image_shape: Any, **kwargs: Any) -> Any:
    """Returns a layer that runs a module; see `torch_modules.TorchModule`.

    Args:
        module: The module.
        image_shape: Tuple `(height, width, channels)`.
        **kwargs: Other arguments of the layer.
    """
    from keras_ltssl.backend.torch_modules import TorchModule

    return TorchModule(module, image_shape, **kwargs)


def lend(module: Any) -> str | None:
    """Returns a key for `borrowed`, or `None` if nothing is being copied.

    Args:
        module: A module that a layer holds.
    """
    from keras_ltssl.backend import torch_copies

    return torch_copies.lend(module)


def borrowed(key: str) -> Any:
    """Returns a copy of the module with this key, or `None`.

    Args:
        key: What `lend` returned, or any other string.
    """
    from keras_ltssl.backend import torch_copies

    return torch_copies.borrowed(key)


def copied_layers(layers: Sequence[keras.layers.Layer]) -> list[Any]:
    """Returns layers made anew from the configs of others.

    PyTorch modules inside of them are copied, since they have no config. The
    weights of all other layers have new initial values.

    Args:
        layers: The layers.
    """
    serialize = keras.saving.serialize_keras_object
    deserialize = keras.saving.deserialize_keras_object
    if keras.backend.backend() != "torch":
        return [deserialize(serialize(layer)) for layer in layers]
    from keras_ltssl.backend import torch_copies

    with torch_copies.lending():
        return [deserialize(serialize(layer)) for layer in layers]
