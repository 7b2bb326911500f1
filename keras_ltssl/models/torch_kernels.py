"""PyTorch's own operations in the layers of a model."""

import keras

from keras_ltssl.backend import pytorch
from keras_ltssl.models.checks import check_layer
from keras_ltssl.validation import check_boolean


def use_torch_kernels(model: keras.layers.Layer, enabled: bool = True) -> int:
    """Makes layers run PyTorch's own operations; returns how many do.

    On PyTorch, Keras writes batch normalization as a dozen operations and
    copies the inputs of convolutions and pooling between memory layouts. A GPU
    spends most of a step of a ResNet waiting for them. This replaces the method
    `call` of the layers of the classes `BatchNormalization`, `Conv2D`,
    `DepthwiseConv2D`, `MaxPooling2D` and `AveragePooling2D` in `model`, at any
    depth. On other backends it does nothing.

    - A functional model of plain layers alone, such as `resnet18`, also calls
      them without the checks of `Layer.__call__`, which take the host 0.2 ms
      for each layer. Hooks of PyTorch on layers run as before.
    - Outputs, gradients and moving statistics are those of Keras up to
      rounding. The variance of a batch is computed more exactly than by Keras,
      which subtracts the square of the mean.
    - Weights, configs, names and saved files stay those of Keras. Clones,
      copies and loaded models run Keras' own operations.
    - Subclasses of these layers, and what PyTorch has no operation for (masks,
      `renorm=True`, `padding="same"` in pooling, other axes), run as before.

    The frameworks of this package call it when they are compiled, unless with
    `compile(torch_kernels=False)`. Call it for an encoder that you train with
    Keras alone.

    Args:
        model: Built model or layer.
        enabled: Whether to replace `call`; `False` restores it. Defaults to
            `True`.

    Returns:
        How many layers run PyTorch's own operations now.

    Raises:
        ValueError: If `model` is no layer, or `enabled` no boolean.

    Example:

    >>> import keras_ltssl as lt
    >>> encoder = lt.models.small_convnet((16, 16, 3))
    >>> count = lt.models.use_torch_kernels(encoder)  # Here 6; 0 elsewhere.
    >>> lt.models.use_torch_kernels(encoder, False)
    0
    """
    check_layer("model", model)
    check_boolean("enabled", enabled)
    return pytorch.set_torch_kernels(model._flatten_layers(), enabled)
