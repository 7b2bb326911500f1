"""What a `LossState` asks of its loss."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

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
    def metric_names(self) -> tuple[str, ...]:
        """Names of the values that the loss logs."""

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        """Returns new layers for what the loss remembers, by name."""

    def get_state(self) -> "LossState | None":
        """Returns the state that the loss belongs to."""

    def bind(self, state: "LossState") -> None:
        """Makes the loss belong to a state."""

    def check_largest_id(self, largest: int) -> None:
        """Raises if a memory has no place for this sample id."""
