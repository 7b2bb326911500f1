"""Gaussian blur with a random strength for each image."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number, check_pair
from keras_ltssl.views.random_resampling import RandomResampling


def gaussian_matrices(sigma: Tensor, size: int) -> Tensor:
    """Returns matrices that blur lines of pixels, one for each sample.

    `m[b, i, p] = exp(-(i - p)^2 / (2 sigma_b^2)) / (sum of the row)`

    Rows sum to 1, so a constant line does not change, even at its ends.

    Args:
        sigma: Float tensor `(batch,)`, standard deviations in pixels. Zero
            gives the identity, to within 1e-17.
        size: Number of pixels.

    Returns:
        float32 tensor `(batch, size, size)`.

    Example:

    >>> still = gaussian_matrices(keras.ops.zeros((1,)), size=2)
    >>> keras.ops.convert_to_numpy(still)[0].round(6).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    pixels = ops.arange(size, dtype="float32")
    squares = ops.square(pixels[:, None] - pixels)
    # At a hundredth of a pixel the neighbors have no weight.
    sigma = ops.maximum(ops.cast(sigma, "float32"), 0.01)
    exponents = (-0.5 / ops.square(sigma))[:, None, None] * squares
    # exp(-40) has no effect beside 1. Exponents that underflow took a hundred
    # times as long on PyTorch.
    weights = ops.exp(ops.maximum(exponents, -40.0))
    return weights / ops.sum(weights, axis=2, keepdims=True)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomBlur(RandomResampling):
    """Blurs some images with a Gaussian of random width.

    Each image is blurred with probability `probability`. Each draws its own
    standard deviation, uniform in `sigma`, while
    `keras.layers.RandomGaussianBlur` draws one for the whole batch. The kernel
    covers the whole image and is normalized over the pixels inside it. It is
    applied as two matrix products.

    When not training, images are returned unchanged. The layer computes in
    float32 and casts the result to its compute dtype.

    Args:
        probability: Float in `[0, 1]`. Defaults to `0.5`.
        sigma: Pair of positive floats, smallest and largest standard deviation
            in pixels. Defaults to `(0.1, 2.0)`, SimCLR's for 224 pixels.
        seed: Integer or None. The same seed gives the same blur. Defaults to
            `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

    Call arguments:
        images: Tensor `(batch, height, width, channels)`, integer or float;
            height, width and channels must be known.
        training: Boolean, whether to blur. Defaults to `True`. Inside
            a model it is the flag that the model is called with.

    Returns:
        Tensor of the same shape and of the compute dtype.

    Raises:
        ValueError: If an argument is out of range, if Keras is configured for
            channels first, or if `images` is not a batch of images.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> blur = lt.layers.RandomBlur(probability=1.0, seed=0)
    >>> tuple(blur(keras.ops.ones((8, 32, 32, 3)), training=True).shape)
    (8, 32, 32, 3)

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020, appendix A
        - A kernel of the size of the image is this package's own design.
    """

    def __init__(
        self,
        probability: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.probability = check_number(
            "probability", probability, minimum=0, maximum=1
        )
        self.sigma = check_pair("sigma", sigma, above=0)

    def draw_sigma(self, batch_size: int | Tensor) -> Tensor:
        """Draws one standard deviation for each of `batch_size` images.

        Args:
            batch_size: Number of images, an integer or a scalar tensor.

        Returns:
            float32 tensor `(batch_size,)`; zero where there is no blur.
        """
        draws = keras.random.uniform(
            (batch_size, 2), seed=self.seed_generator, dtype="float32"
        )
        low, high = self.sigma
        return ops.where(
            draws[:, 0] < self.probability,
            low + (high - low) * draws[:, 1],
            0.0,
        )

    def draw_matrices(
        self, count: int | Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Draws the matrices that blur `count` images.

        Args:
            count: Number of images, an integer or a scalar tensor.
            height: Height of the images in pixels.
            width: Width of the images in pixels.

        Returns:
            float32 tensors `(count, height, height)` and `(count, width,
            width)`.
        """
        sigma = self.draw_sigma(count)
        rows = gaussian_matrices(sigma, height)
        if width == height:
            return rows, rows
        return rows, gaussian_matrices(sigma, width)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.update(probability=self.probability, sigma=self.sigma)
        return dict(config)
