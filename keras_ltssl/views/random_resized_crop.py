"""Crops of random area, shape and place, one a sample, inside the graph."""

import math
from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number, check_pair
from keras_ltssl.views.crop_matrices import crop_and_resize, crop_matrices
from keras_ltssl.views.random_resampling import RandomResampling


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomResizedCrop(RandomResampling):
    """Crops a random window out of each image and resizes it.

    Every image of the batch draws its own window:

    - its area is `a * height * width`, `a` uniform in `scale`;
    - its aspect ratio (width / height) is log-uniform in `ratio`, or rather
      in the part of `ratio` for which a window of that area fits into the
      image; where no part does (in a very long or very high image) it is the
      nearest ratio that fits. So the area is always the one drawn, and
      nothing is rejected and drawn again;
    - its place is uniform over all places inside the image. Windows are not
      rounded to whole pixels.

    Then it is resized bilinearly (see `crop_and_resize`), and mirrored with
    probability `horizontal_flip`, which costs nothing, since a mirrored
    image only reads its columns in the reverse order.

    `keras.layers.RandomCrop` draws one window for the whole batch.

    When not training, the whole image is resized to `(height, width)`.

    The work is done in float32 whatever the dtype policy, and the outcome is
    cast to the layer's compute dtype. Saving keeps `seed`, but not how far
    the random numbers have come, as with every Keras layer; `TwoViews` keeps
    that for the layers inside it.

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
        training: Boolean, whether to crop. Defaults to `True`; inside a
            model it is what the model is called with.

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
        Szegedy et al., "Going Deeper with Convolutions", 2015
        (arXiv:1409.4842), for the windows; Chen et al., "A Simple Framework
        for Contrastive Learning of Visual Representations", 2020
        (arXiv:2002.05709), for their use in views. The treatment of windows
        that do not fit is this package's own design.
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
        """Draw one window for each of `batch_size` images.

        Args:
            batch_size: Number of windows, an integer or a scalar tensor.
            height: Height of the images in pixels.
            width: Width of the images in pixels.

        Returns:
            float32 tensor `(batch_size, 4)`: top, left, bottom, right, in
            pixels; left and right swapped where the image is to be flipped.
        """
        draws = keras.random.uniform(
            (batch_size, 5), seed=self.seed_generator, dtype="float32"
        )
        area, shape, vertical, horizontal, flip = (
            draws[:, i] for i in range(5)
        )
        low, high = self.scale
        area = (low + (high - low) * area) * (height * width)
        # It fits if sqrt(area * ratio) <= width, sqrt(area / ratio) <= height.
        narrowest = ops.log(area / height**2)
        widest = ops.log(width**2 / area)
        low, high = (
            ops.minimum(ops.maximum(math.log(bound), narrowest), widest)
            for bound in self.ratio
        )
        ratio = ops.exp(low + (high - low) * shape)
        window_height = ops.minimum(ops.sqrt(area / ratio), height)
        window_width = ops.minimum(ops.sqrt(area * ratio), width)
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
        """Draw the matrices of `count` crops.

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
        """Crop and resize.

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
        """Shape of the crops.

        Args:
            input_shape: Tuple `(batch, height, width, channels)`.

        Returns:
            Tuple `(batch, height, width, channels)`.
        """
        return (input_shape[0], self.height, self.width, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer again.

        Returns:
            Dictionary.
        """
        config = super().get_config()
        config.update(
            height=self.height,
            width=self.width,
            scale=self.scale,
            ratio=self.ratio,
            horizontal_flip=self.horizontal_flip,
        )
        return dict(config)
