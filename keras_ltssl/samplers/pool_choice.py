"""Base class of the choices from a pool."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Choice = TypeVar("_Choice", bound="PoolChoice")


@dataclasses.dataclass(frozen=True, eq=False)
class PoolChoice:
    """Base class of the choices that samplers make; its fields are arrays.

    Args:
        indices: `int64` array of shape `(budget,)`: chosen rows of the pool.
    """

    indices: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The choice as plain arrays, such as `numpy.savez` takes."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_arrays(
        cls: type[_Choice], arrays: Mapping[str, ArrayLike]
    ) -> _Choice:
        """Returns the choice whose `to_arrays` gave these arrays.

        Args:
            arrays: What `to_arrays` returned, or a file that `numpy.load`
                opened.

        Returns:
            An equal choice.

        Raises:
            ValueError: If an array is missing, of no use, or does not fit.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if sorted(arrays) != sorted(names):
            raise ValueError(
                f"`arrays` must have the keys {names}. Received: "
                f"{sorted(arrays)}"
            )
        return cls(**{name: np.asarray(arrays[name]) for name in names})
