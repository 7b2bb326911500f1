"""Type aliases for annotations."""

from typing import Any, TypeAlias

# Keras has no class that the tensors of all backends share.
Tensor: TypeAlias = Any
