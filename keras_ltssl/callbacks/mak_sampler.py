"""Chooses hard, near and diverse samples from a pool, as MAK does."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.callbacks.pool_sampler import PoolSampler
from keras_ltssl.datasets.mixed_batches import MixedBatches
from keras_ltssl.evaluation.embed_rows import embed_rows
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.nt_xent import nt_xent
from keras_ltssl.samplers import MAKChoice, choose_mak
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number

Array = np.ndarray[Any, Any]


class _Projections(keras.Model):
    """Projects two views of each sample with the layers of a model."""

    def __init__(self, model: keras.Model) -> None:
        # TensorFlow refuses scopes that begin with an underscore.
        super().__init__(name="projections")
        self.augmenter = model.augmenter
        self.encoder = model.encoder
        self.projector = model.projector
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        # Augment as in training, and encode as at inference.
        views = self.augmenter(x, training=True)
        folded = ops.reshape(views, (-1, *ops.shape(views)[2:]))
        features = self.encoder(folded, training=False)
        z = self.projector(features, training=False)
        return ops.reshape(z, (-1, 2, z.shape[-1]))


class MAKSampler(PoolSampler):
    """Chooses images of a pool that are hard, near and diverse, as MAK does.

    The callback works at epoch `start`, and every `interval` epochs after it:

    1. It embeds the training set and the pool with `model.encoder`, without
       augmentation.
    2. It computes the contrastive loss of each pool image: NT-Xent at the
       current temperature, averaged over `passes` passes. Each pass makes two
       new views, encodes them as at inference, and compares them with random
       other images of the pool, as many as in a training batch.
    3. It makes a diverse choice among the images that have a high loss and are
       near the clusters of the training set (`samplers.choose_mak`), and
       assigns it to `data.chosen`. `choice` holds the latest `MAKChoice`.

    Any framework works whose loss has a temperature. Momentum encoders, queues
    and pruned branches are not used for a choice. If a loss has temperatures
    that differ by sample or pair, their base value is used.

        data = MixedBatches(images, pool, budget=10_000, batch_size=512)
        model.compile("sgd", loss=NTXentLoss())
        model.fit(data, epochs=400, callbacks=[MAKSampler(data)])

    In the paper, a model is trained on its own set to the end, one choice is
    made, and a new model is trained on both. To do the same, choose in a last
    epoch, and set `data.chosen = sampler.choice.indices` for the new model.
    The published code makes one view of each image in each of 10 passes and
    averages over all 45 pairs of views. Here each pass makes one pair, which
    estimates the same mean.

    A choice does not change the training: views and batches depend only on
    `seed` and the epoch, and the random states of the layers are restored. To
    resume a run with the same choice, pass the sampler to
    `ResumableCheckpoint(callbacks=[sampler])`.

    Every epoch logs `ood_chosen` (number of images chosen), `ood_pool_share`
    (their share of the pool), `ood_budget_min` and `ood_budget_max` (smallest
    and largest number of them that are nearest to one cluster) and
    `ood_seconds` (time of the choice in this epoch). List `CSVLogger` and
    similar callbacks *after* this one. The projections of two views of the
    whole pool are held in memory.

    Args:
        data: The `datasets.MixedBatches` that the model trains on. Pass it to
            `fit`, or pass a pipeline that reads from it.
        start: Epoch of the first choice, counted from 0, integer >= 0.
            Defaults to `100`.
        interval: Epochs from one choice to the next, integer >= 1. Defaults
            to `None`, a single choice, as published.
        budget: Number of images to choose, integer from 1 to `data.budget`.
            Defaults to `None`, which means `data.budget`.
        num_clusters: Clusters of the training set, integer >= 1. Defaults to
            `10`.
        candidate_factor: Number of candidates for the diverse choice, as a
            multiple of the budget, finite and >= 1. Defaults to `1.5`.
        passes: Passes over the pool for its losses, integer >= 1. Defaults to
            `10`.
        pool_subset: Number of pool images to consider, drawn anew for each
            choice, integer >= budget. Defaults to `None`, the whole pool.
        batch_size: Images embedded at a time. Defaults to `256`.
        seed: Seed of k-means, subsets, views and batches, integer >= 0.
            Defaults to `0`.
        verbose: `1` shows progress and the budgets. Defaults to `0`.
        features_folder: Folder for the features of a choice, so that an
            embedding that was killed goes on; the passes for losses do not.
            See `PoolSampler`. Defaults to `None`.

    Raises:
        ValueError: If an argument is out of range. When training begins, if
            the model lacks an encoder, a projector, an augmenter or a loss of
            this package with a temperature, or if `fit` got an array or a
            dataset of this package other than `data`.

    Warns:
        UserWarning: If the training ends before the first choice, or if its
            first epoch reads no batch of `data`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> random = np.random.default_rng(0)
    >>> samples = random.normal(size=(60, 8)).astype("float32")
    >>> pool = random.normal(size=(50, 8)).astype("float32")
    >>> data = lt.datasets.MixedBatches(samples, pool, budget=20, batch_size=16)
    >>> model = lt.models.ContrastiveModel(
    ...     keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)]),
    ...     augmenter=lt.layers.TwoViews(keras.layers.GaussianNoise(0.1)),
    ... )
    >>> model.compile("sgd", loss=lt.losses.NTXentLoss())
    >>> sampler = lt.callbacks.MAKSampler(data, start=1, passes=2)
    >>> history = model.fit(
    ...     data, epochs=2, callbacks=[sampler], verbose=0
    ... ).history
    >>> history["ood_chosen"], len(sampler.choice.losses)
    ([0, 20], 20)

    Reference:
        - [Improving Contrastive Learning on Imbalanced Seed Data via Open-World
          Sampling](https://arxiv.org/abs/2111.01004), Jiang et al.,
          NeurIPS 2021
    """

    choice_type = MAKChoice

    def __init__(
        self,
        data: MixedBatches,
        start: int = 100,
        interval: int | None = None,
        budget: int | None = None,
        num_clusters: int = 10,
        candidate_factor: float = 1.5,
        passes: int = 10,
        pool_subset: int | None = None,
        batch_size: int = 256,
        seed: int = 0,
        verbose: int = 0,
        features_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            data,
            start,
            interval,
            budget,
            num_clusters,
            pool_subset,
            batch_size,
            seed,
            verbose,
            features_folder=features_folder,
        )
        self.candidate_factor = check_number(
            "candidate_factor", candidate_factor, minimum=1
        )
        self.passes = check_integer("passes", passes, minimum=1)
        self._network: _Projections | None = None

    def check_model(self) -> None:
        for name in ("projector", "augmenter"):
            if getattr(self.model, name, None) is None:
                raise ValueError(
                    "MAKSampler computes contrastive losses of two views with "
                    f"`model.{name}`. Received a {type(self.model).__name__} "
                    "without one"
                )
        if not isinstance(self.model.loss, ContrastiveLoss):
            raise ValueError(
                "MAKSampler needs a model compiled with one of "
                "keras_ltssl.losses, since it uses its temperature. "
                f"Received: loss={self.model.loss!r}"
            )
        if not self.model.loss.has_temperature:
            raise ValueError(
                "MAKSampler scores the pool by NT-Xent at the temperature of "
                f"the model's loss, and {type(self.model.loss).__name__} has "
                "none. OODSampler with your own `score` needs none. "
                f"Received: loss={self.model.loss!r}"
            )
        # Kept between choices, so that it is compiled once.
        self._network = _Projections(self.model)

    def choose(
        self,
        id_features: Array,
        pool_features: Array,
        rows: Array,
        epoch: int,
    ) -> MAKChoice:
        return choose_mak(
            id_features,
            pool_features,
            self._losses(rows, epoch),
            self.budget,
            self.num_clusters,
            self.candidate_factor,
            self.seed,
        )

    def _losses(self, rows: Array, epoch: int) -> Array:
        """Returns the mean contrastive loss of some rows of the pool."""
        assert self._network is not None  # `check_model` has made it.
        temperature = float(
            ops.convert_to_numpy(self.model.loss.current_temperature())
        )
        random = np.random.default_rng([self.seed, epoch])
        total = np.zeros(len(rows))
        with _own_random_states(self._network, random):
            for number in range(self.passes):
                if self.verbose:
                    print(f"Losses of the pool: pass {number + 1}")
                z = embed_rows(
                    self._network,
                    self.data.pool_rows,
                    self.batch_size,
                    self.verbose,
                    rows,
                )
                order = random.permutation(len(rows))
                total += _losses_of_batches(
                    z, order, self.data.batch_size, temperature
                )
        return total / self.passes


def _losses_of_batches(
    z: Array, order: Array, batch_size: int, temperature: float
) -> Array:
    """Returns NT-Xent of samples, compared within batches of equal size.

    The last batch overlaps the one before if need be. In a smaller batch the
    losses would be lower, since there are fewer negatives.
    """
    size = min(batch_size, len(order))
    losses = np.empty(len(order))
    for start in range(0, len(order), size):
        first = min(start, len(order) - size)
        batch = order[first : first + size]
        values = nt_xent(z[batch].astype("float32"), temperature)
        losses[batch] = ops.convert_to_numpy(values)
    return losses


@contextlib.contextmanager
def _own_random_states(
    network: keras.Model, random: np.random.Generator
) -> Iterator[None]:
    """Seeds the random states of a network, and restores them at the end."""
    weights = {id(weight) for weight in network.weights}
    states = [v for v in network.variables if id(v) not in weights]
    before = [np.array(ops.convert_to_numpy(state)) for state in states]
    try:
        for state, value in zip(states, before, strict=True):
            drawn = random.integers(2**31, size=value.shape)
            state.assign(drawn.astype(value.dtype))
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
