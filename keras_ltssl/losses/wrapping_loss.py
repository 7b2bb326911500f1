"""Base class of the losses that add a term to another loss."""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import keras

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.types import Tensor

_Kind = TypeVar("_Kind", bound=ContrastiveLoss)


def find_loss(loss: Any, kind: type[_Kind]) -> _Kind | None:
    """Returns the loss of a class among a loss and those that it wraps.

    Args:
        loss: A loss, of any class.
        kind: The class to look for.

    Returns:
        The outermost such loss, or `None`.

    Example:

    >>> import keras_ltssl as lt
    >>> loss = lt.losses.COLTLoss(base_loss=lt.losses.TASELoss())
    >>> lt.losses.find_loss(loss, lt.losses.TASELoss) is loss.base_loss
    True
    """
    while loss is not None and not isinstance(loss, kind):
        loss = getattr(loss, "base_loss", None)
    return loss


class WrappingLoss(ContrastiveLoss):
    """Base class of a loss that adds a term to any loss of this package.

    Temperature, state and metrics of the inner loss stay what they are. A
    subclass adds its own layers in `own_layers()` and its own metrics in
    `own_metric_names()`, asks for what it needs in `requirements`
    (`super().requirements | Requirements(...)`), and calls
    `self.base_loss.per_sample(step)` in its `per_sample(step)`.

    Args:
        base_loss: A loss of this package. One that belongs to a model already
            is copied.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `None`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.
    """

    def __init__(
        self,
        base_loss: ContrastiveLoss,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if isinstance(base_loss, dict):
            base_loss = keras.saving.deserialize_keras_object(base_loss)
        if not isinstance(base_loss, ContrastiveLoss):
            raise ValueError(
                "`base_loss` must be a loss of keras_ltssl, such as "
                f"NTXentLoss(). Received: base_loss={base_loss!r}"
            )
        if base_loss.get_state() is not None:
            base_loss = base_loss.copy()
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.base_loss = base_loss
        if find_loss(base_loss, type(self)) is not None:
            raise ValueError(
                f"`base_loss` must not hold another {type(self).__name__}. "
                f"Received: base_loss={base_loss!r}"
            )

    @property
    def temperature(self) -> float | TemperatureSchedule:
        """τ of the inner loss, if that has one; setting it sets that one's."""
        if not self.base_loss.has_temperature:
            raise AttributeError(
                f"{type(self.base_loss).__name__} has no temperature."
            )
        inner: Any = self.base_loss
        return cast("float | TemperatureSchedule", inner.temperature)

    @temperature.setter
    def temperature(self, temperature: float | TemperatureSchedule) -> None:
        inner: Any = self.base_loss
        inner.temperature = temperature

    def current_temperature(self) -> float | Tensor | None:
        return self.base_loss.current_temperature()

    def own_layers(self) -> dict[str, keras.layers.Layer]:
        """Returns new layers for what this loss remembers, by name."""
        return {}

    def own_metric_names(self) -> tuple[str, ...]:
        """Returns what this loss logs beside what the inner one does."""
        return ()

    @property
    def metric_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base_loss.metric_names + self.own_metric_names()

    @property
    def has_temperature(self) -> bool:  # type: ignore[override]
        return self.base_loss.has_temperature

    @property
    def requirements(self) -> Requirements:
        return self.base_loss.requirements | super().requirements

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        inner, own = self.base_loss.state_layers(), self.own_layers()
        shared = sorted(inner.keys() & own.keys())
        if shared:
            raise ValueError(
                f"{type(self).__name__} and its `base_loss`, a "
                f"{type(self.base_loss).__name__}, must keep what they "
                f"remember under different names. Received: both use {shared}"
            )
        return {**inner, **own}

    def bind(self, state: LossState) -> None:
        super().bind(state)
        self.base_loss.bind(state)

    def check_largest_id(self, largest: int) -> None:
        super().check_largest_id(largest)
        self.base_loss.check_largest_id(largest)

    def check_augmenter(self, augmenter: keras.layers.Layer | None) -> None:
        self.base_loss.check_augmenter(augmenter)

    def check_training(
        self, callbacks: Sequence[keras.callbacks.Callback]
    ) -> None:
        super().check_training(callbacks)
        self.base_loss.check_training(callbacks)

    def get_config(self) -> dict[str, Any]:
        base = keras.saving.serialize_keras_object(self.base_loss)
        # The state belongs to the outermost loss, which finds it again.
        base.pop("build_config", None)
        return {**super().get_config(), "base_loss": base}
