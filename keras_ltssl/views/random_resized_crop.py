"""Random crops for each sample, inside the graph."""

import math
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_operations import at_least, at_most
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number, check_pair
from keras_ltssl.views.crop_matrices import crop_and_resize, crop_matrices
from keras_ltssl.views.random_resampling import RandomResampling


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomResizedCrop(RandomResampling):
    """Crops a random window out of each image and resizes it.

    Each image of the batch draws its own window, while
    `keras.layers.RandomCrop` draws one for the whole batch:

    - The area is `a * height * width`, with `a` uniform in `scale`.
    - The aspect ratio (width / height) is log-uniform in the part of `ratio`
      for which a window of that area fits into the image. If none fits, it is
      the nearest ratio that does. No window is rejected and drawn again.
    - The place is uniform over all places inside the image. Windows are not
      rounded to whole pixels.

    The window is resized bilinearly (see `crop_and_resize`), and mirrored with
    probability `horizontal_flip`. Mirroring has no cost, since the columns are
    only read in reverse order.

    When not training, the whole image is resized to `(height, width)`.

    The layer computes in float32 and casts the result to its compute dtype.
    Like every Keras layer, it saves `seed` but not the state of its random
    numbers; `TwoViews` saves that state for the layers inside it.

    Args:
        height: Height of the output in pixels.
        width: Width of the output in pixels.
        scale: Pair of floats in `(0, 1]`, smallest and largest share of the
            image's area. Defaults to `(0.08, 1.0)`.
        ratio: Pair of positive floats, smallest and largest width / height.
            Defaults to `(3 / 4, 4 / 3)`.
        horizontal_flip: Float in `[0, 1]`, probability of a left-right
            flip. Defaults to `0.0`.
        seed: Integer or None. The same seed gives the same crops. Defaults
            to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

    Call arguments:
        images: Tensor `(batch, height, width, channels)`, integer or float;
            height, width and channels must be known.
        training: Boolean, whether to crop. Defaults to `True`. Inside
            a model it is the flag that the model is called with.

    Returns:
        Tensor `(batch, height, width, channels)` of the compute dtype.

    Raises:
        ValueError: If an argument is out of range, if Keras is configured for
            channels first, or if `images` is not a batch of images.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> crop = lt.layers.RandomResizedCrop(32, 32, horizontal_flip=0.5, seed=0)
    >>> images = keras.ops.ones((8, 48, 64, 3), dtype="uint8")
    >>> tuple(crop(images, training=True).shape)
    (8, 32, 32, 3)

    Reference:
        - [Going Deeper with Convolutions](https://arxiv.org/abs/1409.4842),
          Szegedy et al., CVPR 2015, for the windows
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020, for their use in views
        - The treatment of windows that do not fit is this package's own design.
    """

    def __init__(
        self,
        height: int,
        width: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        horizontal_flip: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.height = check_integer("height", height, minimum=1)
        self.width = check_integer("width", width, minimum=1)
        smallest, largest = check_pair("scale", scale, above=0, maximum=1)
        self.scale = (float(smallest), float(largest))
        narrowest, widest = check_pair("ratio", ratio, above=0)
        self.ratio = (float(narrowest), float(widest))
        self.horizontal_flip = check_number(
            "horizontal_flip", horizontal_flip, minimum=0, maximum=1
        )

    def draw_windows(
        self, batch_size: int | Tensor, height: int, width: int
    ) -> Tensor:
        """Draws one window for each of `batch_size` images.

        Args:
            batch_size: Number of windows, an integer or a scalar tensor.
            height: Height of the images in pixels.
            width: Width of the images in pixels.

        Returns:
            float32 tensor `(batch_size, 4)`: top, left, bottom and right in
            pixels. Left and right are exchanged for images that are flipped.
        """
        draws = keras.random.uniform(
            (batch_size, 5), seed=self.seed_generator, dtype="float32"
        )
        area, shape, vertical, horizontal, flip = (
            draws[:, i] for i in range(5)
        )
        low, high = self.scale
        pixels = height * width
        area = low * pixels + ((high - low) * pixels) * area
        # A window fits if sqrt(area * ratio) <= width and sqrt(area / ratio)
        # <= height.
        log_area = ops.log(area)
        narrowest = log_area - 2 * math.log(height)
        widest = 2 * math.log(width) - log_area
        low, high = (
            ops.minimum(at_least(narrowest, math.log(bound)), widest)
            for bound in self.ratio
        )
        ratio = ops.exp(low + (high - low) * shape)
        window_height = at_most(ops.sqrt(area / ratio), height)
        window_width = at_most(ops.sqrt(area * ratio), width)
        top = vertical * (height - window_height)
        left = horizontal * (width - window_width)
        bottom = top + window_height
        right = left + window_width
        flip = flip < self.horizontal_flip
        return ops.stack(
            [
                top,
                ops.where(flip, right, left),
                bottom,
                ops.where(flip, left, right),
            ],
            axis=1,
        )

    def draw_matrices(
        self, count: int | Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Draws the matrices of `count` crops.

        Args:
            count: Number of crops, an integer or a scalar tensor.
            height: Height of the images in pixels.
            width: Width of the images in pixels.

        Returns:
            float32 tensors `(count, self.height, height)` and
            `(count, self.width, width)`.
        """
        return crop_matrices(
            self.draw_windows(count, height, width),
            (height, width),
            (self.height, self.width),
        )

    def call(self, images: Tensor, training: bool = True) -> Tensor:
        """Crops if training, and resizes.

        Args:
            images: Tensor `(batch, height, width, channels)`.
            training: Boolean, whether to crop.

        Returns:
            Tensor `(batch, height, width, channels)`.
        """
        height, width = images.shape[1:3]
        if not training and (height, width) != (self.height, self.width):
            whole = ops.convert_to_tensor([[0.0, 0.0, height, width]])
            images = crop_and_resize(
                images,
                ops.broadcast_to(whole, (ops.shape(images)[0], 4)),
                self.height,
                self.width,
            )
        return super().call(images, training)

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the crops.

        Args:
            input_shape: Tuple `(batch, height, width, channels)`.

        Returns:
            Tuple `(batch, height, width, channels)`.
        """
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.update(
            height=self.height,
            width=self.width,
            scale=self.scale,
            ratio=self.ratio,
            horizontal_flip=self.horizontal_flip,
        )
        return dict(config)
