"""A Keras model that learns an encoder from two views of each sample."""

import functools
import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.layers.loss_state import LossState
from keras_ltssl.layers.projection_head import ProjectionHead
from keras_ltssl.layers.simclr_views import simclr_views
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.typing import Tensor


class _LossWatch(keras.callbacks.Callback):
    """Tells the loss how long an epoch is, and sees that it gets its due."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        steps = self.params.get("steps")
        if steps is not None:
            model.loss_state.set_steps_per_epoch(int(steps))
        elif model.loss.needs_epochs:
            raise ValueError(
                f"{type(model.loss).__name__} follows a schedule of epochs, "
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

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | None = None,
        augmenter: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, part in (
            ("encoder", encoder),
            ("projector", projector),
            ("augmenter", augmenter),
        ):
            if not isinstance(part, keras.layers.Layer) and (
                part is not None or name == "encoder"
            ):
                raise ValueError(
                    f"`{name}` must be a Keras layer or model. "
                    f"Received: {name}={part!r} of type {type(part).__name__}"
                )
        if isinstance(encoder, keras.Model) and encoder.built:
            _check_features(encoder.output_shape)
        self.encoder = encoder
        self.projector = ProjectionHead() if projector is None else projector
        self.augmenter = augmenter
        self._has_default_views = False
        self.loss_state = LossState()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
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

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        views = x
        if not self._holds_views(x.shape):
            if self.augmenter is None:
                raise ValueError(
                    "`x` must hold ready-made views, (batch, 2, ...), or "
                    "images, (batch, height, width, channels); for other "
                    "samples pass an `augmenter` that makes views. "
                    f"Received: x.shape={tuple(x.shape)}"
                )
            views = self.augmenter(x, training=training)
        if len(views.shape) < 3 or views.shape[1] != 2:
            raise ValueError(
                "`augmenter` must return two views of each sample, "
                f"(batch, 2, ...). Received: shape={tuple(views.shape)}"
            )
        folded = ops.reshape(views, (-1, *ops.shape(views)[2:]))
        features = self.encoder(folded, training=training)
        _check_features(getattr(features, "shape", None))
        z = self.projector(features, training=training)
        z = ops.reshape(z, (-1, 2, z.shape[-1]))
        return self.loss_state(z, training=training)

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
        if (
            loss.get_state() is not None
            and loss.get_state() is not self.loss_state
        ):
            loss = loss.copy()
        self.loss_state.attach(loss)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

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
        _check_finite(x)
        _check_ids(y)
        self._check_ids_for_loss(x, y)
        if not self.built and isinstance(x, np.ndarray):
            # Keras would, too, but older ones wrap what is wrong with the
            # shapes in an error about building.
            self.build((None, *x.shape[1:]))
        callbacks = given.get("callbacks") or []
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(_LossWatch())
        else:
            if not isinstance(callbacks, (list, tuple)):
                callbacks = [callbacks]
            callbacks = [_LossWatch(), *callbacks]
        given["callbacks"] = callbacks
        return super().fit(*bound.args[1:], **bound.kwargs)

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
        augmenter = None if self._has_default_views else self.augmenter
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "encoder": serialize(self.encoder),
            "projector": serialize(self.projector),
            "augmenter": None if augmenter is None else serialize(augmenter),
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
            for name in ("encoder", "projector", "augmenter")
        }
        return cls(name=config["name"], **parts)


def _no_ids(loss: ContrastiveLoss) -> str:
    return (
        f"{type(loss).__name__} has to know which sample is which and needs "
        "sample ids: `fit(x, ids)`. Received: y=None"
    )


def _check_features(shape: Any) -> None:
    if isinstance(shape, tuple) or hasattr(shape, "__len__"):
        sizes = tuple(shape)
        if len(sizes) == 2 and not isinstance(sizes[0], (tuple, list)):
            return
        advice = (
            " A feature map has to be pooled: end the encoder with "
            "`keras.layers.GlobalAveragePooling2D()`."
            if len(sizes) == 4
            else ""
        )
    else:
        sizes, advice = shape, " Give it a single output."
    raise ValueError(
        f"`encoder` must return features of shape (batch, features).{advice} "
        f"Received: output shape={sizes}"
    )


def _check_finite(x: Any) -> None:
    """Refuses NaN and infinities in an array, a few rows at a time."""
    if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.floating):
        return
    rows = max(1, 2**24 // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), rows):
        if not np.isfinite(x[start : start + rows]).all():
            raise ValueError(
                "`x` must hold finite numbers. "
                f"Received: NaN or infinity in rows {start} to "
                f"{min(start + rows, len(x)) - 1}"
            )


def _check_ids(y: Any) -> None:
    if y is None:
        return
    ids = np.asarray(y) if isinstance(y, (list, tuple)) else y
    if not isinstance(ids, np.ndarray):
        return
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            "`y` must hold sample ids, integers; labels are never needed. "
            f"Received: dtype={ids.dtype}"
        )
    if ids.size and ids.min() < -1:
        raise ValueError(
            "`y` must hold sample ids >= 0, or -1 for out-of-distribution "
            f"samples. Received: {ids.min()}"
        )
