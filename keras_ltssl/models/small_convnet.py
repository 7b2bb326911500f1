"""A small convolutional encoder."""

import keras

from keras_ltssl.models.encoder_input import image_input
from keras_ltssl.validation import check_instance, check_integer


def small_convnet(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    width: int = 32,
    value_range: tuple[float, float] = (0, 255),
    name: str = "small_convnet",
) -> keras.Model:
    """Returns a small encoder: three strided convolutions and global pooling.

    The encoder takes raw images and rescales pixel values to [-1, 1], so a
    saved encoder needs no preprocessing. Each convolution (3 x 3, stride 2,
    ReLU) halves the image and doubles the channels: `width`, `2 * width`,
    `4 * width`. It trains in minutes on a CPU.

    Args:
        input_shape: Tuple `(height, width, channels)` in pixels. Defaults to
            `(32, 32, 3)`.
        width: Channels after the first convolution. Defaults to `32`.
        value_range: Pair of floats, smallest and largest pixel value.
            Defaults to `(0, 255)`.
        name: Name of the model. Defaults to `"small_convnet"`.

    Returns:
        `keras.Model`, `(batch, height, width, channels)` ->
        `(batch, 4 * width)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import keras_ltssl as lt
    >>> encoder = lt.models.small_convnet(input_shape=(28, 28, 1))
    >>> encoder.output_shape
    (None, 128)
    """
    check_integer("width", width, minimum=1)
    check_instance("name", name, str, "a string")
    inputs, x = image_input(input_shape, value_range)
    for channels in (width, 2 * width, 4 * width):
        x = keras.layers.Conv2D(
            channels,
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = keras.layers.ReLU()(x)
    outputs = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, outputs, name=name)
