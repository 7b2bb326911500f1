"""The one name that stands for a tensor of whichever backend runs."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
