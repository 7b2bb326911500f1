"""The base class of layers that change images at random."""

from typing import Any

import keras

from keras_ltssl.backend.seeds import seed_generator
from keras_ltssl.validation import LARGEST_KERAS_SEED, check_integer_or_none


class RandomImageLayer(keras.layers.Layer):
    """Base class of random image layers, with a seed generator.

    Images have the channels last. The layers compute in float32 and cast the
    result, since half precision would round images before they are resampled.
    For this reason Keras must not cast the inputs.

    Args:
        seed: Integer >= 0, or `None` for a new draw every time.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if keras.config.image_data_format() != "channels_last":
            raise ValueError(
                f"`{type(self).__name__}` needs images with the channels last. "
                "Received: keras.config.image_data_format()="
                f"{keras.config.image_data_format()!r}"
            )
        self.seed = check_integer_or_none("seed", seed, 0, LARGEST_KERAS_SEED)
        self.seed_generator = seed_generator(self.seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Raises if `input_shape` is not that of a batch of images.

        Args:
            input_shape: Tuple `(batch, height, width, channels)`.
        """
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError(
                f"`{type(self).__name__}` needs images of shape (batch, "
                "height, width, channels), of which only the batch may be "
                f"unknown. Received: input shape={tuple(input_shape)}"
            )

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the images.

        Args:
            input_shape: Tuple `(batch, height, width, channels)`.

        Returns:
            The same tuple.
        """
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "seed": self.seed}
