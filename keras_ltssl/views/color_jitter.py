"""Color jitter with given amounts for each image."""

import numpy as np
from keras import ops

from keras_ltssl.backend.fused_arithmetic import plus_matmul
from keras_ltssl.backend.fused_operations import clip
from keras_ltssl.types import Tensor

# Weights of R, G and B in the luminance and in the two chroma axes of YIQ.
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_YIQ = np.stack([_LUMINANCE, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_GRAY = np.tile(_LUMINANCE, (3, 1))
# Rotates the chroma by a right angle, in the direction from red to green.
_QUARTER_TURN = (
    np.linalg.inv(_YIQ) @ np.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]]) @ _YIQ
)
_BASIS = np.stack([_GRAY, np.eye(3) - _GRAY, _QUARTER_TURN])
_BASIS = _BASIS.reshape(3, 9).astype("float32")


def color_matrices(
    brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor
) -> Tensor:
    """Returns the 3 x 3 color matrix of each sample.

        A = brightness contrast (G + saturation (cos(t) (1 - G) + sin(t) T))

    where `t = 2 pi hue`, `G` replaces a color by its luminance, and `T` rotates
    the plane of chroma (I and Q of YIQ) by a right angle. Grays stay gray, and
    only brightness and contrast change the luminance.

    Args:
        brightness: Float tensor `(batch,)`; 1 changes nothing.
        contrast: Float tensor `(batch,)`; 1 changes nothing.
        saturation: Float tensor `(batch,)`; 1 changes nothing, 0 gives grays.
        hue: Float tensor `(batch,)`, share of the circle.

    Returns:
        float32 tensor `(batch, 3, 3)`.

    Example:

    >>> import keras
    >>> one = keras.ops.ones((1,))
    >>> gray = color_matrices(one, one, saturation=0 * one, hue=0 * one)
    >>> [round(1000 * float(weight)) for weight in gray[0, 0]]
    [299, 587, 114]
    """
    gain = brightness * contrast
    chroma, turn = gain * saturation, 2 * np.pi * hue
    amounts = ops.stack(
        [gain, chroma * ops.cos(turn), chroma * ops.sin(turn)], axis=1
    )
    return ops.reshape(
        ops.matmul(amounts, ops.convert_to_tensor(_BASIS)), (-1, 3, 3)
    )


def jitter_colors(
    images: Tensor,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Changes the colors of each image by four amounts.

    In this order, where `Y` is the luminance of a pixel, `mean(Y)` its mean
    over the image, and `x` is counted from black:

        x <- brightness * x
        x <- mean(Y) + contrast * (x - mean(Y))
        x <- Y + saturation * (x - Y)
        the chroma of x is rotated by `hue` of the full circle

    All steps are one matrix for each sample, from three colors and a constant
    to three colors (see `color_matrices`; the constant is `mean(Y)`). Only the
    result is clipped to `value_range`.

    Args:
        images: Float tensor `(batch, height, width, channels)` with one or
            three channels. With one, only brightness and contrast apply.
        brightness: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        contrast: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        saturation: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        hue: Float tensor `(batch,)`, share of the circle.
        value_range: Pair of floats, the values of black and white. Defaults
            to `(0, 1)`.

    Returns:
        float32 tensor like `images`.

    Example:

    >>> import keras
    >>> purple = keras.ops.convert_to_tensor([[[[0.6, 0.2, 0.6]]]])
    >>> one = keras.ops.ones((1,))
    >>> green = jitter_colors(purple, one, one, one, hue=one / 2)
    >>> [round(100 * float(color)) for color in green[0, 0, 0]]
    [13, 53, 13]
    """
    images = ops.cast(images, "float32")
    batch_size, height, width = ops.shape(images)[:3]
    channels = images.shape[3]
    low, high = value_range
    if channels == 3:
        matrices = color_matrices(brightness, contrast, saturation, hue)
        weights = _LUMINANCE
    else:
        matrices = (brightness * contrast)[:, None, None]
        weights = np.ones(1)
    # Channels first: one small product for each image, not for each pixel.
    planes = ops.reshape(
        ops.transpose(images, (0, 3, 1, 2)),
        (batch_size, channels, height * width),
    )
    mean = ops.matmul(
        ops.mean(planes, axis=2),
        ops.convert_to_tensor(weights.astype("float32")),
    )
    constant = brightness * (1.0 - contrast) * mean
    if low:
        constant = constant + (1.0 - brightness) * low
    planes = plus_matmul(constant[:, None, None], matrices, planes)
    planes = clip(planes, low, high)
    return ops.transpose(
        ops.reshape(planes, (batch_size, channels, height, width)),
        (0, 2, 3, 1),
    )
