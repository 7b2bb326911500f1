"""What a loss needs of the training around it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Requirements:
    """What a loss needs of the training around it; `a | b` needs both.

    A loss declares it in its property `requirements`, and a loss that wraps
    another one adds what the other needs.

    Args:
        ids: Whether it must know which sample is which. Defaults to `False`.
        state: Whether it works only with a `LossState`. Defaults to `False`.
        epochs: Whether it must know how many steps an epoch has. Defaults to
            `False`.
        loops: Whether a step loops, over chunks or towards a solution, or
            draws random numbers. Such a loss is left out of what PyTorch
            compiles. Defaults to `False`.
        target_views: Whether projections hold the targets of two views after
            two predictions, `(batch, 4, dim)`, as `models.BYOL` makes them.
            Defaults to `False`.

    Example:

    >>> from keras_ltssl.losses import Requirements
    >>> both = Requirements(ids=True) | Requirements(state=True)
    >>> both.ids, both.state, both.epochs
    (True, True, False)
    """

    ids: bool = False
    state: bool = False
    epochs: bool = False
    loops: bool = False
    target_views: bool = False

    def __or__(self, other: "Requirements") -> "Requirements":
        return Requirements(
            self.ids or other.ids,
            self.state or other.state,
            self.epochs or other.epochs,
            self.loops or other.loops,
            self.target_views or other.target_views,
        )
