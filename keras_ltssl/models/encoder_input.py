"""The input of an encoder for raw images."""

import keras

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_pair, check_sizes


def raw_images(input_shape: tuple[int, int, int]) -> Tensor:
    """Returns symbolic raw images.

    Args:
        input_shape: Tuple `(height, width, channels)`.

    Raises:
        ValueError: If a size is out of range, or if Keras is configured for
            channels first.

    Example:

    >>> tuple(raw_images((8, 8, 3)).shape)
    (None, 8, 8, 3)
    """
    check_sizes("input_shape", input_shape, ("height", "width", "channels"))
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "The encoder needs images with the channels last. Received: "
            "keras.config.image_data_format()="
            f"{keras.config.image_data_format()!r}"
        )
    return keras.Input(input_shape, name="images")


def image_input(
    input_shape: tuple[int, int, int], value_range: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Returns symbolic raw images, and the same rescaled to [-1, 1].

    Args:
        input_shape: Tuple `(height, width, channels)`.
        value_range: Pair of floats, smallest and largest pixel value.

    Returns:
        Two symbolic tensors `(None, height, width, channels)`.

    Raises:
        ValueError: If an argument is out of range, or if Keras is configured
            for channels first.

    Example:

    >>> images, centered = image_input((8, 8, 3), (0, 255))
    >>> tuple(centered.shape)
    (None, 8, 8, 3)
    """
    low, high = check_pair("value_range", value_range, may_be_equal=False)
    images = raw_images(input_shape)
    centered = keras.layers.Rescaling(
        2 / (high - low), offset=-(high + low) / (high - low)
    )(images)
    return images, centered
