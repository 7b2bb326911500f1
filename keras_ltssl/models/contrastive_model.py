"""A Keras model that learns an encoder from two views of each sample."""

import functools
import inspect
import math
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend import replicas
from keras_ltssl.layers.projection_head import ProjectionHead
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.models.checks import (
    check_batch_size,
    check_data,
    check_features,
    check_layer,
    check_metrics,
    check_single,
    sample_shape,
    single_samples,
)
from keras_ltssl.models.samples_with_ids import SamplesWithIds, with_ids
from keras_ltssl.models.value_range import check_value_range
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.types import Tensor
from keras_ltssl.views.simclr_views import simclr_views


class _TrainingWatch(keras.callbacks.Callback):
    """Hands Keras' epoch to the loss, and stops training that goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self._is_first_epoch = True
        self._has_warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        steps = self.params.get("steps")
        replicas.prepare(model, steps)
        model.loss_state.watches_data = True
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
        state = self.model.loss_state
        if self._is_first_epoch and self.model.loss.needs_epochs:
            trained = float(ops.convert_to_numpy(state.epoch))
            if trained > epoch:
                warnings.warn(
                    f"The loss has trained for {trained:g} epochs, and `fit` "
                    f"begins at epoch {epoch}, so its schedules go back. To "
                    f"go on, pass `initial_epoch={math.ceil(trained)}`.",
                    stacklevel=2,
                )
        if state.knows_epochs:
            state.set_epoch(epoch)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        # Batches 1, 2, 4, 8, ... of the first epoch: reading waits for them.
        steps = batch + 1
        if self._is_first_epoch and steps & (steps - 1) == 0:
            self._check_counts(steps)

    def _check_counts(self, steps: int) -> None:
        model = self.model
        samples, named, repeated = model.loss_state.counts()
        # None are counted in a step that `train_on_batch` has compiled.
        if model.has_negatives_in_batch and 0 < samples <= steps:
            raise single_samples(type(model.loss).__name__)
        if not repeated:
            return
        message = (
            "`y` must name each sample once, by its row in the training set. "
            "Repeated ids look like class labels, which are never needed: "
            "leave them out. `keras.utils.image_dataset_from_directory` does "
            "so with `labels=None`. Received: "
            f"{repeated} of {named} ids repeat another one of their batch"
        )
        if repeated > named / 2:
            raise ValueError(message)
        if repeated > named / 20 and not self._has_warned:
            self._has_warned = True
            warnings.warn(message, stacklevel=2)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        model = self.model
        self._is_first_epoch = False
        model.loss_state.watches_data = False
        model.loss_state.check_ids_seen()
        for weight in model.trainable_weights:
            if not bool(ops.all(ops.isfinite(weight))):
                raise ValueError(
                    f"Training has diverged in epoch {epoch}: the weight "
                    f"{weight.path} holds NaN or infinity. A smaller learning "
                    "rate or a larger temperature may help; so may a look for "
                    "NaN in the data."
                )


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
            other samples must come as ready-made views. One that has
            `needs_ids = True` is called as `augmenter(samples, ids=ids)` in
            training and evaluation; one that has `attach(loss)` is given the
            loss when the model is compiled.

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

    has_negatives_in_batch = True
    """Whether a sample is compared with the others of its batch."""

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
        is_named = isinstance(input_shape, dict)
        if is_named or isinstance(input_shape[0], (tuple, list)):
            if is_named or not self._augmenter_needs_ids:
                check_single("x", input_shape)
            input_shape = tuple(input_shape[0])  # Of samples and ids.
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

    @property
    def _augmenter_needs_ids(self) -> bool:
        return bool(getattr(self.augmenter, "needs_ids", False))

    def call(
        self, x: Tensor | SamplesWithIds, training: bool | None = None
    ) -> Tensor:
        ids = None
        if isinstance(x, SamplesWithIds):
            x, ids = x
        check_single("x", x)
        views = x
        if not self._holds_views(x.shape):
            if self.augmenter is None:
                raise ValueError(
                    "`x` must hold ready-made views, (batch, 2, ...), or "
                    "images, (batch, height, width, channels); for other "
                    "samples pass an `augmenter` that makes views. "
                    f"Received: x.shape={tuple(x.shape)}"
                )
            named = {} if ids is None else {"ids": ids}
            views = self.augmenter(x, training=training, **named)
        elif self._augmenter_needs_ids:
            raise ValueError(
                f"{type(self.augmenter).__name__} makes the views of each "
                "sample by its id, so `x` must hold samples, (batch, ...). "
                f"Received ready-made views: x.shape={tuple(x.shape)}"
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
        loss.check_augmenter(self.augmenter)
        check_metrics([kwargs.get("metrics"), kwargs.get("weighted_metrics")])
        if (
            loss.get_state() is not None
            and loss.get_state() is not self.loss_state
        ):
            loss = loss.copy()
        if self.augmenter is not None and hasattr(self.augmenter, "attach"):
            self.augmenter.attach(loss)
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
        self._check_fit(given)
        shape = sample_shape(x)
        if not self.built and shape is not None:
            # Keras would, too, but older ones wrap what is wrong with the
            # shapes in an error about building, and on TensorFlow not before
            # the first step.
            with replicas.scope(self):
                self.build((None, *shape))
        if shape is not None and not self._holds_views((None, *shape)):
            check_value_range(x, self.augmenter)
        self._check_ids_for_loss(x, y)
        callbacks = given.get("callbacks") or []
        if isinstance(callbacks, keras.callbacks.CallbackList):
            for callback in self.own_callbacks():
                callbacks.append(callback)
            all_callbacks = callbacks.callbacks
        else:
            if not isinstance(callbacks, (list, tuple)):
                callbacks = [callbacks]
            callbacks = [*self.own_callbacks(), *callbacks]
            all_callbacks = callbacks
        given["callbacks"] = callbacks
        if isinstance(self.loss, ContrastiveLoss):
            self.loss.check_training(all_callbacks)
        self.training_data = x
        try:
            return super().fit(*bound.args[1:], **bound.kwargs)
        finally:
            self.training_data = None
            self.loss_state.watches_data = False

    def _check_fit(self, given: dict[str, Any]) -> None:
        """Raises if the arguments of `fit` cannot be trained on."""
        x, y = given.get("x"), given.get("y")
        check_data(x, y, given.get("sample_weight"))
        validation = given.get("validation_data")
        if isinstance(validation, (tuple, list)):
            x_val, y_val, weight = keras.utils.unpack_x_y_sample_weight(
                tuple(validation)
            )
            check_data(x_val, y_val, weight, where="`validation_data`: ")
        if given.get("class_weight") is not None:
            raise ValueError(
                "`class_weight` weights samples by their class, and targets "
                "are sample ids here. Pass `sample_weight`, one weight for "
                f"each sample. Received: class_weight={given['class_weight']}"
            )
        if self.has_negatives_in_batch:
            name = type(self.loss).__name__
            check_batch_size(x, given.get("batch_size"), name)
        replicas.check_parts(x, y)
        replicas.check_batches(x, given.get("batch_size"))

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        # Within `fit`, which has checked them, Keras adds an argument.
        if "_use_cached_eval_dataset" not in kwargs:
            signature = inspect.signature(keras.Model.evaluate)
            given = signature.bind(self, *args, **kwargs).arguments
            check_data(
                given.get("x"), given.get("y"), given.get("sample_weight")
            )
        return super().evaluate(*args, **kwargs)

    def own_callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns new callbacks that training needs in any case."""
        return [_TrainingWatch()]

    def train_step(self, *args: Any) -> Any:
        """Trains on a batch; the data are the last argument."""
        # On JAX, the state of the training comes first.
        *state, data = args
        return super().train_step(*state, self._as_called(data))

    def test_step(self, *args: Any) -> Any:
        """Evaluates a batch; the data are the last argument."""
        *state, data = args
        return super().test_step(*state, self._as_called(data))

    def _as_called(self, data: Any) -> Any:
        """Returns the data of a step, with ids where the augmenter needs them.

        Keras calls a model with the samples alone.
        """
        if not self._augmenter_needs_ids:
            return data
        named = with_ids(data)
        if named is None:
            raise ValueError(self._no_ids())
        return named

    def _no_ids(self) -> str:
        who = self.loss if self.loss.needs_ids else self.augmenter
        return (
            f"{type(who).__name__} has to know which sample is which and "
            "needs sample ids: `fit(x, ids)`. Received: y=None"
        )

    def _check_ids_for_loss(self, x: Any, y: Any) -> None:
        """Checks the ids that are known before the first step."""
        if not isinstance(self.loss, ContrastiveLoss):
            return
        ids = getattr(x, "ids", None) if y is None else y
        needs_ids = self.loss.needs_ids or self._augmenter_needs_ids
        if ids is None and isinstance(x, np.ndarray) and needs_ids:
            raise ValueError(self._no_ids())
        if isinstance(ids, (np.ndarray, list, tuple)) and len(ids):
            self.loss.check_largest_id(int(np.max(ids)))

    @property
    def metrics_names(self) -> list[str]:
        """The names of what training logs."""
        return list(self.get_metrics_result())

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
                raise ValueError(self._no_ids())
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
