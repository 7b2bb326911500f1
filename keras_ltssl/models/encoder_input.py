"""How raw images enter an encoder."""

import keras

from keras_ltssl.typing import Tensor


def image_input(
    input_shape: tuple[int, int, int], value_range: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Symbolic raw images, and the same brought to [-1, 1].

    Args:
        input_shape: Tuple `(height, width, channels)`.
        value_range: Pair of floats, smallest and largest pixel value.

    Returns:
        Two symbolic tensors `(None, height, width, channels)`.

    Raises:
        ValueError: If an argument is out of range, or if Keras is configured
            for channels first.

    Example:

    >>> images, centred = image_input((8, 8, 3), (0, 255))
    >>> tuple(centred.shape)
    (None, 8, 8, 3)
    """
    if len(input_shape) != 3 or not all(
        isinstance(size, int) and size > 0 for size in input_shape
    ):
        raise ValueError(
            "`input_shape` must be three positive integers (height, width, "
            f"channels). Received: input_shape={input_shape!r}"
        )
    if len(value_range) != 2 or not value_range[0] < value_range[1]:
        raise ValueError(
            "`value_range` must be a pair (low, high) with low < high. "
            f"Received: value_range={value_range!r}"
        )
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "The encoder needs images with the channels last. Received: "
            "keras.config.image_data_format()="
            f"{keras.config.image_data_format()!r}"
        )
    low, high = value_range
    images = keras.Input(input_shape, name="images")
    centred = keras.layers.Rescaling(
        2 / (high - low), offset=-(high + low) / (high - low)
    )(images)
    return images, centred
