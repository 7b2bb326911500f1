"""Random color jitter and grayscale for each image."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number, check_pair
from keras_ltssl.views.color_jitter import jitter_colors
from keras_ltssl.views.random_image_layer import RandomImageLayer


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomColorDistortion(RandomImageLayer):
    """Jitters the colors of each image, and turns some images gray.

    With probability `jitter_probability`, an image gets these changes, each
    with its own uniform amount:

    - Brightness and contrast are multiplied by `1 - jitter` to `1 + jitter`.
    - Saturation is multiplied by `1 - jitter` to `1 + jitter`.
    - The hue is rotated by up to `jitter / 4` of the circle in either
      direction.

    Then, with probability `grayscale`, the colors are replaced by their
    luminance. Images with one channel only get brightness and contrast.

    All changes are one matrix for each image, from its colors and their mean
    luminance to new colors (see `jitter_colors`). Most augmentation libraries
    apply one step after the other. This differs in three ways:

    - They clip after each step. Here only the result is clipped, so a pixel
      that brightness moves beyond white can come back by contrast.
    - They draw the order of the steps. Without clipping in between, every
      order gives the same colors.
    - They rotate the hue of HSV, which keeps the largest of the three colors,
      so blue gets brighter when it turns to green. Here the chroma of YIQ is
      rotated, which keeps the luminance. At jitter 0.4 the hues agree to
      within 16 degrees, unless something is clipped.

    For real images, mean, spread and histogram of the views agree with those
    of the steps; a test shows it.

    `keras.layers.RandomColorJitter` has no probability and other formulas: it
    shifts the brightness, and only increases the contrast.

    When not training, images are returned unchanged. The layer computes in
    float32 and casts the result to its compute dtype.

    Args:
        jitter: Float in `[0, 1)`, strength of the jitter. Defaults to `0.4`.
        jitter_probability: Float in `[0, 1]`. Defaults to `0.8`.
        grayscale: Float in `[0, 1]`, probability of grayscale. Defaults to
            `0.2`.
        value_range: Pair of floats, the values of black and white. Results
            are clipped to it. Defaults to `(0, 255)`.
        seed: Integer or None. The same seed gives the same distortions.
            Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

    Call arguments:
        images: Tensor `(batch, height, width, channels)` with one or three
            channels, integer or float.
        training: Boolean, whether to distort. Defaults to `True`. Inside
            a model it is the flag that the model is called with.

    Returns:
        Tensor of the same shape and of the compute dtype.

    Raises:
        ValueError: If an argument is out of range, or if `images` has
            neither one nor three channels.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> distort = lt.layers.RandomColorDistortion(seed=0)
    >>> tuple(distort(keras.ops.ones((8, 32, 32, 3)), training=True).shape)
    (8, 32, 32, 3)

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020, appendix A
        - One matrix instead of steps is this package's own design.
    """

    def __init__(
        self,
        jitter: float = 0.4,
        jitter_probability: float = 0.8,
        grayscale: float = 0.2,
        value_range: tuple[float, float] = (0, 255),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.jitter = check_number("jitter", jitter, minimum=0, below=1)
        self.jitter_probability = check_number(
            "jitter_probability", jitter_probability, minimum=0, maximum=1
        )
        self.grayscale = check_number(
            "grayscale", grayscale, minimum=0, maximum=1
        )
        self.value_range = check_pair(
            "value_range", value_range, may_be_equal=False
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Raises if `input_shape` is not that of a batch of images.

        Args:
            input_shape: Tuple `(batch, height, width, channels)`.
        """
        if len(input_shape) != 4 or input_shape[3] not in (1, 3):
            raise ValueError(
                "`RandomColorDistortion` needs images of shape (batch, height, "
                "width, channels) with one or three channels; "
                "`RandomResizedCrop` and `RandomBlur` take any number. "
                f"Received: input shape={tuple(input_shape)}"
            )

    def draw_amounts(
        self, batch_size: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draws the amounts of change for `batch_size` images.

        Args:
            batch_size: Number of images, an integer or a scalar tensor.

        Returns:
            Brightness, contrast, saturation and hue as `jitter_colors` takes
            them, float32 tensors `(batch_size,)`; saturation 0 is grayscale.
        """
        draws = keras.random.uniform(
            (batch_size, 6), seed=self.seed_generator, dtype="float32"
        )
        is_jittered = draws[:, :1] < self.jitter_probability
        amounts = ops.where(
            is_jittered, (2.0 * self.jitter) * (draws[:, 1:5] - 0.5), 0.0
        )
        factors = 1.0 + amounts
        brightness, contrast, saturation = (factors[:, i] for i in range(3))
        is_gray = draws[:, 5] < self.grayscale
        saturation = ops.where(is_gray, 0.0, saturation)
        return brightness, contrast, saturation, amounts[:, 3] / 4.0

    def call(self, images: Tensor, training: bool = True) -> Tensor:
        """Distorts the colors if training.

        Args:
            images: Tensor `(batch, height, width, channels)`.
            training: Boolean, whether to distort.

        Returns:
            Tensor of the same shape.
        """
        if not training:
            return ops.cast(images, self.compute_dtype)
        if self.jitter or self.grayscale:
            images = jitter_colors(
                images,
                *self.draw_amounts(ops.shape(images)[0]),
                value_range=self.value_range,
            )
        return ops.cast(images, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.update(
            jitter=self.jitter,
            jitter_probability=self.jitter_probability,
            grayscale=self.grayscale,
            value_range=self.value_range,
        )
        return dict(config)
