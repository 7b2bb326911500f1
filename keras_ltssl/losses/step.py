"""One step of a loss: its batch, and what the step knows beside the batch."""

from typing import TypeVar

import keras

from keras_ltssl.backend.replicas import WHOLE, Part
from keras_ltssl.losses.contrast import BatchContrast, Contrast
from keras_ltssl.losses.kernels.queue import QueueContrast
from keras_ltssl.losses.kernels.unit_views import unit_views
from keras_ltssl.state.call import Call
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.types import Tensor

_Kind = TypeVar("_Kind", bound=keras.layers.Layer)


class Step:
    """What `per_sample` of a loss is given.

    A loss that wraps another one hands the same step on to it.

    Args:
        ids: Sample ids, integers `(batch,)`, or `None`.
        z: Projections, `(batch, 2, dim)`, float32 or float64. With several
            replicas, those of all of them.
        temperature: τ of this step, a number or a scalar tensor; `None` for a
            loss without a temperature. Defaults to `None`.
        state: The state of the loss, if it has one. Defaults to `None`.
        call: The forward pass that `z` comes from. Defaults to `None`.
        part: The samples whose contrast this replica computes, among those of
            all replicas. Defaults to all of them.
    """

    def __init__(
        self,
        ids: Tensor | None,
        z: Tensor,
        temperature: float | Tensor | None = None,
        state: LossState | None = None,
        call: Call | None = None,
        part: Part = WHOLE,
    ) -> None:
        self.part = part
        self.ids: Tensor = ids
        self.z: Tensor = z
        self.temperature: Tensor = temperature
        self.training = call is not None and call.training
        self.queue = None if call is None else call.queue
        self.logged: dict[str, float | Tensor] = {}
        self._state = state
        self._units: Tensor | None = None
        self._contrasts: list[tuple[Tensor, int | None, Contrast]] = []

    @property
    def has_state(self) -> bool:
        """Whether the loss has a state, so that what it logs is shown."""
        return self._state is not None

    @property
    def state(self) -> LossState:
        """The state of the loss.

        Raises:
            ValueError: If it has none.
        """
        if self._state is None:
            raise ValueError(
                "This loss keeps what it remembers only as a part of a model. "
                "Compile a model with it first, and have its `requirements` "
                "ask for a state."
            )
        return self._state

    def layer(self, name: str, kind: type[_Kind]) -> _Kind:
        """Returns a layer that holds what the loss remembers.

        Args:
            name: Its name in `state_layers()` of the loss.
            kind: Its class.
        """
        return self.state.layer(name, kind)

    def log(self, **values: float | Tensor) -> None:
        """Adds scalars to the means that training logs; without a state, none.

        Args:
            **values: Scalars by names that are in the loss's `metric_names`.

        Raises:
            ValueError: If a name is not.
        """
        if self._state is None:
            return
        for name, value in values.items():
            self._state.check_logged(name)
            self.logged[name] = value

    @property
    def units(self) -> Tensor:
        """What `unit_views` returns for `z`, computed once a step.

        All terms of a loss send their gradient here, and it is taken through
        the normalization once.
        """
        if self._units is None:
            self._units = unit_views(self.z)
        return self._units

    def contrast(
        self, temperature: float | Tensor, chunk_size: int | None = None
    ) -> Contrast:
        """Returns the NT-Xent losses of anchors, and what they come from.

        Anchors are compared with the rest of the batch or, where the model
        keeps a queue of keys, with that. Losses that ask for the same are given
        the same, computed once. Each replica compares the anchors of its own
        samples and is given the losses of all.

        Args:
            temperature: τ, a scalar or `(batch,)`.
            chunk_size: Anchors held at a time. Defaults to `None`, all.
        """
        for tau, size, contrast in self._contrasts:
            if tau is temperature and size == chunk_size:
                return contrast
        made: Contrast
        if self.queue is None:
            made = BatchContrast(self.units, temperature, chunk_size, self.part)
        else:
            made = QueueContrast(
                self.z, self.queue, temperature, chunk_size, self.part
            )
        self._contrasts.append((temperature, chunk_size, made))
        return made
