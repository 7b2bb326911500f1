"""A Keras model that learns an encoder from two views of each sample."""

import functools
import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl import replicas
from keras_ltssl.layers.boosted_views import BoostedViews
from keras_ltssl.layers.loss_state import LossState
from keras_ltssl.layers.projection_head import ProjectionHead
from keras_ltssl.layers.simclr_views import simclr_views
from keras_ltssl.losses.boosted import BoostedLoss
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.wrapping_loss import find_loss
from keras_ltssl.models.checks import (
    check_features,
    check_finite,
    check_ids,
    check_layer,
    sample_shape,
)
from keras_ltssl.models.value_range import check_value_range
from keras_ltssl.typing import Tensor


class _LossWatch(keras.callbacks.Callback):
    """Tells the loss how long an epoch is, and sees that it gets its due."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        steps = self.params.get("steps")
        replicas.prepare(model, steps)
        if steps is not None:
            model.loss_state.set_steps_per_epoch(int(steps))
        elif model.needs_epochs or model.loss.needs_epochs:
            who = model if model.needs_epochs else model.loss
            raise ValueError(
                f"{type(who).__name__} follows a schedule of epochs, "
                "but this data does not say how many batches it has. Pass "
                "`steps_per_epoch` to `fit`. Received: steps_per_epoch=None"
            )

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        # By now, every other callback has said that it is there.
        self.model.loss.check_training()

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self.model.loss_state.check_ids_seen()


@keras.saving.register_keras_serializable(package="keras_ltssl")
class ContrastiveModel(keras.Model):
    """Trains an encoder to recognise two views of the same sample.

    The views are folded into the batch, `encoder` and `projector` see
    `(2 * batch, ...)` once, and the loss gets `(batch, 2, dim)`. What a user
    keeps is `model.encoder`: `model.encoder.predict(x)` gives features.

    `fit` takes `(x)`, `(x, ids)` or a dataset of either, where ids are integers
    that name the samples (row numbers, -1 for out-of-distribution). Labels are
    never needed. `x` is one of

    - samples that the encoder takes: `augmenter` makes two views of each, also
      in `evaluate`, since a contrastive loss is only defined on views;
    - ready-made views, `(batch, 2, ...)`: used as they are.

    Args:
        encoder: Keras model or layer, `(batch, ...)` to `(batch, features)`.
        projector: Layer from features to projections. Defaults to `None`:
            `ProjectionHead()`, two dense layers with 128 outputs.
        augmenter: Layer from `(batch, ...)` to `(batch, 2, ...)` such as
            `TwoViews`. Defaults to `None`: for images `(batch, height, width,
            channels)` with values 0 to 255, SimCLR's views (`simclr_views`);
            other samples must come as ready-made views.

    Raises:
        ValueError: If the encoder gives anything but `(batch, features)`, the
            loss is not one of this package's, data holds NaN, or targets are
            no sample ids.

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
        Chen, Kornblith, Norouzi, Hinton. A Simple Framework for Contrastive
        Learning of Visual Representations. ICML 2020, arXiv:2002.05709.
    """

    needs_epochs = False
    """Whether the model must know how many steps an epoch has."""

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
        if isinstance(input_shape[0], (tuple, list)):  # Samples and ids.
            input_shape = tuple(input_shape[0])
        if (
            self.augmenter is None
            and not self._holds_views(input_shape)
            and len(input_shape) == 4
        ):
            height, width = input_shape[1:3]
            if height is None or width is None:
                raise ValueError(
                    "The default views need images of one size. Received: "
                    f"x.shape={tuple(input_shape)}. Pass an `augmenter`."
                )
            if input_shape[3] not in (1, 3):
                raise ValueError(
                    "The default views take images of 1 or 3 channels. Pass "
                    "an `augmenter`, such as `TwoViews([RandomResizedCrop("
                    "height, width)])`: RandomResizedCrop and RandomBlur take "
                    "any number of channels, RandomColorDistortion takes 1 or "
                    f"3. Received: x.shape={tuple(input_shape)}"
                )
            self.augmenter = simclr_views((height, width))
            self._has_default_views = True
        # On a symbolic batch, every layer builds itself.
        self.call(keras.KerasTensor(input_shape))
        self.built = True

    def _holds_views(self, shape: tuple[int | None, ...]) -> bool:
        """Says whether data of this shape are views rather than samples."""
        has_two = len(shape) > 2 and shape[1] == 2
        if getattr(self.encoder, "inputs", None):
            return has_two and len(shape) == len(self.encoder.input_shape) + 1
        return has_two

    def call(
        self, x: Tensor | tuple[Tensor, Tensor], training: bool | None = None
    ) -> Tensor:
        x, ids = x if isinstance(x, (tuple, list)) else (x, None)
        views = x
        is_boosted = isinstance(self.augmenter, BoostedViews)
        if not self._holds_views(x.shape):
            if self.augmenter is None:
                raise ValueError(
                    "`x` must hold ready-made views, (batch, 2, ...), or "
                    "images, (batch, height, width, channels); for other "
                    "samples pass an `augmenter` that makes views. "
                    f"Received: x.shape={tuple(x.shape)}"
                )
            if is_boosted and ids is not None:
                loss = find_loss(self.loss, BoostedLoss)
                assert loss is not None  # `compile` has made sure.
                views = self.augmenter(x, loss.weights_of(ids))
            elif is_boosted:
                views = self.augmenter(x)
            else:
                views = self.augmenter(x, training=training)
        elif is_boosted:
            raise ValueError(
                "BoostedViews make views of samples, (batch, ...), stronger "
                "where a sample is hard. Received ready-made views: "
                f"x.shape={tuple(x.shape)}"
            )
        if len(views.shape) < 3 or views.shape[1] != 2:
            raise ValueError(
                "`augmenter` must return two views of each sample, "
                f"(batch, 2, ...). Received: shape={tuple(views.shape)}"
            )
        return self.compare(views, training)

    def compare(self, views: Tensor, training: bool | None) -> Tensor:
        """Returns `(batch, 2, dim)`, for the loss, of two views per sample.

        Here both views pass through the same network, folded into one batch.
        Frameworks that treat the views differently override this.
        """
        folded = ops.reshape(views, (-1, *ops.shape(views)[2:]))
        z = self.project(folded, training)
        z = ops.reshape(z, (-1, 2, z.shape[-1]))
        return self.loss_state(z, training=training)

    def project(self, samples: Tensor, training: bool | None) -> Tensor:
        """Returns the projections of samples, `(n, ...)` to `(n, dim)`."""
        features = self.encoder(samples, training=training)
        check_features(getattr(features, "shape", None))
        return self.projector(features, training=training)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: ContrastiveLoss | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training; as for any Keras model, but for the loss.

        What the loss remembers becomes part of this model. A loss that belongs
        to another model already is copied, so that the two do not mix.

        Args:
            optimizer: As for any Keras model. Defaults to `"rmsprop"`.
            loss: One of `keras_ltssl.losses`.
            **kwargs: Every other argument of `keras.Model.compile`.
        """
        if not isinstance(loss, ContrastiveLoss):
            raise ValueError(
                "`loss` must be one of keras_ltssl.losses, such as "
                f"NTXentLoss(). Received: loss={loss!r}"
            )
        self.check_loss(loss)
        if (
            loss.get_state() is not None
            and loss.get_state() is not self.loss_state
        ):
            loss = loss.copy()
        self.loss_state.attach(loss)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def check_loss(self, loss: ContrastiveLoss) -> None:
        """Says why this framework cannot train with a loss.

        Args:
            loss: One of `keras_ltssl.losses`.

        Raises:
            ValueError: If it cannot.
        """
        if loss.needs_targets:
            raise ValueError(
                "BYOLLoss compares predictions with targets, which only "
                f"models.BYOL makes. Received: loss={loss!r} for a "
                f"{type(self).__name__}"
            )
        self._check_boosting(loss)

    def _check_boosting(self, loss: ContrastiveLoss) -> None:
        remembers = find_loss(loss, BoostedLoss) is not None
        if remembers != isinstance(self.augmenter, BoostedViews):
            raise ValueError(
                "BoostedLoss remembers which samples are hard, and "
                "BoostedViews make their views stronger: one does nothing "
                "without the other. Use both, `augmenter=BoostedViews(...)` "
                "and `loss=BoostedLoss(...)`, or neither. Received: "
                f"augmenter={self.augmenter!r}, loss={loss!r}"
            )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as saved; Keras leaves it to models with their own compile.

        Args:
            config: What `get_compile_config()` returned.
        """
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        bound = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        given = bound.arguments
        x, y = given.get("x"), given.get("y")
        check_finite(x)
        check_ids(y)
        self._check_ids_for_loss(x, y)
        replicas.check_parts(x, y)
        shape = sample_shape(x)
        if not self.built and shape is not None:
            # Keras would, too, but older ones wrap what is wrong with the
            # shapes in an error about building, and on TensorFlow not before
            # the first step.
            with replicas.scope(self):
                self.build((None, *shape))
        if shape is not None and not self._holds_views((None, *shape)):
            check_value_range(x, self.augmenter)
        callbacks = given.get("callbacks") or []
        if isinstance(callbacks, keras.callbacks.CallbackList):
            for callback in self.own_callbacks():
                callbacks.append(callback)
        else:
            if not isinstance(callbacks, (list, tuple)):
                callbacks = [callbacks]
            callbacks = [*self.own_callbacks(), *callbacks]
        given["callbacks"] = callbacks
        self.training_data = x
        try:
            return super().fit(*bound.args[1:], **bound.kwargs)
        finally:
            self.training_data = None

    def own_callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns new callbacks that training needs in any case."""
        return [_LossWatch()]

    def train_step(self, *args: Any) -> Any:
        """Trains on a batch; boosted views are told whose views they are."""
        return super().train_step(*self._with_ids(args))

    def test_step(self, *args: Any) -> Any:
        """Evaluates a batch; boosted views are told whose views they are."""
        return super().test_step(*self._with_ids(args))

    def _with_ids(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Lets ids, which are the targets, into the model with the samples."""
        if not isinstance(self.augmenter, BoostedViews):
            return args
        # The data come last; on JAX, the state of the training comes first.
        x, y, weight = keras.utils.unpack_x_y_sample_weight(args[-1])
        if y is None:
            raise ValueError(_no_ids(self.loss))
        data = keras.utils.pack_x_y_sample_weight((x, y), y, weight)
        return (*args[:-1], data)

    def _check_ids_for_loss(self, x: Any, y: Any) -> None:
        """Checks the ids that are known before the first step."""
        if not isinstance(self.loss, ContrastiveLoss):
            return
        ids = getattr(x, "ids", None) if y is None else y
        if ids is None and isinstance(x, np.ndarray) and self.loss.needs_ids:
            raise ValueError(_no_ids(self.loss))
        if isinstance(ids, (np.ndarray, list, tuple)) and len(ids):
            self.loss.check_largest_id(int(np.max(ids)))

    def compute_loss(
        self,
        x: Tensor | None = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the loss; without targets, samples count as unnamed."""
        if y is None:
            if self.loss.needs_ids:
                raise ValueError(_no_ids(self.loss))
            y = -ops.ones((ops.shape(y_pred)[0],), dtype="int32")
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, layers as configs."""
        parts = {name: getattr(self, name) for name in self.part_names}
        if self._has_default_views:
            parts["augmenter"] = None
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
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


def _no_ids(loss: ContrastiveLoss) -> str:
    return (
        f"{type(loss).__name__} has to know which sample is which and needs "
        "sample ids: `fit(x, ids)`. Received: y=None"
    )
