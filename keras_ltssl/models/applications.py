"""The networks of `keras.applications`, each with its preprocessing."""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_ltssl.models.backbone import Backbone
from keras_ltssl.types import Tensor

# Arguments of the networks that `backbone_encoder` sets, or that are about a
# classifier on top, which an encoder does not have.
_SET_HERE = {
    *("include_top", "weights", "input_tensor", "input_shape", "pooling"),
    *("classes", "classifier_activation", "include_preprocessing"),
}


def applications() -> dict[str, Callable[..., keras.Model]]:
    """Returns the functions of `keras.applications` by their names.

    Example:

    >>> from keras_ltssl.models.applications import applications
    >>> applications()["MobileNetV2"].__name__
    'MobileNetV2'
    """
    return {
        name: value
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value)
    }


def find_application(backbone: Any) -> Callable[..., keras.Model] | None:
    """Returns the function of `keras.applications`, if it is one.

    Args:
        backbone: The function or its name, in which capitals, `_` and `-` do
            not count.

    Example:

    >>> from keras_ltssl.models.applications import find_application
    >>> find_application("mobilenet_v2").__name__
    'MobileNetV2'
    >>> find_application("mobilenet_v9") is None
    True
    """
    if isinstance(backbone, str):
        wanted = re.sub("[-_]", "", backbone.lower())
        for name, function in applications().items():
            if name.lower() == wanted:
                return function
        return None
    known = list(applications().values())
    return (
        backbone if inspect.isfunction(backbone) and backbone in known else None
    )


def channels_of(
    preprocess_input: Callable[..., Tensor],
) -> tuple[list[float], list[float], bool]:
    """Returns factors, offsets, and whether channels are turned around.

    `preprocess_input` of each network is a linear function of each channel,
    with the channels as they are or in the opposite order. So its values for
    black, red, green and blue tell all of it, and no table of networks has to
    be kept.

    Args:
        preprocess_input: The function of a network.

    Returns:
        Factor and offset of each channel that comes out, as lists of three
        numbers, and `True` if red comes last.

    Example:

    >>> import keras
    >>> from keras_ltssl.models.applications import channels_of
    >>> scale, offset, takes_bgr = channels_of(
    ...     keras.applications.vgg16.preprocess_input
    ... )
    >>> scale, [round(each, 3) for each in offset], takes_bgr
    ([1.0, 1.0, 1.0], [-103.939, -116.779, -123.68], True)
    """

    def preprocess(pixels: Tensor) -> Tensor:
        # A copy, since it writes into the pixels.
        out = preprocess_input(pixels.copy(), data_format="channels_last")
        return np.asarray(out)[0, 0]

    offset = preprocess(np.zeros((1, 1, 1, 3)))[0]
    colors = preprocess(255 * np.eye(3)[None, None])
    rates = (colors - offset) / 255  # (channel in, channel out)
    order = np.abs(rates).argmax(axis=0)
    scale = rates[order, np.arange(3)]
    return scale.tolist(), offset.tolist(), bool(order[0] == 2)


def build_application(
    function: Callable[..., keras.Model],
    input_shape: tuple[int, int, int],
    weights: str | None,
    pooling: str,
    arguments: dict[str, Any],
) -> Backbone:
    """Returns a network of `keras.applications` without its classifier.

    Args:
        function: The function that makes it.
        input_shape: Tuple `(height, width, channels)`. The network gets three
            channels.
        weights: `None`, `"imagenet"` or the path of a file.
        pooling: `"avg"` or `"max"`.
        arguments: Further arguments of the function.

    Raises:
        ValueError: If an argument is not one that the network takes.
        OSError: If weights cannot be downloaded or read.
    """
    name = function.__name__
    if pooling not in ("avg", "max"):
        raise ValueError(
            f"`pooling` must be 'avg' or 'max' for {name}, which returns a "
            f"feature map. Received: pooling={pooling!r}"
        )
    allowed = [
        each
        for each in inspect.signature(function).parameters
        if each not in _SET_HERE and each != "name"
    ]
    unknown = sorted(set(arguments) - set(allowed))
    if unknown:
        raise ValueError(
            f"Further arguments of {name} must be among "
            f"{', '.join(allowed) or 'none'}. Received: {', '.join(unknown)}"
        )
    if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
        raise ValueError(
            "`weights` must be None, 'imagenet' or a file of weights for "
            f"{name}. Received: weights={weights!r}"
        )
    try:
        model = function(
            include_top=False,
            weights=weights,
            input_shape=(*input_shape[:2], 3),
            pooling=pooling,
            **arguments,
        )
    except ValueError as error:
        raise _refused(name, input_shape, weights, arguments, error) from error
    except Exception as error:
        # Keras raises a bare `Exception` if a download fails.
        if weights is None:
            raise
        raise OSError(
            f"The weights {weights!r} of {name} cannot be read. Where there "
            "is no network, download the file without the classifier "
            "elsewhere, and pass its path as `weights`. Received: "
            f"{' '.join(str(error).split())}"
        ) from error
    preprocess_input = sys.modules[function.__module__].preprocess_input
    return Backbone(model, *channels_of(preprocess_input), name)


def _refused(
    name: str,
    input_shape: tuple[int, int, int],
    weights: str | None,
    arguments: dict[str, Any],
    error: ValueError,
) -> ValueError:
    """Returns Keras' error in the words of `backbone_encoder`."""
    reason = " ".join(str(error).split())
    least = re.search(r"at least (\d+)x(\d+)", reason)
    if least:
        return ValueError(
            f"`input_shape` must be at least {least[1]} x {least[2]} pixels "
            f"for {name}. Received: input_shape={input_shape}"
        )
    given = "".join(f", {key}={value!r}" for key, value in arguments.items())
    return ValueError(
        "`backbone` must be a network that Keras can build with these "
        f"arguments. Received: backbone={name}, input_shape={input_shape}, "
        f"weights={weights!r}{given}. Keras says: {reason}"
    )
