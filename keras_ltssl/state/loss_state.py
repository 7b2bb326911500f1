"""What a loss remembers, kept where a compiled step can see it."""

import uuid
import weakref
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend import replicas
from keras_ltssl.backend.compilation import infers_shapes, traced_function
from keras_ltssl.state.key_queue import KeyQueue
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.state.stateful_loss import StatefulLoss
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number

# Keras restores the layers of a model, and then the loss that it was compiled
# with. A state waits here, by its key, until that loss is restored.
_waiting: "weakref.WeakValueDictionary[str, LossState]" = (
    weakref.WeakValueDictionary()
)


def _one_after(values: Tensor | None) -> int | Tensor:
    """Returns 1; on TensorFlow, where a step is traced, not before `values`.

    At the end of data of unknown size, Keras begins a step without data there.
    TensorFlow then still does what needs none, such as counting steps.
    """
    if values is None or traced_function(values) is None:
        return 1
    return ops.maximum(ops.cast(values[0] > 0, "int32"), 1)


class _Means(keras.metrics.Metric):
    """The means of what a loss logs, by name.

    One variable: as a `keras.metrics.Mean` each, four of them take nearly twice
    as long in eager PyTorch, where each operation has its price.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(name="means_of_the_loss")
        self.names = names
        self._logged: dict[str, float | Tensor] = {}
        # Of the values, and then of how many there were.
        self.sums = self.add_variable(
            shape=(2 * len(names),), initializer="zeros", name="sums"
        )
        self.counted = self.add_variable(
            shape=(3,), initializer="zeros", name="counted"
        )

    def log(self, name: str, value: float | Tensor) -> None:
        """Keeps a value of this step."""
        if name not in self.names:
            raise ValueError(
                "A loss can only log what it lists in `metric_names`. "
                f"Received: name={name}, metric_names={self.names}"
            )
        self._logged[name] = value

    def count(
        self, samples: int | Tensor, named: Tensor, repeated: Tensor
    ) -> None:
        """Adds how many samples, ids and repeated ids this step has."""
        self._add(self.counted, [samples, named, repeated], 1)

    def update_state(self, after: Tensor | None = None) -> None:
        """Adds what the step has logged to the sums."""
        if not self._logged:
            return
        zero, known = ops.zeros((), self.dtype), ops.ones((), self.dtype)
        new = [self._logged.get(name, zero) for name in self.names]
        new += [known if name in self._logged else zero for name in self.names]
        self._logged.clear()
        self._add(self.sums, new, _one_after(after))

    def _add(
        self, variable: Any, values: list[float | Tensor], one: int | Tensor
    ) -> None:
        new = ops.stack([ops.cast(value, self.dtype) for value in values])
        if ops.is_tensor(one):
            new *= ops.cast(one, self.dtype)
        variable.assign_add(ops.stop_gradient(new))

    def result(self) -> dict[str, Tensor]:
        sums = ops.convert_to_tensor(self.sums)
        count = len(self.names)
        means = ops.divide_no_nan(sums[:count], sums[count:])
        return {name: means[i] for i, name in enumerate(self.names)}

    def counts(self) -> tuple[int, int, int]:
        """Returns the samples, ids and repeated ids since the last reset."""
        samples, named, repeated = ops.convert_to_numpy(self.counted)
        return int(samples), int(named), int(repeated)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class LossState(keras.layers.Layer):
    """Makes what a loss remembers part of the model.

    A pass-through layer for projections: its output is its input. It owns a
    step counter, the temperature that a callback may drive, and the state
    layers of its loss (TASE's prototypes, say). So they are seen by the
    compiled step on every backend, saved with the model, and logged.

    `ContrastiveModel` has one already. A plain `keras.Model` needs one line:

        loss = lt.losses.TASELoss()
        outputs = lt.layers.LossState(loss)(projections)
        model = keras.Model(inputs, outputs)
        model.compile("sgd", loss=loss)

    Args:
        loss: The loss that the model is compiled with. Defaults to `None`:
            given later by `attach`, as `ContrastiveModel.compile` does.
        steps_per_epoch: Training steps in an epoch, integer >= 1. Only a loss
            with a schedule needs it, and only outside `ContrastiveModel`,
            whose `fit` finds out. Defaults to `None`.

    Input shape:
        Projections, `(batch, 2, dim)`.

    Output shape:
        The same.

    Raises:
        ValueError: If `loss` is not one of this package's losses, or belongs
            to another model's state, or `steps_per_epoch` is not >= 1.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> loss = lt.losses.NTXentLoss()
    >>> inputs = keras.Input((2, 8))
    >>> outputs = lt.layers.LossState(loss)(keras.layers.Dense(4)(inputs))
    >>> model = keras.Model(inputs, outputs)
    >>> model.compile("sgd", loss=loss)
    >>> x = np.random.default_rng(0).normal(size=(16, 2, 8)).astype("float32")
    >>> history = model.fit(x, np.arange(16), verbose=0).history
    >>> sorted(history)
    ['loss', 'temperature']
    """

    def __init__(
        self,
        loss: StatefulLoss | None = None,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Projections reach the loss in float32 under every precision policy.
        # `call` casts, for Keras would make float32 of float64 as well.
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        # Built by hand and thereby never locked: `attach` adds layers later.
        self.built = True
        self.step = self._counter("step")
        self._steps_per_epoch = self._counter("steps_per_epoch")
        self._earlier_epochs = self._number("earlier_epochs", 0.0)
        self.temperature = self._number("temperature", 1.0)
        self._first_step = self._counter("first_step")
        self.parts: dict[str, keras.layers.Layer] = {}
        self._means: dict[str, _Means] = {}
        self.loss: StatefulLoss | None = None
        self.key = uuid.uuid4().hex
        self._dim: int | None = None
        self.is_training: bool | None = None
        self.knows_epochs = False
        self.watches_data = False
        self._is_called = False
        self._is_of_shapes = False
        self._graph: weakref.ref[Any] | None = None
        self._queue: weakref.ref[KeyQueue] | None = None
        self._given_steps_per_epoch = steps_per_epoch
        if steps_per_epoch is not None:
            self.set_steps_per_epoch(steps_per_epoch)
        if loss is not None:
            self.attach(loss)

    def _counter(self, name: str) -> Any:
        return self.add_weight(
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name=name,
        )

    def _number(self, name: str, value: float) -> Any:
        return self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            # A model in mixed precision may read it in its forward pass.
            autocast=False,
            name=name,
        )

    def attach(self, loss: StatefulLoss) -> None:
        """Takes over what `loss` remembers, in place of any earlier loss."""
        if not isinstance(loss, StatefulLoss):
            raise ValueError(
                "`loss` must be a loss of keras_ltssl. "
                f"Received: loss={loss!r} of type {type(loss).__name__}"
            )
        if loss.get_state() is self:
            return
        if loss.get_state() is not None:
            raise ValueError(
                "This loss already belongs to another model, whose state it "
                "reads. Give each model a loss of its own: `loss.copy()`. "
                f"Received: loss={loss.name}"
            )
        self.loss = loss
        self.parts.clear()
        self.parts.update(loss.state_layers())
        # Keras forgets what a dictionary no longer holds, not an attribute.
        self._means.clear()
        self._means["of_the_loss"] = _Means(loss.metric_names)
        self.is_training = None
        self._is_called = False
        for counter in (self.step, self._first_step, self._earlier_epochs):
            counter.assign(0)
        if isinstance(loss.temperature, float):
            self.temperature.assign(loss.temperature)
        loss.bind(self)
        if self._dim is not None:
            self._build_parts(self._dim)

    def _build_parts(self, dim: int) -> None:
        for part in self.parts.values():
            if not part.built:
                part.build((None, dim))

    def call(
        self,
        z: Tensor,
        training: bool | None = None,
        queue: KeyQueue | None = None,
    ) -> Tensor:
        if len(z.shape) != 3:
            raise ValueError(
                "LossState expects projections of shape (batch, 2, dim). "
                f"Received: shape={tuple(z.shape)}"
            )
        self._dim = int(z.shape[-1])
        self._build_parts(self._dim)
        # The loss runs next, in the same step, and has no `training` argument.
        self.is_training = bool(training)
        self._is_called = True
        self._is_of_shapes = infers_shapes()
        graph = traced_function(z)
        self._graph = None if graph is None else weakref.ref(graph)
        # Weak: the queue belongs to the model, and is no part of this layer.
        self._queue = None if queue is None else weakref.ref(queue)
        if keras.backend.standardize_dtype(z.dtype) == "float64":
            return z
        return ops.cast(z, "float32")

    def take_call(self, z: Tensor) -> bool:
        """Returns whether projections have just passed through, and forgets.

        Each call of this layer serves one call of the loss. Calls by which
        Keras learns shapes, as when a model is made, do not count in a step,
        nor do, on TensorFlow, those from outside of the step that is traced.

        Args:
            z: The projections that the loss was given.
        """
        if infers_shapes():
            return self._is_called
        is_called = self._is_called and not self._is_of_shapes
        self._is_called = False
        if not is_called or replicas.infers_shapes():
            return is_called
        if self._graph is None:
            return traced_function(z) is None
        graph = self._graph()
        return graph is not None and graph is traced_function(z)

    def observe(self, ids: Tensor | None, samples: int | Tensor) -> None:
        """Counts samples, ids and repeated ids while `watches_data` is set.

        Args:
            ids: Sample ids of the step, `(batch,)`, or `None`.
            samples: How many samples the step has.
        """
        if not self.watches_data:
            return
        named = repeated = ops.zeros((), "int32")
        if ids is not None:
            ordered = ops.sort(ids)
            is_same = ops.logical_and(
                ordered[1:] == ordered[:-1], ordered[1:] >= 0
            )
            named = ops.sum(ops.cast(ids >= 0, "int32"))
            repeated = ops.sum(ops.cast(is_same, "int32"))
        self._means["of_the_loss"].count(samples, named, repeated)

    def counts(self) -> tuple[int, int, int]:
        """Returns how many samples, ids and repeated ids `observe` has seen."""
        return self._means["of_the_loss"].counts()

    def get_queue(self) -> KeyQueue | None:
        """Returns the keys that this step is compared with, if not its own."""
        return None if self._queue is None else self._queue()

    @property
    def epoch(self) -> Tensor:
        """Epochs trained so far as a float32 scalar, fractions included."""
        steps = ops.maximum(ops.convert_to_tensor(self._steps_per_epoch), 1)
        since = ops.convert_to_tensor(self.step) - ops.convert_to_tensor(
            self._first_step
        )
        return ops.convert_to_tensor(self._earlier_epochs) + (
            ops.cast(since, "float32") / ops.cast(steps, "float32")
        )

    def advance(self, after: Tensor | None = None) -> None:
        """Counts one training step.

        Args:
            after: The losses of the step, `(batch,)`: without them, none is
                counted. Defaults to `None`: at once.
        """
        self.step.assign(ops.convert_to_tensor(self.step) + _one_after(after))

    def log(self, name: str, value: float | Tensor) -> None:
        """Has the mean of `value`, a scalar, over all steps logged as `name`.

        It counts when the loss of the step is complete: see `write_log`.
        """
        self._means["of_the_loss"].log(name, value)

    def write_log(self, after: Tensor | None = None) -> None:
        """Adds what this step has logged to the means.

        Args:
            after: As for `advance`.
        """
        self._means["of_the_loss"].update_state(after)

    def set_steps_per_epoch(self, steps: int) -> None:
        """Sets how many steps an epoch has from now on.

        Epochs trained so far keep their count when the number changes.
        """
        steps = check_integer("steps_per_epoch", steps, minimum=1)
        before = int(ops.convert_to_numpy(self._steps_per_epoch))
        if before not in (0, steps):
            self.set_epoch(float(ops.convert_to_numpy(self.epoch)))
        self._steps_per_epoch.assign(steps)
        self.knows_epochs = True

    def set_epoch(self, epoch: float) -> None:
        """Sets the epoch that training is in; schedules go on from there.

        `ContrastiveModel.fit` does this when an epoch begins, so that a
        schedule in the loss follows Keras' epoch. A plain `keras.Model` counts
        its steps instead: call this before `fit(initial_epoch=epoch)`.

        Args:
            epoch: Epochs trained so far, a number >= 0.
        """
        check_number("epoch", epoch, minimum=0)
        if float(ops.convert_to_numpy(self.epoch)) != epoch:
            self._earlier_epochs.assign(float(epoch))
            # A copy: JAX gives the array of each variable away in a step.
            self._first_step.assign(ops.copy(ops.convert_to_tensor(self.step)))

    def check_ids_seen(self) -> None:
        """Raises if an id was too large for a memory."""
        for name, part in self.parts.items():
            if isinstance(part, SampleMemory) and part.built:
                unknown = int(ops.convert_to_numpy(part.unknown_ids))
                if unknown:
                    raise ValueError(
                        "Sample ids must be below `num_samples` of the loss. "
                        f"Received: num_samples={part.num_samples}, and "
                        f"{unknown} ids beyond it, left out of {name}"
                    )

    def load_own_variables(self, store: Any) -> None:
        """Restores the counters and the temperature."""
        own = self._non_trainable_variables
        if len(store.keys()) == len(own) - 1:
            # Saved before there was a first step, which was always 0.
            for index, variable in enumerate(own[:-1]):
                variable.assign(store[str(index)])
            self._first_step.assign(0)
        else:
            super().load_own_variables(store)
        steps = int(ops.convert_to_numpy(self._steps_per_epoch))
        self.knows_epochs = steps > 0

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments and the loss's config."""
        loss = None
        if self.loss is not None:
            loss = keras.saving.serialize_keras_object(self.loss)
            # The state of this loss is the one that is made with it.
            loss.pop("build_config", None)
        return {
            **super().get_config(),
            "loss": loss,
            "steps_per_epoch": self._given_steps_per_epoch,
            "key": self.key,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LossState":
        """Builds the layer and the loss that it holds."""
        config = dict(config)
        key = config.pop("key")
        loss = config.pop("loss")
        if loss is not None:
            loss = keras.saving.deserialize_keras_object(loss)
        state = cls(loss=loss, **config)
        _waiting[key] = state
        return state

    @staticmethod
    def rejoin(loss: StatefulLoss, key: str) -> None:
        """Gives a restored loss the state that was restored as `key`, if any.

        Args:
            loss: A loss without a state, of the configuration of the state's.
            key: The `key` of the state that the loss was saved with.
        """
        state = _waiting.pop(key, None)
        if state is not None:
            state.loss = loss
            loss.bind(state)
