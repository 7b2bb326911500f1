"""The base class of the callbacks that measure features during training."""

import abc
from typing import Any

import keras
import numpy as np

from keras_ltssl.evaluation.embed_rows import embed_rows
from keras_ltssl.evaluation.labeled_features import check_encoder
from keras_ltssl.validation import check_integer


class EncoderProbe(keras.callbacks.Callback, abc.ABC):
    """Measures features every few epochs, and logs the latest values.

    It measures after the first epoch of a `fit`, after every `interval`-th
    epoch, and after the last one.

    Args:
        interval: Epochs from one measurement to the next, integer >= 1.
        batch_size: Images embedded at once.
        encoder: The `keras.Model` to embed with, or `None` for
            `model.encoder`.
    """

    def __init__(
        self, interval: int, batch_size: int, encoder: keras.Model | None
    ) -> None:
        super().__init__()
        self.interval = check_integer("interval", interval, minimum=1)
        self.batch_size = check_integer("batch_size", batch_size, minimum=1)
        if encoder is not None:
            check_encoder(encoder, "`encoder`")
        self.encoder = encoder
        self._logged: dict[str, float] = {}

    @abc.abstractmethod
    def measure(self, epoch: int) -> dict[str, float]:
        """Returns what to log after an epoch, by name."""

    def features(self, images: Any) -> np.ndarray[Any, Any]:
        """Returns the features of images by the encoder as it is now."""
        # On JAX, reading `self.model` updates the weights. Without it,
        # `self.encoder` would have the weights of an earlier epoch.
        model = self.model
        encoder = model.encoder if self.encoder is None else self.encoder
        return embed_rows(encoder, images, self.batch_size)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if there is no encoder; the next epoch measures again."""
        self._logged = {}
        if self.encoder is None:
            if getattr(self.model, "encoder", None) is None:
                raise ValueError(
                    f"`{type(self).__name__}` expects a model with an "
                    "attribute `encoder`, a keras.Model with (batch, features) "
                    "output, or the argument `encoder`. Received a "
                    f"{type(self.model).__name__} without one"
                )
            check_encoder(self.model.encoder, "`model.encoder`")

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Measures if the epoch is due, and logs the latest values."""
        if (
            not self._logged
            or (epoch + 1) % self.interval == 0
            or epoch + 1 == self.params["epochs"]
        ):
            self._logged = self.measure(epoch)
        if logs is not None:
            logs.update(self._logged)
