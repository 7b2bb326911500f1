"""What a loss remembers, kept where a compiled step can see it."""

import uuid
import weakref
from collections.abc import Mapping
from typing import Any, TypeVar

import keras
from keras import ops

from keras_ltssl.backend.compilation import (
    infers_shapes,
    is_untracked,
    one_after,
    traced_function,
)
from keras_ltssl.backend.in_place_operations import add_to
from keras_ltssl.state.call import Call
from keras_ltssl.state.key_queue import KeyQueue
from keras_ltssl.state.learning_means import (
    LEARNING_SIGNS,
    LearningMeans,
    look_at,
)
from keras_ltssl.state.means import _Means
from keras_ltssl.state.progress import Progress
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.state.stateful_loss import StatefulLoss
from keras_ltssl.types import Tensor

_Kind = TypeVar("_Kind", bound=keras.layers.Layer)

# Keras restores the layers of a model first and its loss later, without telling
# either of the other. A restored state waits here, by its key, for its loss.
_waiting: "weakref.WeakValueDictionary[str, LossState]" = (
    weakref.WeakValueDictionary()
)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class LossState(Progress):
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
        kwargs = {"dtype": "float32", "autocast": False, **kwargs}
        super().__init__(steps_per_epoch, **kwargs)
        # Built by hand and thereby never locked: `attach` adds layers later.
        self.built = True
        # Saved files hold the layers and the means under these two names.
        self.parts: dict[str, keras.layers.Layer] = {}
        self._means: dict[str, _Means] = {}
        self.loss: StatefulLoss | None = None
        self.key = uuid.uuid4().hex
        self.watches_data = False
        self._width: int | None = None
        self._call: Call | None = None
        self._views: Tensor | None = None
        if loss is not None:
            self.attach(loss)

    def attach(self, loss: StatefulLoss) -> None:
        """Takes over what `loss` remembers, in place of any earlier loss.

        Args:
            loss: A loss of this package without a state.

        Raises:
            ValueError: If it is no such loss, or has the state of another
                model.
        """
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
        self._call = None
        self.restart()
        temperature = getattr(loss, "temperature", None)
        if isinstance(temperature, float):
            self.temperature.assign(temperature)
        loss.bind(self)
        if self._width is not None:
            self._build_parts(self._width)

    def monitor_learning(self, is_on: bool) -> None:
        """Turns on or off that the signs of learning are logged.

        Args:
            is_on: Whether they are.

        Raises:
            ValueError: If the loss logs one of their names.
        """
        shared = sorted({*LEARNING_SIGNS} & {*self._metric.names})
        if is_on and shared:
            raise ValueError(
                "`metric_names` of a loss must not hold what the model logs "
                "itself. Rename it, or pass `monitor_learning=False` to "
                f"`compile`. Received: {', '.join(shared)}"
            )
        if not is_on:
            self._means.pop("of_learning", None)
        elif self.learning is None:
            self._means["of_learning"] = LearningMeans()

    @property
    def learning(self) -> LearningMeans | None:
        """The means of the signs of learning, where they are logged."""
        means = self._means.get("of_learning")
        return means if isinstance(means, LearningMeans) else None

    def look_at(self, views: Tensor) -> None:
        """Keeps for the loss, which runs next, what the views look like.

        Args:
            views: `(batch, 2, ...)`.
        """
        if self.learning is not None and self.watches_data:
            self._views = look_at(views)

    def _build_parts(self, width: int) -> None:
        for part in self.parts.values():
            if not part.built:
                part.build((None, width))

    def layer(self, name: str, kind: type[_Kind]) -> _Kind:
        """Returns a layer that holds what the loss remembers.

        Args:
            name: Its name in `state_layers()` of the loss.
            kind: Its class.

        Raises:
            ValueError: If there is no such layer.
        """
        layer = self.parts.get(name)
        if not isinstance(layer, kind):
            raise ValueError(
                f"`state_layers()` of {type(self.loss).__name__} must name a "
                f"{kind.__name__}. Received: name={name!r}, layers="
                f"{self.parts}"
            )
        return layer

    def find_layer(self, kind: type[_Kind]) -> _Kind | None:
        """Returns the first layer of a class, or `None` without one.

        Args:
            kind: The class.
        """
        for layer in self.parts.values():
            if isinstance(layer, kind):
                return layer
        return None

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
        self._width = int(z.shape[-1])
        self._build_parts(self._width)
        graph = traced_function(z)
        # The loss runs next, in the same step, and takes this.
        self._call = Call(
            training=bool(training),
            queue=queue,
            is_of_shapes=infers_shapes(),
            graph=None if graph is None else weakref.ref(graph),
            views=self._views,
        )
        self._views = None
        if keras.backend.standardize_dtype(z.dtype) == "float64":
            return z
        return ops.cast(z, "float32")

    def take_call(self, z: Tensor) -> Call:
        """Returns the call by which projections have passed through.

        Each call of this layer serves one call of the loss.

        Args:
            z: The projections that the loss was given.

        Raises:
            ValueError: If the projections have not passed through this layer,
                or the model does not own it, so that its values would stay
                frozen.
        """
        call = self._call
        if infers_shapes():
            # Keras may call the loss once more.
            is_served = call is not None
        else:
            self._call = None
            is_served = call is not None and call.serves(z)
        if (
            call is None
            or not is_served
            or (call.training and is_untracked(self.step))
        ):
            raise ValueError(
                f"The LossState of this {type(self.loss).__name__} is not part "
                "of the model that "
                "is trained, so its values would stay frozen. Pass the "
                "model's projections through it: "
                "`outputs = keras_ltssl.layers.LossState(loss)(outputs)`, and "
                "compile with the same loss. A copy of a model, as by "
                "`keras.models.clone_model`, has a state and a loss of its "
                "own: compile it with "
                f"`copy.get_layer({self.name!r}).loss`."
            )
        return call

    @property
    def _metric(self) -> _Means:
        return self._means["of_the_loss"]

    def check_logged(self, name: str) -> None:
        """Raises if the loss does not list a name that it logs.

        Args:
            name: Name of a scalar.
        """
        if name not in self._metric.names:
            raise ValueError(
                "A loss can only log what it lists in `metric_names`. "
                f"Received: name={name}, metric_names={self._metric.names}"
            )

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
        self._metric.count(samples, named, repeated)

    def counts(self) -> tuple[int, int, int]:
        """Returns how many samples, ids and repeated ids `observe` has seen."""
        return self._metric.counts()

    def finish(
        self,
        call: Call,
        losses: Tensor,
        logged: Mapping[str, float | Tensor],
        keys: Tensor | None = None,
        is_ood: Tensor | None = None,
        signs: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Moves on what changes at the end of a step.

        A training step puts its keys into the queue and is counted. What the
        loss has logged is added to the means in any case.

        Args:
            call: What `take_call` returned.
            losses: The losses of the step, `(batch,)`.
            logged: The scalars that the loss logs, by name.
            keys: Unit vectors for the queue, `(batch, dim)`. Defaults to
                `None`: the queue stays as it is.
            is_ood: Whether each key is out of distribution, `(batch,)`.
                Defaults to `None`, none of them.
            signs: The signs of learning, by name. Defaults to `None`, none.
        """
        if self.learning is not None and signs is not None:
            self.learning.update_state(signs, losses)
            if call.views is not None:
                self.learning.count_views(call.views, losses)
        if call.training:
            if call.queue is not None and keys is not None:
                if is_ood is None:
                    is_ood = ops.zeros_like(keys[:, 0]) > 0
                call.queue.enqueue(keys, is_ood)
            add_to(self.step, one_after(losses))
        self._metric.update_state(logged, losses)

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
