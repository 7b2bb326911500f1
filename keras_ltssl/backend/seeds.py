"""Seed generators of layers that draw random numbers in a training step."""

from typing import Any

import keras

from keras_ltssl.backend.compilation import is_stateless


def seed_generator(seed: int | None) -> keras.random.SeedGenerator:
    """Returns a seed generator that does not make a step wait for the device.

    It draws the numbers that `keras.random.SeedGenerator` draws, and has its
    state, under the same name.

    Args:
        seed: Integer, or `None` for a seed that is drawn.
    """
    if keras.backend.backend() == "torch":
        return SeedGenerator(seed)
    return keras.random.SeedGenerator(seed)


class SeedGenerator(keras.random.SeedGenerator):
    """Knows its state on the host, on PyTorch.

    PyTorch seeds a generator with a number of the host, so Keras reads the
    state from the device for each draw and waits for all that was begun before.
    The variable of the state is kept up to date, and read again only after
    something else has changed it, such as a checkpoint.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self._known: tuple[Any, int, tuple[int, int]] | None = None

    def next(self, ordered: bool = True) -> Any:
        """Returns the seed and the number of the draw, two integers.

        Args:
            ordered: Whether draws are numbered one after the other.
        """
        if not ordered or is_stateless():
            return super().next(ordered)
        state: Any = self.state.value
        known = self._known
        # PyTorch counts the writes to a tensor.
        is_known = (
            known is not None
            and known[0] is state
            and known[1] == state._version
        )
        seed, draw = known[2] if known and is_known else state.tolist()
        state.detach()[1].add_(1)
        self._known = (state, state._version, (seed, draw + 1))
        return seed, draw
