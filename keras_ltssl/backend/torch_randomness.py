"""Random numbers of PyTorch modules that a checkpoint can hold.

Import this module only on the PyTorch backend.
"""

from typing import Any

import numpy as np
import torch

from keras_ltssl.backend import processes


class Randomness:
    """Random numbers of the module that depend on a seed and a counter.

    Modules draw from the generators of PyTorch, which others use, too. With
    numbers of its own, a training that was interrupted goes on as it would
    have. The state is on the host, so reading it does not wait for the device.
    """

    def __init__(self) -> None:
        # Follows `torch.manual_seed` and `keras.utils.set_random_seed`.
        self._seed = int(torch.randint(2**31, ()))
        self._calls = 0

    @property
    def state(self) -> np.ndarray[Any, Any]:
        return np.array([self._seed, self._calls], "int64")

    @state.setter
    def state(self, state: np.ndarray[Any, Any]) -> None:
        self._seed, self._calls = (int(number) for number in state)

    def seed_next(self, device: torch.device) -> None:
        """Seeds the generators of PyTorch for the next call."""
        entropy = [self._seed, self._calls, processes.process()[0]]
        self._calls += 1
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        torch.default_generator.manual_seed(seed)
        if device.type != "cpu":
            getattr(torch, device.type).manual_seed(seed)


def forked_random_numbers(device: torch.device) -> Any:
    """Returns a context after which generators are as they were before."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng([device.index or 0], device_type=device.type)
