"""The queue of earlier keys that momentum contrast compares with."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer


@keras.saving.register_keras_serializable(package="keras_ltssl")
class KeyQueue(keras.layers.Layer):
    """Keeps the latest unit vectors (keys) that it was given, in a ring.

    A batch replaces the oldest keys. Its size need not divide the queue's; of
    a batch larger than the queue, the last keys stay. Until the queue has
    filled up, `is_filled` tells which of its places hold a key.

    Args:
        size: Keys that it holds, integer >= 1. Defaults to `4096`.

    Raises:
        ValueError: If `size` is not an integer >= 1.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> queue = lt.layers.KeyQueue(size=3)
    >>> queue.build((None, 2))
    >>> queue.enqueue(np.eye(2, dtype="float32"), np.array([False, True]))
    >>> ops.convert_to_numpy(queue.is_filled()).tolist()
    [True, True, False]

    Reference:
        - [Momentum Contrast for Unsupervised Visual Representation
          Learning](https://arxiv.org/abs/1911.05722), He et al., CVPR 2020
    """

    def __init__(self, size: int = 4096, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.size = check_integer("size", size, minimum=1)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.keys = self.add_weight(
            shape=(self.size, input_shape[-1]),
            initializer="zeros",
            trainable=False,
            name="keys",
        )
        self.is_ood = self.add_weight(
            shape=(self.size,),
            dtype="bool",
            initializer="zeros",
            trainable=False,
            name="is_ood",
        )
        self.filled = self._counter("filled")
        self.cursor = self._counter("cursor")

    def _counter(self, name: str) -> Any:
        return self.add_weight(
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name=name,
        )

    def is_filled(self) -> Tensor:
        """Returns which places hold a key, `(size,)`."""
        places = ops.arange(self.size, dtype="int32")
        return places < ops.convert_to_tensor(self.filled)

    def enqueue(self, keys: Tensor, is_ood: Tensor) -> None:
        """Puts the keys of a batch in place of the oldest ones.

        Args:
            keys: Unit vectors, `(batch, dim)`.
            is_ood: Whether each sample is out of distribution, `(batch,)`.
        """
        keys = ops.stop_gradient(ops.convert_to_tensor(keys))[-self.size :]
        is_ood = ops.convert_to_tensor(is_ood)[-self.size :]
        count = ops.shape(keys)[0]
        cursor = ops.convert_to_tensor(self.cursor)
        places = (cursor + ops.arange(count, dtype="int32")) % self.size
        self.keys.assign(
            ops.scatter_update(
                self.keys, places[:, None], ops.cast(keys, "float32")
            )
        )
        self.is_ood.assign(
            ops.scatter_update(self.is_ood, places[:, None], is_ood)
        )
        self.cursor.assign((cursor + count) % self.size)
        filled = ops.convert_to_tensor(self.filled)
        self.filled.assign(ops.minimum(filled + count, self.size))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}
