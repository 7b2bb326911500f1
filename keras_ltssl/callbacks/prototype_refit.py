"""Refits TASE's prototypes to the whole training set."""

from typing import Any

import keras
import numpy as np

from keras_ltssl.arrays import unit_rows
from keras_ltssl.backend import processes
from keras_ltssl.evaluation.embed_rows import VERBOSE, embed_rows
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.samplers.kmeans import kmeans
from keras_ltssl.state.prototypes import Prototypes
from keras_ltssl.validation import (
    LARGEST_SEED,
    check_boolean,
    check_choice,
    check_integer,
    check_samples,
)


class PrototypeRefit(keras.callbacks.Callback):
    """Replaces prototypes by k-means centers of the whole training set.

    `TASELoss` moves its prototypes batch by batch. If the whole training set
    can be embedded, this callback replaces the prototypes by the centers that
    k-means finds on the unit sphere, and the population shares by the shares of
    the clusters. The samples are embedded without augmentation. k-means uses
    faiss if it is installed (`samplers.kmeans`). This package's own design.

    Args:
        x: The training samples, an array that the encoder takes.
        interval: Epochs from one fit to the next, integer >= 1. Defaults to
            `5`.
        start: Epoch of the first fit, counted from 0. Defaults to `1`, since
            an encoder has learned nothing at epoch 0.
        hold: Whether the prototypes stay as fitted until the next fit. If
            `False`, each training step moves them. Defaults to `False`.
        batch_size: Samples embedded at a time. Defaults to `256`.
        seed: Seed of k-means, integer. Defaults to `0`.
        verbose: `1` shows the progress of embedding. Defaults to `0`.

    Raises:
        ValueError: If an argument is out of range. When training begins, if the
            model's loss has no prototypes, there are fewer samples than
            prototypes, or `start` is not an epoch of the training.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> model.compile("sgd", loss=lt.losses.TASELoss(num_prototypes=4))
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> refit = lt.callbacks.PrototypeRefit(views[:, 0], interval=1)
    >>> _ = model.fit(
    ...     views.astype("float32"), epochs=2, callbacks=[refit], verbose=0
    ... )
    >>> refit.fitted_epochs
    [1]
    """

    def __init__(
        self,
        x: Any,
        interval: int = 5,
        start: int = 1,
        hold: bool = False,
        batch_size: int = 256,
        seed: int = 0,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        check_samples("x", x)
        self.x = x
        self.interval = check_integer("interval", interval, minimum=1)
        self.start = check_integer("start", start, minimum=0)
        self.hold = check_boolean("hold", hold)
        self.batch_size = check_integer("batch_size", batch_size, minimum=1)
        self.seed = check_integer("seed", seed, 0, LARGEST_SEED)
        self.verbose = check_choice("verbose", verbose, VERBOSE)
        self.fitted_epochs: list[int] = []
        self._network: keras.Model | None = None

    def _prototypes(self) -> Prototypes:
        loss = self.model.loss
        state = loss.get_state() if isinstance(loss, ContrastiveLoss) else None
        prototypes = None if state is None else state.find_layer(Prototypes)
        if prototypes is None or not hasattr(self.model, "projector"):
            raise ValueError(
                "PrototypeRefit needs a ContrastiveModel compiled with a loss "
                f"that has prototypes, such as TASELoss. Received: loss={loss}"
            )
        return prototypes

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        prototypes = self._prototypes()
        if len(self.x) < prototypes.num_prototypes:
            raise ValueError(
                "`x` must hold at least as many samples as there are "
                f"prototypes. Received: {len(self.x)} samples, "
                f"num_prototypes={prototypes.num_prototypes}"
            )
        epochs = self.params.get("epochs")
        if epochs is not None and self.start >= epochs:
            raise ValueError(
                "`start` must be an epoch of the training. "
                f"Received: start={self.start}, epochs={epochs}"
            )
        # It shares the layers of the model, and is kept between fits so that
        # it is compiled once.
        model = self.model
        self._network = keras.Sequential([model.encoder, model.projector])

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if epoch < self.start or (epoch - self.start) % self.interval:
            return
        prototypes = self._prototypes()
        assert self._network is not None  # `on_train_begin` has made it.
        projections = embed_rows(
            self._network, self.x, self.batch_size, self.verbose
        ).astype("float32")
        count = prototypes.num_prototypes
        labels, centers = processes.of_first(
            kmeans(unit_rows(projections, "projections"), count, self.seed)
        )
        prototypes.set_population(
            unit_rows(centers, "centers"),
            np.bincount(labels, minlength=count) / len(labels),
            streaming=not self.hold,
        )
        self.fitted_epochs.append(epoch)
