"""The effective rank of the encoder's features during training."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_ltssl.callbacks.encoder_probe import EncoderProbe
from keras_ltssl.evaluation.effective_rank import effective_rank
from keras_ltssl.validation import check_samples

_COLLAPSED = 1.5


class FeatureMonitor(EncoderProbe):
    """Logs the effective rank of the features of some images, without labels.

    The callback embeds the images with `model.encoder` and runs
    `keras_ltssl.evaluation.effective_rank`. It does so after the first epoch of
    a `fit`, after every `interval`-th epoch, and after the last one. It logs
    `effective_rank`; epochs without a measurement log the latest value again.
    It changes neither the weights nor the random numbers of the training.

    It warns, once in a `fit`, if the rank falls below 1.5 where features have
    at least 8 dimensions: then the features of all images point the same way.

    `History` and the progress bar show the value. List `CSVLogger`,
    `TensorBoard` and `EarlyStopping` *after* this callback, since a callback
    only sees what earlier ones have logged. What the model logs itself, such
    as `contrastive_accuracy` and `spread`, needs no callback.

    Args:
        images: Images as the encoder takes them, without augmentation,
            `(samples, ...)`, always the same ones. A thousand or two suffice;
            with fewer images than features have dimensions, their number
            bounds the rank.
        interval: Epochs from one measurement to the next, integer >= 1.
            Defaults to `1`.
        batch_size: Images embedded at once. Defaults to `256`.
        encoder: The `keras.Model` to embed with instead of `model.encoder`. It
            must be a part of the model that trains. Defaults to `None`.

    Raises:
        ValueError: If an argument is out of range. When training begins, if
            there is no encoder or its output is not `(batch, features)`. At the
            end of an epoch, if features are NaN.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> model.compile("sgd", loss=lt.losses.NTXentLoss())
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> monitor = lt.callbacks.FeatureMonitor(views[:, 0])
    >>> history = model.fit(views, callbacks=[monitor], verbose=0).history
    >>> 1 < history["effective_rank"][0] <= 4
    True

    Reference:
        - [RankMe: Assessing the Downstream Performance of Pretrained
          Self-Supervised Representations by Their
          Rank](https://arxiv.org/abs/2210.02885), Garrido et al., ICML 2023
    """

    def __init__(
        self,
        images: Any,
        interval: int = 1,
        batch_size: int = 256,
        encoder: keras.Model | None = None,
    ) -> None:
        super().__init__(interval, batch_size, encoder)
        check_samples("images", images)
        self.images = images
        self._has_warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raises if there is no encoder; the next epoch measures again."""
        super().on_train_begin(logs)
        self._has_warned = False

    def measure(self, epoch: int) -> dict[str, float]:
        """Returns the effective rank; warns if features collapse.

        Args:
            epoch: Number of the epoch, from 0.
        """
        features = self.features(self.images)
        rank = effective_rank(features.astype("float32"))
        dimensions = int(np.min(features.shape))
        if rank < _COLLAPSED and dimensions >= 8 and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"Features collapse by epoch {epoch}: those of {len(features)} "
                f"images have an effective rank of {rank:.2f} in {dimensions} "
                "dimensions, so they all point the same way. A smaller "
                "learning rate, batch normalization or a look at the images "
                "may help.",
                stacklevel=2,
            )
        return {"effective_rank": rank}
