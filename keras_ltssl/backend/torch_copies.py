"""Passes PyTorch modules from layers to their copies.

Import this module only on the PyTorch backend.
"""

import contextlib
import copy
from collections.abc import Iterator

import torch

# Modules that layers which are being copied lend to their copies.
_lent: dict[str, torch.nn.Module] | None = None


@contextlib.contextmanager
def lending() -> Iterator[None]:
    """Lets `lend` and `borrowed` pass modules through configs."""
    global _lent
    before, _lent = _lent, {}
    try:
        yield
    finally:
        _lent = before


def lend(module: torch.nn.Module) -> str | None:
    """Returns a key for `borrowed`, or `None` if nothing is being copied."""
    if _lent is None:
        return None
    key = f"lent {len(_lent)}"
    _lent[key] = module
    return key


def borrowed(key: str) -> torch.nn.Module | None:
    """Returns a copy of the module with this key, or `None`.

    Raises:
        ValueError: If the module cannot be copied.
    """
    if _lent is None or key not in _lent:
        return None
    try:
        return copy.deepcopy(_lent[key])
    except Exception as error:
        raise ValueError(
            "A momentum network is a copy of the encoder, and this `module` "
            f"cannot be copied by `copy.deepcopy`: {error}"
        ) from error
