"""PyTorch modules as layers, where Keras runs on PyTorch."""

from collections.abc import Sequence
from typing import Any

import keras


def torch_modules() -> Any:
    """Returns the module `torch_modules`; raises on other backends.

    Raises:
        ValueError: If Keras does not run on PyTorch.
    """
    backend = keras.backend.backend()
    if backend != "torch":
        raise ValueError(
            "`torch_encoder` needs Keras on PyTorch, since a "
            "`torch.nn.Module` runs nowhere else. Set the environment "
            "variable KERAS_BACKEND=torch before Keras is imported. "
            f"Received: keras.backend.backend()={backend!r}"
        )
    from keras_ltssl.backend import torch_modules

    return torch_modules


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
    with torch_modules().lending():
        return [deserialize(serialize(layer)) for layer in layers]
