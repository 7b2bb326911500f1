"""MoCo v2: a momentum encoder and a queue of its keys."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.models.contrastive_model import ContrastiveModel
from keras_ltssl.models.momentum_network import MomentumNetwork
from keras_ltssl.state.key_queue import KeyQueue
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class MomentumContrast(ContrastiveModel):
    """Trains an encoder against a queue of keys of earlier batches (MoCo v2).

    The first view of a sample passes through `encoder` and `projector` (the
    query), the second through copies of them whose weights are moving averages
    (its key). The loss compares the query with its key and with the keys in
    the queue (`losses.queue_nt_xent`), so many negatives do not need a large
    batch. Then the keys of the batch enter the queue. All of it happens inside
    the training step.

    Every loss over negatives works, except `DySTreSSLoss`: per-sample
    temperatures, schedules, TASE, COLT and Geometric Harmonization. After
    training, use `model.encoder`. It contains neither the momentum encoder nor
    the queue.

    Args:
        encoder: As for `ContrastiveModel`; it must be serializable, since it
            is copied.
        projector: As for `ContrastiveModel`. Defaults to `None`.
        augmenter: As for `ContrastiveModel`. Defaults to `None`.
        momentum: m, in [0, 1). Defaults to `0.99`, for small data; 0.999 is
            usual for ImageNet.
        queue_size: Keys in the queue, integer >= 1. It need not be a multiple
            of the batch size. Defaults to `4096`.

    Raises:
        ValueError: As `ContrastiveModel`, and if `momentum` or `queue_size` is
            out of range.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.MomentumContrast(encoder, queue_size=100)
    >>> model.compile("sgd", loss=lt.losses.NTXentLoss())
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> _ = model.fit(views.astype("float32"), batch_size=16, verbose=0)
    >>> int(model.queue.filled)
    64

    Reference:
        - [Improved Baselines with Momentum Contrastive
          Learning](https://arxiv.org/abs/2003.04297), Chen et al., 2020
    """

    has_negatives_in_batch = False

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | None = None,
        augmenter: keras.layers.Layer | None = None,
        momentum: float = 0.99,
        queue_size: int = 4096,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, projector, augmenter, **kwargs)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.queue = KeyQueue(
            check_integer("queue_size", queue_size, minimum=1)
        )
        self.momentum_network = MomentumNetwork([self.encoder, self.projector])

    def embed_views(self, views: Tensor, training: bool | None) -> Tensor:
        queries = self.project(views[:, 0], training)
        keys = self.momentum_network(
            views[:, 1],
            training=training,
            originals=[self.encoder, self.projector],
            momentum=self.momentum,
        )
        z = ops.stack([queries, keys], axis=1)
        if not self.queue.built:
            self.queue.build((None, z.shape[-1]))
        return self.loss_state(z, training=training, queue=self.queue)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "queue_size": self.queue.size,
        }
