"""ResNet-18 with a stem for small or for large images."""

from typing import Literal

import keras

from keras_ltssl.models.encoder_input import image_input
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_boolean, check_choice, check_instance


def _convolution(x: Tensor, channels: int, size: int, stride: int) -> Tensor:
    if stride > 1 and size > 1:
        # "same" would pad only the bottom and right edges at this stride, which
        # shifts the feature map.
        x = keras.layers.ZeroPadding2D(size // 2)(x)
        padding = "valid"
    else:
        padding = "same"
    return keras.layers.Conv2D(
        channels,
        size,
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(
            2.0, mode="fan_out", distribution="untruncated_normal"
        ),
    )(x)


def _batch_norm(x: Tensor, gamma: str = "ones") -> Tensor:
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, gamma_initializer=gamma
    )(x)


def _basic_block(
    x: Tensor, channels: int, stride: int, zero_init_residual: bool
) -> Tensor:
    shortcut = x
    if stride > 1:
        shortcut = _batch_norm(_convolution(x, channels, 1, stride))
    x = keras.layers.ReLU()(_batch_norm(_convolution(x, channels, 3, stride)))
    x = _batch_norm(
        _convolution(x, channels, 3, 1),
        gamma="zeros" if zero_init_residual else "ones",
    )
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def resnet18(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    stem: Literal["cifar", "imagenet"] = "cifar",
    zero_init_residual: bool = False,
    value_range: tuple[float, float] = (0, 255),
    name: str = "resnet18",
) -> keras.Model:
    """Returns a ResNet-18 without its classifier.

    It has two basic blocks at each of 64, 128, 256 and 512 channels, and global
    average pooling. It takes raw images and rescales pixel values to [-1, 1].
    Convolutions are initialized from a normal distribution of variance
    `2 / fan_out`; batch normalization has momentum 0.9 and epsilon 1e-5.

    Args:
        input_shape: Tuple `(height, width, channels)` in pixels. Defaults to
            `(32, 32, 3)`.
        stem: `"cifar"`: one 3 x 3 convolution; `"imagenet"`: a 7 x 7
            convolution and 3 x 3 max pooling, both of stride 2. Defaults to
            `"cifar"`.
        zero_init_residual: Boolean, whether the last batch-norm scale of each
            block is initialized to 0, so that each block starts as the
            identity. Defaults to `False`.
        value_range: Pair of floats, smallest and largest pixel value.
            Defaults to `(0, 255)`.
        name: Name of the model. Defaults to `"resnet18"`.

    Returns:
        `keras.Model`, `(batch, height, width, channels)` -> `(batch, 512)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import keras_ltssl as lt
    >>> encoder = lt.models.resnet18(input_shape=(32, 32, 3))
    >>> encoder.output_shape
    (None, 512)

    Reference:
        - [Deep Residual Learning for Image
          Recognition](https://arxiv.org/abs/1512.03385), He et al., CVPR 2016
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020, for the stem for small images (appendix B.9)
        - [Accurate, Large Minibatch
          SGD](https://arxiv.org/abs/1706.02677), Goyal et al., 2017, for
          `zero_init_residual`
    """
    check_choice("stem", stem, ("cifar", "imagenet"))
    check_boolean("zero_init_residual", zero_init_residual)
    check_instance("name", name, str, "a string")
    inputs, x = image_input(input_shape, value_range)
    if stem == "cifar":
        x = keras.layers.ReLU()(_batch_norm(_convolution(x, 64, 3, 1)))
    else:
        x = keras.layers.ReLU()(_batch_norm(_convolution(x, 64, 7, 2)))
        # Zero padding does not change the maximum of ReLU outputs.
        x = keras.layers.ZeroPadding2D(1)(x)
        x = keras.layers.MaxPooling2D(3, strides=2)(x)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _basic_block(x, channels, stride, zero_init_residual)
    outputs = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, outputs, name=name)
