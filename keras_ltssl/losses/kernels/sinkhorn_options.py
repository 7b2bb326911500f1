"""How far and how finely `sinkhorn` scales scores."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_ltssl.validation import check_integer, check_number


@dataclasses.dataclass(frozen=True)
class SinkhornOptions:
    """Holds the arguments of `sinkhorn` that are not data.

    Args:
        regularization: ε > 0, in the unit of the scores; the smaller, the
            closer labels come to 0 and 1. Defaults to `0.05`.
        iterations: Integer >= 1. Defaults to `300`.
        tolerance: Largest change of a label for which iterations may be left
            out, > 0. Defaults to `None`: all iterations are done.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import keras_ltssl as lt
    >>> loss = lt.losses.GeometricHarmonizationLoss(
    ...     lt.losses.NTXentLoss(),
    ...     sinkhorn=lt.losses.SinkhornOptions(tolerance=1e-5),
    ... )
    >>> loss.sinkhorn
    SinkhornOptions(regularization=0.05, iterations=300, tolerance=1e-05)
    """

    regularization: float = 0.05
    iterations: int = 300
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_number("regularization", self.regularization, above=0)
        check_integer("iterations", self.iterations, minimum=1)
        if self.tolerance is not None:
            check_number("tolerance", self.tolerance, above=0)


def as_sinkhorn_options(
    sinkhorn: SinkhornOptions | Mapping[str, Any] | None,
) -> SinkhornOptions:
    """Returns the options that an argument `sinkhorn` stands for.

    Args:
        sinkhorn: Options, their arguments by name, or `None` for the defaults.

    Raises:
        ValueError: If it is none of these, or an argument is out of range.
    """
    if sinkhorn is None:
        return SinkhornOptions()
    if isinstance(sinkhorn, SinkhornOptions):
        return sinkhorn
    names = {field.name for field in dataclasses.fields(SinkhornOptions)}
    if not isinstance(sinkhorn, Mapping) or not names.issuperset(sinkhorn):
        raise ValueError(
            "`sinkhorn` must be SinkhornOptions or a dictionary of "
            f"{', '.join(sorted(names))}. Received: sinkhorn={sinkhorn!r}"
        )
    return SinkhornOptions(**sinkhorn)
