"""RandAugment with a probability and a strength for every image."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number, check_pair
from keras_ltssl.views.rand_augment_operations import (
    MAX_STRENGTH,
    OPERATIONS,
    rand_augment,
)
from keras_ltssl.views.random_image_layer import RandomImageLayer


@keras.saving.register_keras_serializable(package="keras_ltssl")
class PerSampleRandAugment(RandomImageLayer):
    """Applies RandAugment with a probability and a strength for each image.

    Each image draws one of 15 operations, all equally likely, `num_ops` times.
    It gets the operation with its own probability and at its own strength. The
    operations are shears, translations, rotation, autocontrast, inversion,
    equalization, solarization, posterization, contrast, color, brightness,
    sharpness and a gray square; `rand_augment` defines them. The direction of
    shears, translations and rotations and the place of the square are random.

    The operations and their ranges are those published with BCL, whose shears
    and rotations reach twice as far as RandAugment's. Some operations do not
    get stronger with the strength, as published: solarization and
    posterization get weaker, and contrast, color, brightness and sharpness are
    reduced below a strength of 15 and increased above it. For images with one
    channel the color operation does nothing.

    `keras.layers.RandAugment` draws one operation for the whole batch, computes
    all operations for every image, and prevents Keras from compiling the model.

    When not training, images are returned unchanged. The layer computes in
    float32 and casts the result to its compute dtype. No gradient flows
    through it. Saving a model also saves the state of the random numbers.

    Args:
        num_ops: Number of operations for each image, integer >= 1. Defaults to
            `1`.
        value_range: Pair of floats, the values of black and white. Results
            are clipped to it. Defaults to `(0, 255)`.
        seed: Integer or None. The same seed gives the same augmentations.
            Defaults to `None`.
        probability: Float in `[0, 1]`, for calls without a probability.
            Defaults to `None`: every call must give one.
        strength: Float in `[0, 30]`, for calls without a strength. Defaults to
            `None`: every call must give one.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

    Call arguments:
        images: Tensor `(batch, height, width, channels)` with one or three
            channels, integer or float.
        probability: Tensor `(batch,)` in [0, 1], the probability of each
            operation. Defaults to `None`, the layer's own.
        strength: Tensor `(batch,)`, clipped to 0 to 30. Defaults to `None`,
            the layer's own.
        training: Boolean, whether to augment. Defaults to `True`. Inside
            a model it is the flag that the model is called with.

    Returns:
        Tensor of the shape of `images` and of the compute dtype.

    Raises:
        ValueError: If an argument is out of range, a shape does not fit, or
            neither the call nor the layer has a probability or a strength.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> augment = lt.layers.PerSampleRandAugment(seed=0)
    >>> images, probability = keras.Input((32, 32, 3)), keras.Input(())
    >>> augment(images, probability, strength=10 + 20 * probability).shape
    (None, 32, 32, 3)

    The same for every image:

    >>> augment = lt.layers.PerSampleRandAugment(probability=0.5, strength=20)
    >>> augment(images).shape
    (None, 32, 32, 3)

    Reference:
        - [RandAugment: Practical automated data augmentation with a reduced
          search space](https://arxiv.org/abs/1909.13719), Cubuk et al., 2020
        - [Contrastive Learning with Boosted
          Memorization](https://arxiv.org/abs/2205.12693), Zhou et al.,
          ICML 2022, for one probability and strength for each sample
    """

    def __init__(
        self,
        num_ops: int = 1,
        value_range: tuple[float, float] = (0, 255),
        seed: int | None = None,
        probability: float | None = None,
        strength: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.num_ops = check_integer("num_ops", num_ops, minimum=1)
        self.value_range = check_pair(
            "value_range", value_range, may_be_equal=False
        )
        if probability is not None:
            check_number("probability", probability, minimum=0, maximum=1)
        if strength is not None:
            check_number("strength", strength, minimum=0, maximum=MAX_STRENGTH)
        self.probability = probability
        self.strength = strength

    def build(
        self,
        images_shape: tuple[int | None, ...],
        probability_shape: tuple[int | None, ...] | None = None,
        strength_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        """Raises if the shapes do not fit together.

        Args:
            images_shape: Tuple `(batch, height, width, channels)`.
            probability_shape: Tuple `(batch,)`, or `None` for the layer's own.
            strength_shape: Tuple `(batch,)`, or `None` for the layer's own.
        """
        super().build(images_shape)
        if images_shape[3] not in (1, 3):
            raise ValueError(
                "`PerSampleRandAugment` needs images with one or three "
                f"channels. Received: images.shape={tuple(images_shape)}"
            )
        for name, shape in (
            ("probability", probability_shape),
            ("strength", strength_shape),
        ):
            if shape is not None:
                check_one_each(name, shape, images_shape)

    def draw(
        self, batch_size: int | Tensor, probability: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draws one operation for each of `batch_size` images.

        Args:
            batch_size: Number of images, an integer or a scalar tensor.
            probability: Tensor `(batch_size,)`. An image without an operation
                gets -1.

        Returns:
            `operation`, `sign` and `place` as `rand_augment` takes them.
        """
        draws = keras.random.uniform(
            (batch_size, 5), seed=self.seed_generator, dtype="float32"
        )
        count = len(OPERATIONS)
        # Rounding may give 15 for a uniform number just below 1.
        drawn = ops.minimum(ops.cast(draws[:, 0] * count, "int32"), count - 1)
        is_due = draws[:, 1] < ops.cast(probability, "float32")
        sign = 1.0 - 2.0 * ops.cast(draws[:, 2] < 0.5, "float32")
        return ops.where(is_due, drawn, -1), sign, draws[:, 3:]

    def _of_each(self, name: str, given: Tensor | None, count: Any) -> Tensor:
        """Returns the numbers of a call, or the layer's own for each image."""
        if given is not None:
            return given
        own = getattr(self, name)
        if own is None:
            raise ValueError(
                f"`{name}` must be given in the call or in the constructor of "
                f"`{type(self).__name__}`. Received: {name}=None"
            )
        return ops.full((count,), own, dtype="float32")

    def augment(
        self,
        images: Tensor,
        probability: Tensor | None = None,
        strength: Tensor | None = None,
    ) -> Tensor:
        """Augments the images, whether training or not.

        Args:
            images: Tensor `(batch, height, width, channels)`.
            probability: Tensor `(batch,)`, or `None` for the layer's own.
            strength: Tensor `(batch,)`, or `None` for the layer's own.

        Returns:
            Tensor of the shape of `images`.
        """
        low, high = self.value_range
        images = ops.cast(images, "float32")
        count = ops.shape(images)[0]
        probability = self._of_each("probability", probability, count)
        strength = self._of_each("strength", strength, count)
        strength = ops.clip(ops.cast(strength, "float32"), 0.0, MAX_STRENGTH)
        for _ in range(self.num_ops):
            operation, sign, place = self.draw(count, probability)
            how = (operation, strength, sign, place)
            if (low, high) == (0, 255):
                images = rand_augment(images, *how)
                continue
            pixels = (images - low) * (255.0 / (high - low))
            pixels = low + rand_augment(pixels, *how) * ((high - low) / 255.0)
            # Images without an operation must not change by rounding.
            images = ops.where(
                (operation < 0)[:, None, None, None], images, pixels
            )
        return ops.cast(images, self.compute_dtype)

    def call(
        self,
        images: Tensor,
        probability: Tensor | None = None,
        strength: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Augments the images if training.

        Args:
            images: Tensor `(batch, height, width, channels)`.
            probability: Tensor `(batch,)`, or `None` for the layer's own.
            strength: Tensor `(batch,)`, or `None` for the layer's own.
            training: Boolean, whether to augment.

        Returns:
            Tensor of the shape of `images`.
        """
        if not training:
            return ops.cast(images, self.compute_dtype)
        return self.augment(images, probability, strength)

    def compute_output_shape(
        self,
        images_shape: tuple[int | None, ...],
        probability_shape: tuple[int | None, ...] | None = None,
        strength_shape: tuple[int | None, ...] | None = None,
    ) -> tuple[int | None, ...]:
        """Returns the shape of the images.

        Args:
            images_shape: Tuple `(batch, height, width, channels)`.
            probability_shape: Tuple `(batch,)` or `None`.
            strength_shape: Tuple `(batch,)` or `None`.

        Returns:
            `images_shape`.
        """
        return images_shape

    def save_own_variables(self, store: Any) -> None:
        """Saves the state of the random numbers.

        Args:
            store: Dictionary to write to.
        """
        store["random_state"] = self.seed_generator.state

    def load_own_variables(self, store: Any) -> None:
        """Restores the state of the random numbers.

        Args:
            store: Dictionary that `save_own_variables` filled.
        """
        self.seed_generator.state.assign(store["random_state"])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        config.update(
            num_ops=self.num_ops,
            value_range=self.value_range,
            probability=self.probability,
            strength=self.strength,
        )
        return dict(config)


def check_one_each(
    name: str,
    shape: tuple[int | None, ...],
    images_shape: tuple[int | None, ...],
) -> None:
    """Raises if there is not one number for each image."""
    batch = images_shape[0]
    fits = len(shape) == 1 and (None in (shape[0], batch) or shape[0] == batch)
    if not fits:
        raise ValueError(
            f"`{name}` must have one number for each image, shape (batch,). "
            f"Received: {name}.shape={tuple(shape)}, "
            f"images.shape={tuple(images_shape)}"
        )
