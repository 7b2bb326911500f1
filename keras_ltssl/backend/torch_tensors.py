"""The tensors of a PyTorch module, and their places in it.

Import this module only on the PyTorch backend.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn.modules.conv import _ConvNd


class HeldModule:
    """A module and the places of its tensors that variables share."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.buffers: list[str] = []
        self._places: list[tuple[Mapping[str, Any], str, str, Any]] = []

    def add(
        self,
        owner: torch.nn.Module,
        key: str,
        name: str,
        tensor: torch.Tensor,
        is_buffer: bool,
    ) -> None:
        tensors = owner._buffers if is_buffer else owner._parameters
        self._places.append((tensors, key, name, tensor))
        if is_buffer:
            self.buffers.append(name)

    def take_back(self) -> None:
        """Puts tensors back that were replaced, with the new values.

        A module may assign a new tensor to a buffer, and `load_state_dict(...,
        assign=True)` replaces parameters.

        Raises:
            ValueError: If the shape of a tensor has changed.
        """
        for tensors, key, name, tensor in self._places:
            now = tensors.get(key)
            if now is tensor:
                continue
            if now is None or now.shape != tensor.shape:
                raise ValueError(
                    f"{name} of the module was replaced or removed after the "
                    "encoder was made. Change the module first, then call "
                    "`torch_encoder`."
                )
            with torch.no_grad():
                tensor.copy_(now)
            tensors[key] = tensor  # type: ignore[index]


def places(
    module: torch.nn.Module,
) -> Iterator[tuple[torch.nn.Module, str, str]]:
    """Yields each parameter and buffer once: its owner, its key, its name."""
    seen = set()
    for prefix, owner in module.named_modules():
        for tensors in (owner._parameters, owner._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield owner, key, f"{prefix}.{key}" if prefix else key


def kernels_of(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yields the kernels of convolutions, dense layers and attention."""
    attention = torch.nn.MultiheadAttention
    packed = ("in_proj_weight", "q_proj_weight", "k_proj_weight")
    for part in module.modules():
        names: tuple[str, ...] = ()
        if isinstance(part, (torch.nn.Linear, torch.nn.Bilinear, _ConvNd)):
            names = ("weight",)
        elif isinstance(part, attention):
            names = (*packed, "v_proj_weight")
        for name in names:
            kernel = part._parameters.get(name)
            if kernel is not None:
                yield kernel
