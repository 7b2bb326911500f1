"""Base class of every contrastive loss: what happens around its equation."""

import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend import replicas
from keras_ltssl.backend.compilation import (
    compiled_on_torch,
    infers_shapes,
    uncompiled_on_torch,
)
from keras_ltssl.losses.ids import as_ids
from keras_ltssl.losses.kernels.anchors import check_views
from keras_ltssl.losses.kernels.unit_views import as_floats, unit_views
from keras_ltssl.losses.learning_signs import learning_signs
from keras_ltssl.losses.reduction import Reduction
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.state.call import Call
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.types import Tensor


@uncompiled_on_torch
def _call_uncompiled(
    loss: "ContrastiveLoss", y_true: Tensor | None, z: Tensor
) -> Tensor:
    return loss.call(y_true, z)


class ContrastiveLoss(keras.losses.Loss):
    """Base class of the losses over `(batch, 2, dim)` projections.

    A subclass implements `per_sample(step)`. What it remembers between steps
    (prototypes, memories) it names in `state_layers()`. A `LossState` of the
    model owns these layers, since a compiled step only sees, trains and saves
    what belongs to the model, and a step hands them out: `step.layer(...)`.

    A loss with a temperature is a `TemperatureLoss`; one that adds a term to
    another loss is a `WrappingLoss`.

    Args:
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `None`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Call arguments:
        y_true: Sample ids, integers `(batch,)`, or `None`. They stay integers:
            Keras' own losses cast them to float32, which corrupts ids above
            2^24.
        y_pred: Projections, `(batch, 2, dim)`.
        sample_weight: As for any Keras loss.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> class Distance(lt.losses.ContrastiveLoss):
    ...     metric_names = ("largest",)
    ...
    ...     def per_sample(self, step):
    ...         apart = keras.ops.norm(step.z[:, 0] - step.z[:, 1], axis=-1)
    ...         step.log(largest=keras.ops.max(apart))
    ...         return apart
    >>> float(Distance()(None, np.ones((8, 2, 4), "float32")))
    0.0
    """

    has_temperature = False
    """Whether a temperature means anything to it."""

    metric_names: tuple[str, ...] = ()
    """What the loss logs beside its value, once it has a state."""

    built = False
    """Whether Keras has restored what `get_build_config` returned."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._reduction = Reduction(reduction, dtype)
        # Weak: the state refers to its loss, and Keras walks attributes
        # without end where two savable objects refer to each other.
        self._state: weakref.ref[LossState] | None = None
        self._bound_requirements: Requirements | None = None
        self._compiled_call: Callable[..., Tensor] | None = None

    @property
    def requirements(self) -> Requirements:
        """What the loss needs of the training around it."""
        has_chunks = getattr(self, "chunk_size", None) is not None
        return Requirements(loops=has_chunks)

    @property
    def needed(self) -> Requirements:
        """The requirements, which no longer change once there is a state.

        Combining them anew would cost time in each step, and PyTorch's compiler
        would split a step there.
        """
        if self._bound_requirements is not None:
            return self._bound_requirements
        return self.requirements

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "temperature":
            if not self.has_temperature:
                raise ValueError(
                    f"{type(self).__name__} has no temperature to set. "
                    f"Received: temperature={value!r}"
                )
        elif (
            getattr(self, "_state", None)
            and self.get_state()
            and name in inspect.signature(type(self)).parameters
        ):
            raise ValueError(
                f"`{name}` cannot be set after `compile`, since a compiled "
                "step keeps its old value. Compile the model with a new "
                f"{type(self).__name__}. Received: {name}={value!r}"
            )
        super().__setattr__(name, value)

    def per_sample(self, step: Step) -> Tensor:
        """Returns the loss of each sample, `(batch,)`, and logs its metrics.

        Args:
            step: The batch, and what the step knows beside it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `per_sample(step)`."
        )

    def __call__(
        self,
        y_true: Tensor | None,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        z = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        if self.needed.loops:
            losses = _call_uncompiled(self, y_true, z)
        else:
            call = self._compiled_call
            # Keras asks for shapes before the first step.
            if call is None or infers_shapes():
                call = self.call
            losses = call(y_true, z)
        return self._reduction.reduce(losses, sample_weight)

    def call(self, y_true: Tensor | None, y_pred: Tensor) -> Tensor:
        """Returns the loss of each sample and moves the state on by a step."""
        self.check_projections(y_pred)
        needed = self.needed
        ids = None if y_true is None else as_ids(y_true)
        if needed.ids and ids is None:
            raise ValueError(
                f"{type(self).__name__} has to know which sample is which and "
                "needs sample ids as targets: `fit(x, ids)`. Received: y=None"
            )
        state = self.get_state()
        call = self._take_call(state, y_pred, needed)
        # The batch of all replicas, so that each remembers the same.
        part = replicas.part_of(y_pred)
        z = part.gather(as_floats(y_pred))
        ids = None if ids is None else part.gather(ids)
        step = Step(ids, z, self.current_temperature(), state, call, part)
        if state is not None and step.training:
            # First: replicas of TensorFlow take turns where they assign.
            state.observe(ids, ops.shape(z)[0])
        losses = self.per_sample(step)
        if state is not None and call is not None:
            keys = is_ood = None
            if step.queue is not None:
                keys = unit_views(z)[:, 1]
                is_ood = None if ids is None else ids < 0
            signs = None if state.learning is None else learning_signs(step)
            state.finish(call, losses, step.logged, keys, is_ood, signs)
        return part.own(losses)

    def compile_alone(self, is_on: bool) -> None:
        """Compiles this loss, but not the step around it; only on PyTorch.

        A loss with a loop stays as it is: the compiler would unroll the loop.

        Args:
            is_on: Whether to compile it.
        """
        self._compiled_call = compiled_on_torch(self.call) if is_on else None

    def _take_call(
        self, state: LossState | None, z: Tensor, needed: Requirements
    ) -> Call | None:
        """Returns the forward pass of `z`; raises if the state lacks it."""
        name = type(self).__name__
        if state is None:
            if needed.state:
                raise ValueError(
                    f"{name} changes while training, so what it remembers has "
                    "to be part of the model. ContrastiveModel does that by "
                    "itself; in another model, pass the projections through "
                    "its state and build the model on the result: "
                    "`outputs = keras_ltssl.layers.LossState(loss)(outputs)`."
                )
            return None
        call = state.take_call(z)
        if call.training and needed.epochs and not state.knows_epochs:
            raise ValueError(
                f"{name} follows a schedule of epochs and has to know how many "
                "steps an epoch has. `ContrastiveModel.fit` finds out by "
                "itself; elsewhere use `LossState(loss, steps_per_epoch=...)`, "
                "or drive a plain temperature by `TemperatureScheduler`."
            )
        return call

    def current_temperature(self) -> float | Tensor | None:
        """Returns τ of this step; `None` for a loss without a temperature."""
        return None

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        """Returns new layers that hold what the loss remembers, by name."""
        return {}

    def get_state(self) -> LossState | None:
        """Returns the `LossState` that this loss belongs to, if any.

        A method: as a property, Keras would walk in circles when saving.
        """
        return None if self._state is None else self._state()

    def own_state(self) -> LossState:
        """Returns the `LossState` that this loss belongs to.

        Raises:
            ValueError: If it belongs to none.
        """
        state = self.get_state()
        if state is None:
            raise ValueError(
                f"{type(self).__name__} keeps what it remembers only as a part "
                "of a model. Compile a model with it first."
            )
        return state

    def bind(self, state: LossState) -> None:
        """Makes the loss belong to `state`; called by `LossState`.

        Args:
            state: A state that has the layers of this loss.
        """
        self._bound_requirements = self.requirements
        self._state = weakref.ref(state)

    def check_largest_id(self, largest: int) -> None:
        """Raises if the largest sample id is out of range.

        Args:
            largest: The largest id of the training set.
        """
        num_samples = getattr(self, "num_samples", None)
        if num_samples is not None and largest >= num_samples:
            raise ValueError(
                f"Sample ids must be below `num_samples` of "
                f"{type(self).__name__}. Received: id {largest}, "
                f"num_samples={num_samples}"
            )

    def check_projections(self, z: Tensor) -> None:
        """Raises if the projections have another shape than the loss needs.

        Args:
            z: Projections.
        """
        if not self.needed.target_views:
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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
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
        """Returns an unattached copy."""
        return type(self).from_config(self.get_config())

    def __repr__(self) -> str:
        config = self.get_config()
        shown = {
            name: getattr(self, name)
            for name, parameter in inspect.signature(
                type(self)
            ).parameters.items()
            if name in config and config[name] != parameter.default
        }
        if shown.get("dtype") == keras.config.floatx():
            del shown["dtype"]
        arguments = ", ".join(f"{k}={v!r}" for k, v in shown.items())
        return f"{type(self).__name__}({arguments})"
