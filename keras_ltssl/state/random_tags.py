"""Random tags that divide a batch, drawn anew in each step."""

from typing import Any

import keras

from keras_ltssl.backend import replicas
from keras_ltssl.backend.seeds import seed_generator
from keras_ltssl.types import Tensor
from keras_ltssl.validation import LARGEST_KERAS_SEED, check_integer


@keras.saving.register_keras_serializable(package="keras_ltssl")
class RandomTags(keras.layers.Layer):
    """Draws one of several tags for each sample of a batch.

    The state of its random numbers is saved with the model, so that a resumed
    training draws the same tags. All replicas draw the same.

    Args:
        num_tags: How many tags there are, integer >= 1.
        seed: Integer >= 0. Defaults to `0`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> tags = ops.convert_to_numpy(lt.layers.RandomTags(3, seed=0).draw(100))
    >>> tags.shape, sorted(set(tags.tolist()))
    ((100,), [0, 1, 2])
    """

    def __init__(self, num_tags: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_tags = check_integer("num_tags", num_tags, minimum=1)
        self.seed = check_integer("seed", seed, 0, LARGEST_KERAS_SEED)
        self.seed_generator = seed_generator(self.seed)

    def draw(self, batch: int | Tensor) -> Tensor:
        """Returns the tags of the samples of a batch.

        Args:
            batch: How many samples there are, those of all replicas.

        Returns:
            int32 in 0 to `num_tags - 1`, `(batch,)`.
        """
        tags = keras.random.randint(
            (batch,), 0, self.num_tags, seed=self.seed_generator
        )
        # Processes have other random numbers: all take those of the first.
        return replicas.part_of(tags).gather(tags)[:batch]

    def save_own_variables(self, store: Any) -> None:
        """Saves the state of the random numbers.

        Args:
            store: Dictionary to write to.
        """
        store["0"] = self.seed_generator.state

    def load_own_variables(self, store: Any) -> None:
        """Restores the state of the random numbers.

        Args:
            store: Dictionary that `save_own_variables` filled.
        """
        self.seed_generator.state.assign(store["0"])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "num_tags": self.num_tags,
            "seed": self.seed,
        }
