"""What every contrastive loss is: ids, two views, a temperature, a state."""

import inspect
import weakref
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend import replicas
from keras_ltssl.backend.compilation import (
    is_untracked,
    runs_eagerly,
    uncompiled_on_torch,
)
from keras_ltssl.losses.contrast import BatchContrast, Contrast
from keras_ltssl.losses.kernels.anchors import check_views
from keras_ltssl.losses.kernels.queue import QueueContrast
from keras_ltssl.losses.kernels.unit_views import as_floats, unit_views
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.schedules.temperature_schedule import get_schedule
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.types import Tensor


class _Reduction(keras.losses.Loss):
    """Weights and reduces values that are losses already, as Keras does."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred


_SMALL_INTEGERS = ("int8", "uint8", "int16", "uint16")


@uncompiled_on_torch
def _call_uncompiled(
    loss: "ContrastiveLoss", y_true: Tensor | None, z: Tensor
) -> Tensor:
    return loss.call(y_true, z)


class ContrastiveLoss(keras.losses.Loss):
    """Base class of the losses over `(batch, 2, dim)` projections.

    A subclass implements `per_sample(ids, z, temperature)`. What it remembers
    between steps (prototypes, memories) it does not hold itself: it names the
    layers in `state_layers()`, and a `LossState` of the model owns them, since
    a compiled step only sees, trains and saves what belongs to the model.

    Args:
        temperature: τ, a number > 0 or a `TemperatureSchedule`. Defaults to
            `0.2`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `None`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Call arguments:
        y_true: Sample ids, integers `(batch,)`, or `None`. They stay integers:
            Keras' own losses cast them to float32, which corrupts ids above
            2^24.
        y_pred: Projections, `(batch, 2, dim)`.
        sample_weight: As for any Keras loss.
    """

    needs_ids = False
    """Whether the loss has to know which sample is which."""

    num_samples: int | None = None
    """How many sample ids it keeps something for, 0 to `num_samples - 1`."""

    has_temperature = True
    """Whether a temperature means anything to it."""

    needs_targets = False
    """Whether `y_pred` holds, after two predictions, the targets of two views:
    `(batch, 4, dim)`."""

    metric_names: tuple[str, ...] = ("temperature",)
    """What the loss logs beside its value, once it has a state."""

    def __init__(
        self,
        temperature: float | TemperatureSchedule = 0.2,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._temperature = get_schedule(temperature)
        # Named, for TensorFlow takes no scope that begins with an underscore.
        self._reduction = _Reduction(
            name="reduction", reduction=reduction, dtype=dtype
        )
        # Weak: the state refers to its loss, and Keras walks attributes
        # without end where two savable objects refer to each other.
        self._state: weakref.ref[LossState] | None = None

    built = False
    """Whether Keras has restored what `get_build_config` returned."""

    @property
    def temperature(self) -> float | TemperatureSchedule:
        """τ as it was set: a number or a schedule.

        A number may be set at any time, and the next step uses it. What a
        callback drives shows in `current_temperature()`.
        """
        return self._temperature

    @temperature.setter
    def temperature(self, temperature: float | TemperatureSchedule) -> None:
        if not self.has_temperature:
            raise ValueError(
                f"{type(self).__name__} has no temperature to set. "
                f"Received: temperature={temperature!r}"
            )
        new = get_schedule(temperature)
        state = self.get_state()
        if state is not None:
            if isinstance(new, TemperatureSchedule) or isinstance(
                self._temperature, TemperatureSchedule
            ):
                raise ValueError(
                    "A schedule cannot be set or replaced after `compile`, "
                    "since a compiled step keeps the old one. Compile the "
                    "model with a new loss. "
                    f"Received: temperature={temperature!r}"
                )
            state.temperature.assign(new)
        self._temperature = new

    def __setattr__(self, name: str, value: Any) -> None:
        is_attached = getattr(self, "_state", None) and self.get_state()
        if (
            is_attached
            and name != "temperature"
            and name in inspect.signature(type(self)).parameters
        ):
            raise ValueError(
                f"`{name}` cannot be set after `compile`, since a compiled "
                "step keeps its old value. Compile the model with a new "
                f"{type(self).__name__}. Received: {name}={value!r}"
            )
        super().__setattr__(name, value)

    @property
    def needs_state(self) -> bool:
        """Whether the loss cannot work without a `LossState`."""
        return isinstance(self.temperature, TemperatureSchedule)

    @property
    def needs_epochs(self) -> bool:
        """Whether the loss must know how many steps an epoch has."""
        return isinstance(self.temperature, TemperatureSchedule)

    @property
    def has_loops(self) -> bool:
        """Whether a step loops, over chunks or towards a solution."""
        return getattr(self, "chunk_size", None) is not None

    def get_state(self) -> LossState | None:
        """Returns the `LossState` that this loss belongs to, if any.

        A method: as a property, Keras would walk in circles when saving.
        """
        return None if self._state is None else self._state()

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        """Returns new layers that hold what the loss remembers, by name."""
        return {}

    def bind(self, state: LossState) -> None:
        """Makes the loss read and write `state`; called by `LossState`."""
        self._state = weakref.ref(state)

    def check_largest_id(self, largest: int) -> None:
        """Raises if the largest sample id is out of range."""
        if self.num_samples is not None and largest >= self.num_samples:
            raise ValueError(
                f"Sample ids must be below `num_samples` of "
                f"{type(self).__name__}. Received: id {largest}, "
                f"num_samples={self.num_samples}"
            )

    def check_projections(self, z: Tensor) -> None:
        """Raises if the projections have another shape than the loss needs."""
        if not self.needs_targets:
            check_views(z)
        elif len(z.shape) != 3 or z.shape[1] != 4:
            raise ValueError(
                f"{type(self).__name__} compares two predictions with two "
                "targets of each sample, (batch, 4, dim), which models.BYOL "
                f"makes. Received: shape={tuple(z.shape)}"
            )

    def check_augmenter(self, augmenter: keras.layers.Layer | None) -> None:
        """Raises if the model's views are not the ones that the loss needs.

        Args:
            augmenter: The layer that makes the views of a `ContrastiveModel`;
                `None` for the default views and for ready-made ones.
        """

    def check_training(
        self, callbacks: Sequence[keras.callbacks.Callback]
    ) -> None:
        """Raises if the training lacks a callback that the loss needs.

        Args:
            callbacks: The callbacks that `fit` was given.
        """

    def per_sample(
        self, ids: Tensor | None, z: Tensor, temperature: float | Tensor
    ) -> Tensor:
        """Returns the loss of each sample, `(batch,)`, and logs its metrics."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement "
            "`per_sample(ids, z, temperature)`."
        )

    def __call__(
        self,
        y_true: Tensor | None,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        z = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        if self.has_loops:
            losses = _call_uncompiled(self, y_true, z)
        else:
            losses = self.call(y_true, z)
        if (
            sample_weight is None
            and self.reduction == "sum_over_batch_size"
            and runs_eagerly()
        ):
            # Fast path: the generic reduction costs about 0.3 ms here.
            return ops.cast(ops.mean(losses), self.dtype)
        return self._reduction(losses, losses, sample_weight)

    def call(self, y_true: Tensor | None, y_pred: Tensor) -> Tensor:
        """Returns the loss of each sample and moves the state on by a step."""
        self.check_projections(y_pred)
        ids = None if y_true is None else self._as_ids(y_true)
        if self.needs_ids and ids is None:
            raise ValueError(
                f"{type(self).__name__} has to know which sample is which and "
                "needs sample ids as targets: `fit(x, ids)`. Received: y=None"
            )
        state = self._checked_state(y_pred)
        # The batch of all replicas, so that each remembers the same.
        z = replicas.gather(as_floats(y_pred))
        ids = None if ids is None else replicas.gather(ids)
        if state is not None and state.is_training:
            # First: replicas of TensorFlow take turns where they assign, and
            # must not do so between what they log and `write_log`.
            state.observe(ids, ops.shape(z)[0])
        losses = self.per_sample(ids, z, self.current_temperature())
        if state is not None and state.is_training:
            queue = state.get_queue()
            if queue is not None:
                keys = unit_views(z)[:, 1]
                is_ood = ops.zeros_like(keys[:, 0]) > 0
                queue.enqueue(keys, is_ood if ids is None else ids < 0)
            state.advance(losses)
        if state is not None:
            state.write_log(losses)
        return replicas.own(y_pred, losses)

    def contrast(
        self,
        z: Tensor,
        temperature: float | Tensor,
        chunk_size: int | None,
        views: tuple[Tensor, Tensor] | None = None,
    ) -> Contrast:
        """Returns the anchors' losses, as the model's framework means them.

        Against the rest of the batch, or where the model keeps a queue of keys,
        against that. `views` is `unit_anchors(z)`, from who has needed it.
        """
        state = self.get_state()
        queue = None if state is None else state.get_queue()
        if queue is None:
            return BatchContrast(z, temperature, chunk_size, views)
        return QueueContrast(z, queue, temperature, chunk_size)

    def current_temperature(self) -> float | Tensor:
        """Returns τ of this step: the schedule's, the driven or the set one."""
        state = self.get_state()
        if state is None:
            return self.temperature
        if isinstance(self.temperature, TemperatureSchedule):
            return self.temperature(state.epoch)
        return ops.convert_to_tensor(state.temperature)

    def log(self, **values: float | Tensor) -> None:
        """Adds to the means that training logs; without a state, to none."""
        state = self.get_state()
        if state is not None:
            for name, value in values.items():
                state.log(name, value)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        temperature: Any = self.temperature
        if isinstance(temperature, TemperatureSchedule):
            temperature = keras.saving.serialize_keras_object(temperature)
        return {
            "temperature": temperature,
            "reduction": self.reduction,
            "name": self.name,
            "dtype": self.dtype,
        }

    def get_build_config(self) -> dict[str, Any] | None:
        """Returns the key of the state, by which a saved loss finds it."""
        state = self.get_state()
        return None if state is None else {"state_key": state.key}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Joins the state that was restored with this loss, if there is one.

        Args:
            config: What `get_build_config` returned.
        """
        LossState.rejoin(self, config["state_key"])

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ContrastiveLoss":
        """Builds the loss from what `get_config` returned."""
        config = dict(config)
        # Files of older versions keep the key of the state here.
        key = config.pop("state_key", None)
        loss = cls(**config)
        if key is not None:
            LossState.rejoin(loss, key)
        return loss

    def copy(self) -> "ContrastiveLoss":
        """Returns an unattached loss of the same configuration."""
        return type(self).from_config(self.get_config())

    def _as_ids(self, y_true: Tensor) -> Tensor:
        ids = ops.convert_to_tensor(y_true)
        dtype = keras.backend.standardize_dtype(ids.dtype)
        if replicas.infers_shapes() or dtype in _SMALL_INTEGERS:
            # Small types cannot hold `num_samples`, with which they compare.
            ids = ops.cast(ids, "int32")
        elif "int" not in dtype:
            raise ValueError(
                "Targets must be sample ids, integers of shape (batch,), "
                "-1 for out-of-distribution samples. Class labels are never "
                "needed: leave them out, as "
                "`keras.utils.image_dataset_from_directory(..., "
                f"labels=None)` does. Received: dtype={dtype}"
            )
        if len(ids.shape) > 2 or (len(ids.shape) == 2 and ids.shape[1] != 1):
            raise ValueError(
                "Targets must be sample ids of shape (batch,). Class labels "
                "are never needed: leave them out. "
                f"Received: shape={tuple(ids.shape)}"
            )
        return ops.reshape(ids, (-1,))

    def _checked_state(self, z: Tensor) -> LossState | None:
        state = self.get_state()
        name = type(self).__name__
        if state is None:
            if self.needs_state:
                raise ValueError(
                    f"{name} changes while training, so what it remembers has "
                    "to be part of the model. ContrastiveModel does that by "
                    "itself; in another model, pass the projections through "
                    "its state and build the model on the result: "
                    "`outputs = keras_ltssl.layers.LossState(loss)(outputs)`."
                )
            return None
        if not state.take_call(z) or (
            state.is_training and is_untracked(state.step)
        ):
            raise ValueError(
                f"The LossState of this {name} is not part of the model that "
                "is trained, so its values would stay frozen. Pass the "
                "model's projections through it: "
                "`outputs = keras_ltssl.layers.LossState(loss)(outputs)`, and "
                "compile with the same loss. A copy of a model, as by "
                "`keras.models.clone_model`, has a state and a loss of its "
                "own: compile it with "
                f"`copy.get_layer({state.name!r}).loss`."
            )
        if state.is_training and self.needs_epochs and not state.knows_epochs:
            raise ValueError(
                f"{name} follows a schedule of epochs and has to know how many "
                "steps an epoch has. `ContrastiveModel.fit` finds out by "
                "itself; elsewhere use `LossState(loss, steps_per_epoch=...)`, "
                "or drive a plain temperature by `TemperatureScheduler`."
            )
        return state
