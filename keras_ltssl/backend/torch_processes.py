"""The functions of `replicas` for processes of `torch.distributed`.

Import this module only on the PyTorch backend.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as processes


def _sizes(rows: int, device: torch.device) -> list[int]:
    """Returns the number of rows of each process."""
    own = torch.tensor([rows], device=device)
    sizes = [torch.empty_like(own) for _ in range(processes.get_world_size())]
    processes.all_gather(sizes, own)
    return [int(size) for size in sizes]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: torch.Tensor) -> torch.Tensor:
        sizes = _sizes(len(rows), rows.device)
        rank = processes.get_rank()
        context.start, context.rows = sum(sizes[:rank]), len(rows)
        # `all_gather` needs tensors of one size.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        processes.all_gather(parts, padded)
        parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> torch.Tensor:
        total = upstream[0].contiguous()
        processes.all_reduce(total)
        return total[context.start : context.start + context.rows]


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Returns the rows of all processes, in order; see `replicas.gather`."""
    return _Gather.apply(rows)  # type: ignore[no-any-return, no-untyped-call]


def first_row(rows: torch.Tensor) -> int:
    """Returns the index of this process' first row among those of all."""
    return sum(_sizes(len(rows), rows.device)[: processes.get_rank()])


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
