"""Two views of every sample, stronger where a sample is harder to learn."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_instance, check_pair
from keras_ltssl.views.per_sample_rand_augment import (
    PerSampleRandAugment,
    check_one_each,
)
from keras_ltssl.views.rand_augment_operations import MAX_STRENGTH


@keras.saving.register_keras_serializable(package="keras_ltssl")
class BoostedViews(keras.layers.Layer):
    """Adds RandAugment to two views of each image, by the weight of the image.

    `views` makes the two views; then `PerSampleRandAugment` works on each with

        probability = w_i,    strength = low + (high - low) · w_i

    where w_i in [0, 1] is the weight of the sample (`BoostedLoss.weights_of`)
    and (low, high) is `strength`. Both views of an image draw for themselves.
    With weight 0, and without weights, as when nothing is known of the samples,
    views are the ones that `views` makes.

    Like `TwoViews`, and for the same reason, it augments also when not
    training. No gradient flows to the weights.

    Args:
        views: Keras layer from `(batch, ...)` to views `(batch, 2, height,
            width, channels)`, such as `simclr_views(32)`.
        strength: Pair of floats, 0 <= low <= high <= 30. Defaults to `(10.0,
            30.0)`, as published for one operation.
        num_ops: Operations a view may get, integer >= 1. Defaults to `1`.
        value_range: Pair of floats, the values of black and white in the
            views. Defaults to `(0, 255)`.
        seed: Integer or None, of what is drawn beyond `views`. Defaults to
            `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

    Call arguments:
        images: What `views` takes, `(batch, ...)`.
        weights: Tensor `(batch,)` in [0, 1]. Defaults to `None`, plain views.

    Returns:
        Tensor `(batch, 2, height, width, channels)` of the compute dtype.

    Raises:
        ValueError: If an argument is out of range, or a shape does not fit.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> views = lt.layers.BoostedViews(lt.layers.simclr_views(32), seed=0)
    >>> images, weights = keras.Input((48, 48, 3)), keras.Input(())
    >>> views(images, weights).shape
    (None, 2, 32, 32, 3)

    Reference:
        Zhou, Yao, Wang, Han, Zhang, "Contrastive Learning with Boosted
        Memorization", 2022 (arXiv:2205.12693).
    """

    def __init__(
        self,
        views: keras.layers.Layer,
        strength: tuple[float, float] = (10.0, MAX_STRENGTH),
        num_ops: int = 1,
        value_range: tuple[float, float] = (0, 255),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        check_instance("views", views, keras.layers.Layer, "a Keras layer")
        low, high = check_pair(
            "strength", strength, minimum=0, maximum=MAX_STRENGTH
        )
        self.views = views
        self.strength = (float(low), float(high))
        self.rand_augment = PerSampleRandAugment(
            num_ops, value_range, seed, dtype=self.dtype_policy
        )

    def build(
        self,
        images_shape: tuple[int | None, ...],
        weights_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        """Build the views and what works on them.

        Args:
            images_shape: Tuple `(batch, ...)`.
            weights_shape: Tuple `(batch,)`, or `None` without weights.
        """
        if not self.views.built:
            self.views.build(images_shape)
        shape = self.compute_output_shape(images_shape, weights_shape)
        self.rand_augment.build((None, *shape[2:]), (None,), (None,))

    def call(self, images: Tensor, weights: Tensor | None = None) -> Tensor:
        """Draw two views of every sample.

        Args:
            images: Tensor `(batch, ...)`.
            weights: Tensor `(batch,)`, or `None` for plain views.

        Returns:
            Tensor `(batch, 2, height, width, channels)`.
        """
        if weights is not None:
            check_one_each("weights", tuple(weights.shape), tuple(images.shape))
        views = self.views(images)
        if weights is None:
            return ops.cast(views, self.compute_dtype)
        shape = views.shape[2:]
        weights = ops.repeat(ops.cast(weights, "float32"), 2)
        low, high = self.strength
        # The method, for a call would hand a training flag on to the encoder.
        views = self.rand_augment.augment(
            ops.reshape(views, (-1, *shape)),
            probability=weights,
            strength=low + (high - low) * weights,
        )
        return ops.reshape(views, (-1, 2, *shape))

    def compute_output_shape(
        self,
        images_shape: tuple[int | None, ...],
        weights_shape: tuple[int | None, ...] | None = None,
    ) -> tuple[int | None, ...]:
        """Shape of the views.

        Args:
            images_shape: Tuple `(batch, ...)`.
            weights_shape: Tuple `(batch,)`, or `None` without weights.

        Returns:
            Tuple `(batch, 2, height, width, channels)`.
        """
        if weights_shape is not None:
            check_one_each("weights", weights_shape, images_shape)
        shape = tuple(self.views.compute_output_shape(images_shape))
        if len(shape) != 5 or shape[1] != 2:
            raise ValueError(
                "`views` must make two images of each sample, (batch, 2, "
                f"height, width, channels). Received: shape={shape}"
            )
        return shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer again.

        Returns:
            Dictionary.
        """
        config = super().get_config()
        config.update(
            views=keras.saving.serialize_keras_object(self.views),
            strength=self.strength,
            num_ops=self.rand_augment.num_ops,
            value_range=self.rand_augment.value_range,
            seed=self.rand_augment.seed,
        )
        return dict(config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BoostedViews":
        """Make a layer from its configuration.

        Args:
            config: Dictionary that `get_config` has returned.

        Returns:
            `BoostedViews`.
        """
        config = dict(config)
        views = keras.saving.deserialize_keras_object(config.pop("views"))
        return cls(views, **config)
