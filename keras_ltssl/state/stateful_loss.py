"""What a `LossState` asks of its loss."""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import keras

if TYPE_CHECKING:
    from keras_ltssl.state.loss_state import LossState


@runtime_checkable
class StatefulLoss(Protocol):
    """A loss that keeps what it remembers in a `LossState`.

    `ContrastiveLoss` implements it. The protocol lets this folder know what it
    needs of a loss without importing one.
    """

    name: str

    @property
    def temperature(self) -> Any:
        """τ, a float or a schedule."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the values that the loss logs."""

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        """Returns new layers for what the loss remembers, by name."""

    def get_state(self) -> "LossState | None":
        """Returns the state that the loss is bound to."""

    def bind(self, state: "LossState") -> None:
        """Binds the loss to a state."""

    def check_largest_id(self, largest: int) -> None:
        """Raises if a memory has no place for this sample id."""
