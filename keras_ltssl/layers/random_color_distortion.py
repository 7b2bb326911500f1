"""Colour jitter and grayscale, drawn for every image on its own."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.layers.random_image_layer import RandomImageLayer
from keras_ltssl.typing import Tensor


def _luminance(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _turn_hue(planes: list[Tensor], turn: Tensor) -> list[Tensor]:
    """Turn the hue by a share of the circle; value and chroma stay."""
    red, green, blue = planes
    value = ops.maximum(ops.maximum(red, green), blue)
    least = ops.minimum(ops.minimum(red, green), blue)
    chroma = value - least
    # Where there is no chroma, any hue gives the same colour.
    scale = 1.0 / ops.where(chroma > 0, chroma, 1.0)
    # Hue in sixths of the circle: 0 is red, 2 green, 4 blue.
    hue = ops.where(
        value == red,
        (green - blue) * scale,
        ops.where(
            value == green,
            2.0 + (blue - red) * scale,
            4.0 + (red - green) * scale,
        ),
    )
    hue = hue + 6.0 * turn
    hue = hue - 6.0 * ops.floor(hue / 6.0)
    return [
        least + chroma * ops.clip(share, 0.0, 1.0)
        for share in (
            ops.abs(hue - 3.0) - 1.0,
            2.0 - ops.abs(hue - 2.0),
            2.0 - ops.abs(hue - 4.0),
        )
    ]


def jitter_colors(
    images: Tensor,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
) -> Tensor:
    """Change the colours of every image by its own four amounts.

    In this order, `Y` being the luminance of a pixel and `mean(Y)` its mean
    over the image, and clipping to [0, 1] after each of the first three:

        x <- brightness * x
        x <- mean(Y) + contrast * (x - mean(Y))
        x <- Y + saturation * (x - Y)
        the hue of x is turned by `hue` of the full circle

    Args:
        images: Float tensor `(batch, height, width, channels)` in [0, 1]. With
            one channel, only brightness and contrast apply; else there must
            be three.
        brightness: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        contrast: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        saturation: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        hue: Float tensor `(batch,)`, share of the circle.

    Returns:
        Tensor like `images`.

    Example:

    >>> red = keras.ops.convert_to_tensor([[[[1.0, 0.0, 0.0]]]])
    >>> one = keras.ops.ones((1,))
    >>> green = jitter_colors(red, one, one, one, hue=one / 3)
    >>> keras.ops.convert_to_numpy(green).round(3).tolist()
    [[[[0.0, 1.0, 0.0]]]]
    """
    brightness, contrast, saturation, hue = (
        ops.reshape(amount, (-1, 1, 1))
        for amount in (brightness, contrast, saturation, hue)
    )
    images = ops.convert_to_tensor(images)
    # One plane a channel: far faster than to work across the last axis.
    planes = [images[..., i] for i in range(images.shape[3])]
    planes = [ops.clip(brightness * x, 0.0, 1.0) for x in planes]
    gray = _luminance(*planes) if len(planes) == 3 else planes[0]
    mean = ops.mean(gray, axis=(1, 2), keepdims=True)
    planes = [ops.clip(mean + contrast * (x - mean), 0.0, 1.0) for x in planes]
    if len(planes) == 3:
        gray = _luminance(*planes)
        planes = [
            ops.clip(gray + saturation * (x - gray), 0.0, 1.0) for x in planes
        ]
        planes = _turn_hue(planes, hue)
    return ops.stack(planes, axis=-1)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomColorDistortion(RandomImageLayer):
    """Jitters the colours of each image, and turns some of them gray.

    With probability `jitter_probability` an image gets, in this order (see
    `jitter_colors`) and each with an amount of its own:

    - brightness and contrast times `1 - jitter` to `1 + jitter`;
    - saturation times `1 - jitter` to `1 + jitter`;
    - a turn of the hue by up to `jitter / 4` of the circle, either way.

    Then, with probability `grayscale`, its colours are replaced by their
    luminance. Images with one channel have neither saturation nor hue nor
    colours to lose; only brightness and contrast apply.

    The amounts are uniform. The formulas are those of the usual
    augmentation libraries, except that the order is fixed, not drawn.
    (`keras.layers.RandomColorJitter` has neither a probability nor these
    formulas: it shifts the brightness and only ever raises the contrast.)

    When not training, images are returned as they are. The work is done in
    float32 whatever the dtype policy, and the outcome is cast to the layer's
    compute dtype.

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
        training: Boolean, whether to distort. Defaults to `True`; inside a
            model it is what the model is called with.

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
        Chen et al., "A Simple Framework for Contrastive Learning of Visual
        Representations", 2020 (arXiv:2002.05709), appendix A.
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
        if not 0 <= jitter < 1:
            raise ValueError(
                f"`jitter` must be in [0, 1). Received: jitter={jitter!r}"
            )
        for name, probability in (
            ("jitter_probability", jitter_probability),
            ("grayscale", grayscale),
        ):
            if not 0 <= probability <= 1:
                raise ValueError(
                    f"`{name}` must be a probability in [0, 1]. "
                    f"Received: {name}={probability!r}"
                )
        if len(value_range) != 2 or not value_range[0] < value_range[1]:
            raise ValueError(
                "`value_range` must be a pair (low, high) with low < high. "
                f"Received: value_range={value_range!r}"
            )
        self.jitter = float(jitter)
        self.jitter_probability = float(jitter_probability)
        self.grayscale = float(grayscale)
        self.value_range = tuple(value_range)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check that `input_shape` is that of a batch of images.

        Args:
            input_shape: Tuple `(batch, height, width, channels)`.
        """
        if len(input_shape) != 4 or input_shape[3] not in (1, 3):
            raise ValueError(
                "`RandomColorDistortion` needs images of shape (batch, height, "
                "width, channels) with one or three channels. "
                f"Received: input shape={tuple(input_shape)}"
            )

    def call(self, images: Tensor, training: bool = True) -> Tensor:
        """Distort the colours.

        Args:
            images: Tensor `(batch, height, width, channels)`.
            training: Boolean, whether to distort.

        Returns:
            Tensor of the same shape.
        """
        if not training:
            return ops.cast(images, self.compute_dtype)
        images = ops.cast(images, "float32")
        draws = keras.random.uniform(
            (ops.shape(images)[0], 6), seed=self.seed_generator, dtype="float32"
        )
        if self.jitter and self.jitter_probability:
            jittered = ops.cast(
                draws[:, :1] < self.jitter_probability, "float32"
            )
            amounts = self.jitter * jittered * (2.0 * draws[:, 1:5] - 1.0)
            low, high = self.value_range
            images = jitter_colors(
                (images - low) / (high - low),
                brightness=1.0 + amounts[:, 0],
                contrast=1.0 + amounts[:, 1],
                saturation=1.0 + amounts[:, 2],
                hue=amounts[:, 3] / 4.0,
            )
            images = low + (high - low) * images
        if self.grayscale and images.shape[3] == 3:
            gray = _luminance(*(images[..., i] for i in range(3)))
            chosen = draws[:, 5] < self.grayscale
            images = ops.where(
                chosen[:, None, None, None], gray[..., None], images
            )
        return ops.cast(images, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer again.

        Returns:
            Dictionary.
        """
        config = super().get_config()
        config.update(
            jitter=self.jitter,
            jitter_probability=self.jitter_probability,
            grayscale=self.grayscale,
            value_range=self.value_range,
        )
        return dict(config)
