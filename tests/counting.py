"""How many kernels PyTorch starts, counted one by one; only on PyTorch.

The count is the same on a processor and on a GPU, where it sets the time of a
step with small batches.
"""

import collections

import pytest

# Pytest reads this file for examples, also where there is no PyTorch.
torch = pytest.importorskip("torch")
TorchDispatchMode = torch.utils._python_dispatch.TorchDispatchMode


class Counting(TorchDispatchMode):
    """Counts operations.

    Attributes:
        by_name: How often each of them happened, a `Counter`.
    """

    def __init__(self):
        super().__init__()
        self.by_name = collections.Counter()

    @property
    def count(self):
        return self.by_name.total()


class Kernels(Counting):
    """Counts the operations that compute: no views, no new memory."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        returns = func._schema.returns
        is_view = any(
            r.alias_info and not r.alias_info.is_write for r in returns
        )
        # The last is a view, too, that does not say so.
        starts_none = ("empty", "_unsafe_view")
        if not (is_view or func.__name__.startswith(starts_none)):
            self.by_name[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def count_kernels(function):
    """Returns how many kernels one call starts, backward passes included."""
    with Kernels() as kernels:
        function()
    return kernels.count


class RoundTrips(Counting):
    """Counts what would make PyTorch wait for a GPU, also on a processor.

    These are numbers read to the host, tensors made of numbers or arrays of the
    host, and tensors that become arrays.
    """

    _OPERATIONS = ("_local_scalar_dense", "lift_fresh", "nonzero")
    _METHODS = ("cpu", "numpy", "tolist", "__array__")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.partition(".")[0]
        if name in self._OPERATIONS:
            self.by_name[name] += 1
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self._methods = {
            name: getattr(torch.Tensor, name) for name in self._METHODS
        }
        for name in self._METHODS:
            setattr(torch.Tensor, name, self._counted(name))
        return super().__enter__()

    def __exit__(self, *raised):
        for name, method in self._methods.items():
            setattr(torch.Tensor, name, method)
        return super().__exit__(*raised)

    def _counted(self, name):
        method = self._methods[name]

        def counted(tensor, *args, **kwargs):
            self.by_name[name] += 1
            return method(tensor, *args, **kwargs)

        return counted
