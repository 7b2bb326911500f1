"""A Keras model that learns an encoder from two views of each sample."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.layers.projection_head import ProjectionHead
from keras_ltssl.models.augmentation import (
    check_ready_made,
    check_two,
    default_augmenter,
    holds_views,
    make_views,
    needs_ids,
    takes_views,
)
from keras_ltssl.models.checks import check_features, check_layer, check_single
from keras_ltssl.models.contrastive_trainer import ContrastiveTrainer
from keras_ltssl.models.samples_with_ids import SamplesWithIds
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ltssl")
class ContrastiveModel(ContrastiveTrainer):
    """Trains an encoder to recognize two views of the same sample.

    The views are folded into the batch, `encoder` and `projector` see
    `(2 * batch, ...)` once, and the loss gets `(batch, 2, dim)`. After
    training, use `model.encoder`: `model.encoder.predict(x)` returns features.

    `fit` takes `(x)`, `(x, ids)` or a dataset of either. Ids are integers that
    identify the samples: row numbers, or -1 for out-of-distribution samples.
    Labels are never needed. `x` is one of

    - samples that the encoder takes: `augmenter` makes two views of each, in
      `evaluate` too, since a contrastive loss is only defined on views;
    - ready-made views, `(batch, 2, ...)`: used as they are, unless `augmenter`
      has `takes_views = True`, and makes views of them.

    Args:
        encoder: Keras model or layer, `(batch, ...)` to `(batch, features)`.
        projector: Layer from features to projections. Defaults to `None`:
            `ProjectionHead()`, two dense layers with 128 outputs.
        augmenter: Layer from `(batch, ...)` to `(batch, 2, ...)` such as
            `TwoViews`. Defaults to `None`: for images `(batch, height, width,
            channels)` with values 0 to 255, SimCLR's views (`simclr_views`);
            other samples must come as ready-made views. One that has
            `needs_ids = True` is called as `augmenter(samples, ids=ids)` in
            training and evaluation. One that has a method `attach(loss)` is
            given the loss when the model is compiled.

    Raises:
        ValueError: If the encoder returns anything but `(batch, features)`, the
            loss is not one of this package's, data contain NaN, or targets are
            not sample ids.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = lt.models.small_convnet((16, 16, 1), width=4)
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> model.compile("adam", loss=lt.losses.NTXentLoss(0.1))
    >>> images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 1))
    >>> history = model.fit(images.astype("uint8"), batch_size=16, verbose=0)
    >>> model.encoder.predict(images, verbose=0).shape[0]
    32

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al.,
          ICML 2020
    """

    part_names: tuple[str, ...] = ("encoder", "projector", "augmenter")
    """The constructor's arguments that are layers."""

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | None = None,
        augmenter: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_layer("encoder", encoder)
        for name, part in (("projector", projector), ("augmenter", augmenter)):
            if part is not None:
                check_layer(name, part)
        if isinstance(encoder, keras.Model) and encoder.built:
            check_features(encoder.output_shape)
        self.encoder = encoder
        self.projector = ProjectionHead() if projector is None else projector
        self.augmenter = augmenter
        self._has_default_views = False
        self.training_data: Any = None
        self.loss_state = LossState()

    def build(self, input_shape: tuple[Any, ...]) -> None:
        is_dict = isinstance(input_shape, dict)
        if is_dict or isinstance(input_shape[0], (tuple, list)):
            if is_dict or not needs_ids(self.augmenter):
                check_single("x", input_shape)
            input_shape = tuple(input_shape[0])  # Of samples, not of ids.
        if (
            self.augmenter is None
            and not holds_views(input_shape, self.encoder)
            and len(input_shape) == 4
        ):
            self.augmenter = default_augmenter(input_shape)
            self._has_default_views = True
        # Every layer builds itself on a symbolic batch.
        self.call(keras.KerasTensor(input_shape))
        self.built = True
        self._choose_kernels()

    def call(
        self, x: Tensor | SamplesWithIds, training: bool | None = None
    ) -> Tensor:
        ids = None
        if isinstance(x, SamplesWithIds):
            x, ids = x
        check_single("x", x)
        views = x
        if holds_views(x.shape, self.encoder) and not takes_views(
            self.augmenter
        ):
            check_ready_made(self.augmenter, x)
        else:
            views = make_views(self.augmenter, x, ids, training)
        check_two(views)
        if training:
            self.loss_state.look_at(views)
        return self.embed_views(views, training)

    def embed_views(self, views: Tensor, training: bool | None) -> Tensor:
        """Returns the projections of two views of each sample, for the loss.

        Here both views pass through the same network, folded into one batch.
        Frameworks that treat the views differently override this method. They
        return what `self.loss_state` returns for their projections.

        Args:
            views: Tensor `(batch, 2, ...)`.
            training: Whether the model trains.

        Returns:
            Tensor `(batch, 2, dim)`.
        """
        folded = ops.reshape(views, (-1, *ops.shape(views)[2:]))
        z = self.project(folded, training)
        z = ops.reshape(z, (-1, 2, z.shape[-1]))
        return self.loss_state(z, training=training)

    def project(self, samples: Tensor, training: bool | None) -> Tensor:
        """Returns the projections of samples, `(n, ...)` to `(n, dim)`.

        Args:
            samples: Tensor `(n, ...)`.
            training: Whether the model trains.
        """
        features = self.encoder(samples, training=training)
        check_features(getattr(features, "shape", None))
        return self.projector(features, training=training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, layers as configs."""
        parts = {name: getattr(self, name) for name in self.part_names}
        if self._has_default_views:
            parts["augmenter"] = None
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": serialize(self.dtype_policy),
            **{
                name: None if part is None else serialize(part)
                for name, part in parts.items()
            },
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "ContrastiveModel":
        """Builds the model from what `get_config()` returned."""
        parts = {
            name: None
            if config[name] is None
            else keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
            for name in cls.part_names
        }
        return cls(**{**config, **parts})
