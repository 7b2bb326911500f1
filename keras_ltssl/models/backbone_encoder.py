"""An encoder around a network of keras.applications or of keras-hub."""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from keras_ltssl.models.applications import (
    applications,
    build_application,
    find_application,
)
from keras_ltssl.models.backbone import Backbone
from keras_ltssl.models.encoder_input import raw_images
from keras_ltssl.models.hub_backbones import (
    is_hub_backbone,
    load_preset,
    wrap_backbone,
)
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_choice, check_instance, check_pair


def backbone_encoder(
    backbone: str | Callable[..., keras.Model] | keras.Model,
    input_shape: tuple[int, int, int] = (96, 96, 3),
    weights: str | None = None,
    pooling: Literal["avg", "max", "token"] = "avg",
    image_converter: Any = None,
    value_range: tuple[float, float] = (0, 255),
    name: str | None = None,
    **kwargs: Any,
) -> keras.Model:
    """Returns an encoder around a network of keras.applications or keras-hub.

    The encoder takes raw images, as every encoder here. What the network wants
    of its input is inside, as layers of Keras: the same as `preprocess_input`
    of its module in `keras.applications`, or as the `ImageConverter` of its
    preset in keras-hub, without its resizing. Gray images are repeated to three
    channels. A feature map is pooled.

    A saved encoder loads without this package. It loads without keras-hub, too,
    if all layers of the network are Keras' own, as those of a ResNet are.

    Args:
        backbone: One of

            - a function of `keras.applications`, or its name, such as
              `"MobileNetV2"` or `"efficientnetv2b0"`;
            - a preset of keras-hub: a name such as `"resnet_18_imagenet"`, a
              handle such as `"hf://..."`, or a folder such as `"./my_preset"`;
            - a `keras_hub.models.Backbone`, such as a `ResNetBackbone`.
              It keeps its weights, and is not copied.

        input_shape: Tuple `(height, width, channels)`, with 1 or 3 channels.
            Most networks need at least 32 x 32 pixels. Defaults to
            `(96, 96, 3)`.
        weights: `None` for random weights, `"imagenet"` for those of
            `keras.applications`, `"preset"` for those of a preset, or the path
            of a file. Defaults to `None`.
        pooling: `"avg"` or `"max"` over the feature map or over the tokens of a
            transformer, or `"token"`, its first one. Defaults to `"avg"`.
        image_converter: The `keras_hub.layers.ImageConverter` of a backbone
            that is passed as an object. `None` rescales to [-1, 1]. Defaults
            to `None`.
        value_range: Pair of floats, smallest and largest pixel value.
            Defaults to `(0, 255)`.
        name: Name of the model. Defaults to that of the network.
        **kwargs: Further arguments of the function of
            `keras.applications`, such as `alpha=0.35`.

    Returns:
        `keras.Model`, `(batch, height, width, channels)` ->
        `(batch, features)`.

    Raises:
        ValueError: If an argument is out of range, if the network does not make
            features of images of this shape, or if a preset cannot be read.
        OSError: If weights cannot be downloaded.

    Example:

    >>> import keras_ltssl as lt
    >>> encoder = lt.models.backbone_encoder(
    ...     "MobileNetV2", input_shape=(32, 32, 3), alpha=0.35
    ... )
    >>> encoder.output_shape
    (None, 1280)
    """
    check_choice("pooling", pooling, ("avg", "max", "token"))
    check_instance("weights", weights, (str, type(None)), "None or a string")
    check_instance("name", name, (str, type(None)), "None or a string")
    low, high = check_pair("value_range", value_range, may_be_equal=False)
    images = raw_images(input_shape)
    height, width, channels = input_shape
    if channels not in (1, 3):
        raise ValueError(
            "`input_shape` must have 1 or 3 channels, gray or colors. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    network = _network(
        backbone,
        (height, width, channels),
        weights,
        pooling,
        image_converter,
        kwargs,
    )
    x = images
    if (low, high) != (0, 255):
        rate = 255 / (high - low)
        x = keras.layers.Rescaling(rate, offset=-low * rate)(x)
    if channels == 1:
        x = keras.layers.Concatenate()([x, x, x])
    if network.takes_bgr:
        x = ops.flip(x, axis=-1)
    if set(network.scale) != {1.0} or set(network.offset) != {0.0}:
        x = keras.layers.Rescaling(network.scale, offset=network.offset)(x)
    try:
        features = network.model(x)
    except ValueError as error:
        raise ValueError(
            f"`input_shape` must be one that {network.name} takes. Received: "
            f"input_shape={tuple(input_shape)}. Keras says: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    outputs = _pooled(features, pooling, network.name)
    return keras.Model(images, outputs, name=name or network.name.lower())


def _network(
    backbone: Any,
    input_shape: tuple[int, int, int],
    weights: str | None,
    pooling: str,
    converter: Any,
    arguments: dict[str, Any],
) -> Backbone:
    """Returns the network, whichever of the kinds it is."""
    function = find_application(backbone)
    if function is not None:
        if converter is not None:
            raise ValueError(
                "`image_converter` must be None for a network of "
                "keras.applications, whose preprocessing is known. Received: "
                f"backbone={function.__name__}, "
                f"image_converter={converter!r}"
            )
        return build_application(
            function, input_shape, weights, pooling, arguments
        )
    if arguments:
        raise ValueError(
            "Further arguments must go with a network of keras.applications. "
            f"Received: backbone={backbone!r}, {', '.join(sorted(arguments))}"
        )
    if is_hub_backbone(backbone):
        return wrap_backbone(backbone, converter, input_shape, weights)
    if not isinstance(backbone, str) or not backbone:
        raise ValueError(
            "`backbone` must be a function of keras.applications or its name, "
            "a preset of keras-hub, or a keras_hub.models.Backbone. Any other "
            "Keras model that returns (batch, features) is an encoder as it "
            f"is. Received: backbone={backbone!r}"
        )
    if weights == "imagenet":
        raise ValueError(
            "`weights` must be 'preset' for a preset of keras-hub, and "
            "'imagenet' for a network of keras.applications, one of "
            f"{', '.join(applications())}. Received: weights='imagenet', "
            f"backbone={backbone!r}"
        )
    model, converter = load_preset(
        backbone, input_shape, weights == "preset", converter
    )
    return wrap_backbone(
        model,
        converter,
        input_shape,
        None if weights == "preset" else weights,
    )


def _pooled(x: Tensor, pooling: str, name: str) -> Tensor:
    """Returns features `(batch, features)` of what a network returned."""
    rank = len(x.shape)
    if rank == 3:
        if pooling == "token":
            return ops.take(x, 0, axis=1)
        if pooling == "max":
            return keras.layers.GlobalMaxPooling1D()(x)
        return keras.layers.GlobalAveragePooling1D()(x)
    if pooling == "token":
        raise ValueError(
            "`pooling` must be 'avg' or 'max' for a network that returns no "
            f"tokens, (batch, tokens, features). Received: pooling='token', "
            f"and {name} returns {tuple(x.shape)}"
        )
    if rank == 4 and pooling == "max":
        return keras.layers.GlobalMaxPooling2D()(x)
    if rank == 4:
        return keras.layers.GlobalAveragePooling2D()(x)
    if rank != 2:
        raise ValueError(
            "`backbone` must return a feature map, tokens or features. "
            f"Received: {name}, which returns {tuple(x.shape)}"
        )
    return x
