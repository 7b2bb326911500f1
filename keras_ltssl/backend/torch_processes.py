"""The functions of `replicas` and `processes` for `torch.distributed`.

Import this module only on the PyTorch backend.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as processes

from keras_ltssl.backend.replicas import Part


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, own: torch.Tensor, sizes: list[int]
    ) -> torch.Tensor:
        rank = processes.get_rank()
        context.first, context.size = sum(sizes[:rank]), len(own)
        # `all_gather` needs tensors of one size.
        padded = own.contiguous()
        if len(set(sizes)) > 1:
            padded = own.new_zeros((max(sizes), *own.shape[1:]))
            padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        processes.all_gather(parts, padded)
        parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
        return torch.cat(parts)

    @staticmethod
    def backward(
        context: Any, *upstream: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        total = upstream[0].clone(memory_format=torch.contiguous_format)
        processes.all_reduce(total)
        return total[context.first : context.first + context.size], None


class _PartOfProcess(Part):
    is_whole = False

    def __init__(self, own: torch.Tensor) -> None:
        size = torch.tensor([len(own)], device=own.device)
        sizes = [
            torch.empty_like(size) for _ in range(processes.get_world_size())
        ]
        processes.all_gather(sizes, size)
        # Read once a step, for the host waits for the device here.
        self._sizes = torch.cat(sizes).tolist()
        self.first = sum(self._sizes[: processes.get_rank()])
        self._end = self.first + len(own)

    def own(self, batch: torch.Tensor) -> torch.Tensor:
        return batch[self.first : self._end]

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        return _Gather.apply(own, self._sizes)  # type: ignore[no-any-return, no-untyped-call]

    def plus(self, batch: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        batch[self.first : self._end] += own
        return batch


def part_of(own: torch.Tensor) -> Part:
    """Returns the part of a batch that this process was given."""
    return _PartOfProcess(own)


def of_all(value: Any) -> list[Any]:
    """Returns the `value` of each process; it must be possible to pickle it."""
    values = [None] * processes.get_world_size()
    processes.all_gather_object(values, value)
    return values


def of_first(value: Any) -> Any:
    """Returns the `value` of the first process."""
    values = [value]
    processes.broadcast_object_list(values)
    return values[0]


def copy_from_first(tensors: Iterable[torch.Tensor]) -> None:
    """Copies the values of tensors from the first process."""
    for tensor in tensors:
        processes.broadcast(tensor.data, 0)


def average_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Registers hooks that average gradients over processes."""

    def average(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        processes.all_reduce(parameter.grad)
        parameter.grad /= processes.get_world_size()

    for parameter in parameters:
        if not getattr(parameter, "_averages_gradients", False):
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                average
            )
            parameter._averages_gradients = True  # type: ignore[attr-defined]
