"""The backbones of keras-hub, each with its preprocessing."""

import importlib
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_ltssl.models.backbone import Backbone


def is_hub_backbone(backbone: Any) -> bool:
    """Returns whether this is a backbone of keras-hub, without importing it.

    Example:

    >>> from keras_ltssl.models.hub_backbones import is_hub_backbone
    >>> is_hub_backbone("resnet_18_imagenet")
    False
    """
    hub: Any = sys.modules.get("keras_hub")
    return hub is not None and isinstance(backbone, hub.models.Backbone)


def load_preset(
    preset: str,
    input_shape: tuple[int, int, int],
    loads_weights: bool,
    converter: Any,
) -> tuple[keras.Model, Any]:
    """Returns a backbone of keras-hub and its image converter.

    Args:
        preset: Name or place of a preset.
        input_shape: Tuple `(height, width, channels)`.
        loads_weights: Whether to load its weights.
        converter: An image converter in place of the preset's, or `None`.

    Raises:
        ValueError: If keras-hub is not installed, or if there is no such preset
            for images of this shape.
    """
    try:
        hub: Any = importlib.import_module("keras_hub")
    except ImportError as error:
        raise ValueError(
            "`backbone` must be a network of keras.applications, or a preset "
            "of keras-hub, which is not installed: pip install keras-hub. "
            f"Received: backbone={preset!r}"
        ) from error
    try:
        backbone = hub.models.Backbone.from_preset(
            preset,
            load_weights=loads_weights,
            image_shape=(*input_shape[:2], 3),
        )
        if converter is None:
            converter = hub.layers.ImageConverter.from_preset(preset)
    except Exception as error:
        # Of many classes: of Keras, of keras-hub and of what downloads.
        reason = " ".join(str(error).split())
        raise ValueError(
            "`backbone` must be a network of keras.applications, or a preset "
            "of keras-hub that takes images of `input_shape` and that can be "
            f"read or downloaded. Received: backbone={preset!r}, "
            f"input_shape={input_shape}. keras-hub says: {reason[:300]}"
        ) from error
    return backbone, converter


def wrap_backbone(
    backbone: keras.Model,
    converter: Any,
    input_shape: tuple[int, int, int],
    weights: str | None,
) -> Backbone:
    """Returns a backbone of keras-hub, with what it wants of images.

    If all of its layers are Keras' own, it becomes a plain functional model,
    which is saved layer by layer. Its file then loads without keras-hub.

    Args:
        backbone: The backbone.
        converter: A `keras_hub.layers.ImageConverter`, or `None` to rescale to
            [-1, 1].
        input_shape: Tuple `(height, width, channels)`.
        weights: `None` or the path of a file.

    Raises:
        ValueError: If the backbone does not take one image of this shape, or
            returns several things.
    """
    kind = type(backbone).__name__
    inputs, outputs = backbone.input, backbone.output
    if not hasattr(inputs, "shape") or len(inputs.shape) != 4:
        raise ValueError(
            "`backbone` must take images alone. Received: backbone="
            f"{kind}, which takes {_shapes(inputs)}"
        )
    if not hasattr(outputs, "shape"):
        raise ValueError(
            "`backbone` must return one feature map. Received: backbone="
            f"{kind}, which returns {_shapes(outputs)}"
        )
    wanted = tuple(inputs.shape[1:])
    if any(
        size not in (None, given)
        for size, given in zip(wanted, (*input_shape[:2], 3), strict=True)
    ):
        raise ValueError(
            f"`input_shape` must fit {wanted}, which {kind} was made for. Make "
            "it with another `image_shape`, or resize the images. Received: "
            f"input_shape={input_shape}"
        )
    if weights is not None:
        if not Path(weights).is_file():
            raise ValueError(
                f"`weights` must be None or a file of weights for {kind}. "
                f"Received: weights={weights!r}"
            )
        backbone.load_weights(weights)
    scale, offset = [1 / 127.5] * 3, [-1.0] * 3
    if converter is not None:
        if not hasattr(converter, "scale") or not hasattr(converter, "offset"):
            raise ValueError(
                "`image_converter` must be a keras_hub.layers.ImageConverter. "
                f"Received: image_converter={converter!r}"
            )
        scale = _of_channels(converter.scale, 1.0)
        offset = _of_channels(converter.offset, 0.0)
    if all(_is_of_keras(layer) for layer in backbone.layers):
        backbone = keras.Model(inputs, outputs, name=backbone.name)
    return Backbone(backbone, scale, offset, False, kind)


def _is_of_keras(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer and those in it load with Keras alone."""
    return type(layer).__module__.split(".")[0] == "keras" and all(
        _is_of_keras(inner) for inner in getattr(layer, "layers", [])
    )


def _of_channels(values: Any, default: float) -> list[float]:
    """Returns a number for each of three channels."""
    values = default if values is None else values
    numbers = np.broadcast_to(np.ravel(np.asarray(values, float)), (3,))
    return [float(number) for number in numbers]


def _shapes(tensors: Any) -> str:
    """Returns the shapes of symbolic tensors in words."""
    shapes = keras.tree.map_structure(lambda each: str(each.shape), tensors)
    if isinstance(shapes, dict):
        return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    return str(shapes)
