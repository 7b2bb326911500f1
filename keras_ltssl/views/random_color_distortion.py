"""Colour jitter and grayscale, drawn for every image on its own."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number, check_pair
from keras_ltssl.views.random_image_layer import RandomImageLayer

# What R, G and B count in the luminance, and in the two chroma axes of YIQ.
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_YIQ = np.stack([_LUMINANCE, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_GRAY = np.tile(_LUMINANCE, (3, 1))
# Turns the chroma by a right angle, in the direction from red to green.
_QUARTER_TURN = (
    np.linalg.inv(_YIQ) @ np.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]]) @ _YIQ
)


def color_matrices(
    brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor
) -> Tensor:
    """One 3 x 3 matrix a sample: what its jitter does to the colour of a pixel.

    With `G` the matrix that replaces a colour by its luminance `Y`, and `T` the
    one that turns the plane of chroma (I and Q of YIQ) by a right angle,

        A = brightness contrast (G + saturation (cos(t) (1 - G) + sin(t) T))

    where `t = 2 pi hue`. Grays stay gray, and only brightness and contrast
    change the luminance.

    Args:
        brightness: Float tensor `(batch,)`; 1 changes nothing.
        contrast: Float tensor `(batch,)`; 1 changes nothing.
        saturation: Float tensor `(batch,)`; 1 changes nothing, 0 gives grays.
        hue: Float tensor `(batch,)`, share of the circle.

    Returns:
        float32 tensor `(batch, 3, 3)`.

    Example:

    >>> one = keras.ops.ones((1,))
    >>> gray = color_matrices(one, one, saturation=0 * one, hue=0 * one)
    >>> [round(1000 * float(weight)) for weight in gray[0, 0]]
    [299, 587, 114]
    """
    gain = brightness * contrast
    turn = 2 * np.pi * hue
    amounts = ops.stack(
        [
            gain,
            gain * saturation * ops.cos(turn),
            gain * saturation * ops.sin(turn),
        ],
        axis=1,
    )
    basis = np.stack([_GRAY, np.eye(3) - _GRAY, _QUARTER_TURN])
    return ops.reshape(
        ops.matmul(
            amounts, ops.convert_to_tensor(basis.reshape(3, 9), "float32")
        ),
        (-1, 3, 3),
    )


def jitter_colors(
    images: Tensor,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Change the colours of every image by its own four amounts.

    In this order, `Y` being the luminance of a pixel, `mean(Y)` its mean over
    the image, and `x` counted from black,

        x <- brightness * x
        x <- mean(Y) + contrast * (x - mean(Y))
        x <- Y + saturation * (x - Y)
        the chroma of x is turned by `hue` of the full circle

    All of it is one matrix a sample, from three colours and a constant to
    three colours (see `color_matrices`; the constant is `mean(Y)`). So there
    is no clipping in between; the outcome is clipped to `value_range`.

    Args:
        images: Float tensor `(batch, height, width, channels)`. With one
            channel, only brightness and contrast apply; else there must be
            three.
        brightness: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        contrast: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        saturation: Float tensor `(batch,)`, at least 0; 1 changes nothing.
        hue: Float tensor `(batch,)`, share of the circle.
        value_range: Pair of floats, the values of black and white. Defaults
            to `(0, 1)`.

    Returns:
        float32 tensor like `images`.

    Example:

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
    # Colours outermost: one small product an image instead of one a pixel.
    planes = ops.reshape(
        ops.transpose(images, (0, 3, 1, 2)),
        (batch_size, channels, height * width),
    )
    mean = ops.sum(
        ops.mean(planes, axis=2) * ops.convert_to_tensor(weights, "float32"),
        axis=1,
    )
    constant = brightness * (1.0 - contrast) * mean + (1.0 - brightness) * low
    planes = ops.clip(
        ops.matmul(matrices, planes) + constant[:, None, None], low, high
    )
    return ops.transpose(
        ops.reshape(planes, (batch_size, channels, height, width)),
        (0, 2, 3, 1),
    )


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomColorDistortion(RandomImageLayer):
    """Jitters the colours of each image, and turns some of them gray.

    With probability `jitter_probability` an image gets, each with an amount of
    its own,

    - brightness and contrast times `1 - jitter` to `1 + jitter`;
    - saturation times `1 - jitter` to `1 + jitter`;
    - a turn of the hue by up to `jitter / 4` of the circle, either way.

    Then, with probability `grayscale`, its colours are replaced by their
    luminance. Images with one channel have neither saturation nor hue nor
    colours to lose; only brightness and contrast apply.

    The amounts are uniform. All together is one matrix an image, from its
    colours and their mean luminance to new colours (see `jitter_colors`), and
    that is where it differs from the usual augmentation libraries, which do
    one step after the other:

    - they clip after each step; here only the outcome is clipped, so what
      brightness drives beyond white and contrast brings back is not lost;
    - they draw the order of the steps, which matters by that clipping alone:
      without it, every order gives the same colours;
    - they turn the hue of HSV, which keeps the largest of the three colours,
      so that a blue turned to green gets brighter; here the chroma of YIQ is
      turned, which keeps the luminance. A turn by a share of the circle means
      the same hues to within 16 degrees at jitter 0.4, until something is
      clipped.

    Mean, spread and histogram of the views of real images are those of the
    steps, as the tests show.

    `keras.layers.RandomColorJitter` has neither a probability nor these
    formulas: it shifts the brightness and only ever raises the contrast.

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
        Representations", 2020 (arXiv:2002.05709), appendix A. One matrix
        instead of steps is this package's own design.
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
        """Check that `input_shape` is that of a batch of images.

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
        """Draw how much each of `batch_size` images is changed.

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
            is_jittered, self.jitter * (2.0 * draws[:, 1:5] - 1.0), 0.0
        )
        brightness, contrast, saturation = (
            1.0 + amounts[:, i] for i in range(3)
        )
        is_gray = draws[:, 5] < self.grayscale
        saturation = ops.where(is_gray, 0.0, saturation)
        return brightness, contrast, saturation, amounts[:, 3] / 4.0

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
        if self.jitter or self.grayscale:
            images = jitter_colors(
                images,
                *self.draw_amounts(ops.shape(images)[0]),
                value_range=self.value_range,
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
