"""Chooses from a pool what is hard for the model, near, and diverse."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.callbacks.embedding import embed
from keras_ltssl.callbacks.pool_sampler import PoolSampler
from keras_ltssl.datasets.mixed_batches import MixedBatches
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.nt_xent import nt_xent
from keras_ltssl.samplers import MAKChoice, choose_mak
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number

Array = np.ndarray[Any, Any]


class _Projections(keras.Model):
    """Projections of two views of each sample, by the layers of a model."""

    def __init__(self, model: keras.Model) -> None:
        # Named, for TensorFlow takes no scope that begins with an underscore.
        super().__init__(name="projections")
        self.augmenter = model.augmenter
        self.encoder = model.encoder
        self.projector = model.projector
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        # The views are those of training, the network is that of inference.
        views = self.augmenter(x, training=True)
        folded = ops.reshape(views, (-1, *ops.shape(views)[2:]))
        features = self.encoder(folded, training=False)
        z = self.projector(features, training=False)
        return ops.reshape(z, (-1, 2, z.shape[-1]))


class MAKSampler(PoolSampler):
    """Adds images of a pool to the training set that MAK chooses.

    At epoch `start` (and every `interval` epochs from then on) it embeds the
    training set and the pool with `model.encoder`, without augmentation, and
    computes the contrastive loss of every image of the pool: NT-Xent at the
    temperature of the moment, the mean over `passes` passes through
    `model.augmenter`, `encoder` and `projector`, as at inference, each with
    two new views and among random other images of the pool, as many as in a
    training batch. Of images with a high loss that are near the clusters of
    the training set it takes a diverse choice (`samplers.choose_mak`).
    `data.chosen` is what training goes on with; `choice` holds the latest
    `MAKChoice`.

    The framework does not matter as long as its loss has a temperature: of
    momentum encoders, queues and pruned branches a choice knows nothing. Where
    temperatures differ by sample or pair, the one that they vary around counts.

        data = MixedBatches(images, pool, budget=10_000, batch_size=512)
        model.compile("sgd", loss=NTXentLoss())
        model.fit(
            data, epochs=400, shuffle=False, callbacks=[MAKSampler(data)]
        )

    As published, the model is trained on its own set to the end, one choice is
    made, and a new model trains on both: choose in a last epoch, and set
    `data.chosen = sampler.choice.indices` for the new model. The published
    code makes one view of each image in each of 10 passes and averages over
    all 45 pairs of them; here each pass makes a pair. Either estimates the
    same mean over views.

    A choice does not disturb the training: views and batches depend on `seed`
    and the epoch alone, and the random states of the layers are afterwards
    what they were. To resume a run with the same choice, hand the sampler to
    `ResumableCheckpoint(callbacks=[sampler])`.

    Into the logs of every epoch go `ood_chosen` (images chosen),
    `ood_pool_share` (their share of the pool), `ood_budget_min` and
    `ood_budget_max` (how many of them are nearest to a cluster) and
    `ood_seconds` (what a choice in this epoch took). List `CSVLogger` and the
    like *after* this callback. Projections of the pool, of two views each, are
    held in memory.

    Args:
        data: The `datasets.MixedBatches` that the model trains on: what `fit`
            gets, or what the pipeline that `fit` gets reads from.
        start: Epoch of the first choice, counted from 0, integer >= 0.
            Defaults to `100`.
        interval: Epochs from one choice to the next, integer >= 1. Defaults
            to `None`: a single choice, as published.
        budget: Images to choose, integer from 1 to `data.budget`. Defaults to
            `None`: `data.budget`.
        num_clusters: Clusters of the training set, integer >= 1. Defaults to
            `10`.
        candidate_factor: How many times the budget is left to choose from by
            diversity, finite and >= 1. Defaults to `1.5`.
        passes: Passes over the pool for its losses, integer >= 1. Defaults to
            `10`.
        pool_subset: Images of the pool, drawn anew each time, that are looked
            at at all, integer >= budget. Defaults to `None`: all.
        batch_size: Images embedded at a time. Defaults to `256`.
        seed: Seed of k-means, subsets, views and batches, integer >= 0.
            Defaults to `0`.
        verbose: `1` shows progress and the budgets. Defaults to `0`.

    Raises:
        ValueError: If an argument is out of range or, when training begins,
            the model has no encoder, projector and augmenter, or no loss of
            this package that has a temperature, or `fit` got an array or a
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
    ...     data, epochs=2, shuffle=False, callbacks=[sampler], verbose=0
    ... ).history
    >>> history["ood_chosen"], len(sampler.choice.losses)
    ([0, 20], 20)

    Reference:
        Jiang, Chen, Chen, Wang. Improving Contrastive Learning on Imbalanced
        Seed Data via Open-World Sampling (MAK). NeurIPS 2021,
        arXiv:2111.01004.
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
                    "MAKSampler computes contrastive losses of two views, by "
                    f"`model.{name}`. Received a {type(self.model).__name__} "
                    "without one"
                )
        if not isinstance(self.model.loss, ContrastiveLoss):
            raise ValueError(
                "MAKSampler needs a model compiled with one of "
                "keras_ltssl.losses, whose temperature it takes. "
                f"Received: loss={self.model.loss!r}"
            )
        if not self.model.loss.has_temperature:
            raise ValueError(
                "MAKSampler scores the pool by NT-Xent at the temperature of "
                f"the model's loss, and {type(self.model.loss).__name__} has "
                "none. OODSampler with a `score` of your own works without. "
                f"Received: loss={self.model.loss!r}"
            )
        # Outlives a single choice, so that it is compiled once.
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
        """The mean contrastive loss of some rows of the pool."""
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
                z = embed(
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
    """NT-Xent in batches of samples in some order, all of one size.

    The last batch goes back as far as it takes: with fewer negatives, its
    losses would be lower.
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
    """Seeds all random states of a network; puts them back afterwards."""
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
