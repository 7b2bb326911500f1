"""Two views of each sample, stronger for samples that are hard to learn."""

import weakref
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

    `views` makes the two views. `PerSampleRandAugment` then changes each with

        probability = w_i,    strength = low + (high - low) · w_i

    where w_i in [0, 1] is the weight of the sample (`BoostedLoss.weights_of`)
    and (low, high) is `strength`. The two views of an image draw independently.
    With weight 0, and without weights, RandAugment does not change the views.

    As the augmenter of a `ContrastiveModel`, the layer is attached to the loss
    when the model is compiled. It is then called with sample ids, and gets the
    weights of these from the loss.

    Like `TwoViews`, it also augments when not training. No gradient flows to
    the weights.

    Args:
        views: Keras layer from `(batch, ...)` to views `(batch, 2, height,
            width, channels)`, such as `simclr_views(32)`.
        strength: Pair of floats, 0 <= low <= high <= 30. Defaults to `(10.0,
            30.0)`, as published for one operation.
        num_ops: Number of operations for each view, integer >= 1. Defaults to
            `1`.
        value_range: Pair of floats, the values of black and white in the
            views. Defaults to `(0, 255)`.
        seed: Integer or None, seed of RandAugment. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`,
            `trainable`.

    Call arguments:
        images: Tensor `(batch, ...)` that `views` takes.
        weights: Tensor `(batch,)` in [0, 1]. Defaults to `None`, plain views.
        ids: Sample ids, integers `(batch,)`, instead of `weights`. This needs
            `attach`. Defaults to `None`.

    Returns:
        Tensor `(batch, 2, height, width, channels)` of the compute dtype.

    Raises:
        ValueError: If an argument is out of range, a shape does not fit, or it
            is called with both ids and weights, or with ids before `attach`.

    Example:

    >>> import keras
    >>> import keras_ltssl as lt
    >>> views = lt.layers.BoostedViews(lt.layers.simclr_views(32), seed=0)
    >>> images, weights = keras.Input((48, 48, 3)), keras.Input(())
    >>> views(images, weights).shape
    (None, 2, 32, 32, 3)

    Reference:
        - [Contrastive Learning with Boosted
          Memorization](https://arxiv.org/abs/2205.12693), Zhou et al.,
          ICML 2022
    """

    needs_ids = True
    """Tells a `ContrastiveModel` to call this layer with sample ids."""

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
        # A weak reference, since Keras saves all attributes of a layer, and the
        # loss is part of the model.
        self._loss: weakref.ref[Any] | None = None

    def attach(self, loss: Any) -> None:
        """Gets the weights of samples from a loss in later calls.

        `ContrastiveModel.compile` does this.

        Args:
            loss: `BoostedLoss`, or a loss that wraps it. The first of `loss`,
                its `base_loss` and so on with `weights_of(ids)` is used.

        Raises:
            ValueError: If none of them has `weights_of`.
        """
        source = loss
        while source is not None and not hasattr(source, "weights_of"):
            source = getattr(source, "base_loss", None)
        if source is None:
            raise ValueError(
                "BoostedViews make stronger views of samples that BoostedLoss "
                "remembers as hard; one does nothing without the other. Use "
                "both, `augmenter=BoostedViews(...)` and "
                f"`loss=BoostedLoss(...)`, or neither. Received: loss={loss!r}"
            )
        self._loss = weakref.ref(source)

    def _weights_of(self, ids: Tensor) -> Tensor:
        loss = None if self._loss is None else self._loss()
        if loss is None:
            raise ValueError(
                "BoostedViews need a loss to get the weights of sample ids. "
                "Compile the model with BoostedLoss, call `attach(loss)`, or "
                "pass `weights` instead of `ids`."
            )
        return loss.weights_of(ids)

    def build(
        self,
        images_shape: tuple[int | None, ...],
        weights_shape: tuple[int | None, ...] | None = None,
        ids_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        """Builds the views and RandAugment.

        Args:
            images_shape: Tuple `(batch, ...)`.
            weights_shape: Tuple `(batch,)`, or `None` without weights.
            ids_shape: Tuple `(batch,)`, or `None` without ids.
        """
        if not self.views.built:
            self.views.build(images_shape)
        shape = self.compute_output_shape(images_shape, weights_shape)
        self.rand_augment.build((None, *shape[2:]), (None,), (None,))

    def call(
        self,
        images: Tensor,
        weights: Tensor | None = None,
        ids: Tensor | None = None,
    ) -> Tensor:
        """Returns two views of each sample.

        Args:
            images: Tensor `(batch, ...)`.
            weights: Tensor `(batch,)`, or `None` for plain views.
            ids: Tensor `(batch,)` instead of `weights`, or `None`.

        Returns:
            Tensor `(batch, 2, height, width, channels)`.
        """
        if ids is not None:
            if weights is not None:
                raise ValueError(
                    "BoostedViews take `weights`, or `ids` to look them up. "
                    "Received: both"
                )
            weights = self._weights_of(ids)
        if weights is not None:
            check_one_each("weights", tuple(weights.shape), tuple(images.shape))
        views = self.views(images)
        if weights is None:
            return ops.cast(views, self.compute_dtype)
        shape = views.shape[2:]
        weights = ops.repeat(ops.cast(weights, "float32"), 2)
        low, high = self.strength
        # Not a call: it would pass a training flag on to the encoder.
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
        ids_shape: tuple[int | None, ...] | None = None,
    ) -> tuple[int | None, ...]:
        """Returns the shape of the views.

        Args:
            images_shape: Tuple `(batch, ...)`.
            weights_shape: Tuple `(batch,)`, or `None` without weights.
            ids_shape: Tuple `(batch,)`, or `None` without ids.

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
        """Returns the constructor's arguments."""
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
        """Builds the layer from what `get_config` returned."""
        config = dict(config)
        views = keras.saving.deserialize_keras_object(config.pop("views"))
        return cls(views, **config)
