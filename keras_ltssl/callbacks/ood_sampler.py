"""Chooses out-of-distribution samples from a pool, as COLT does."""

import os
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from keras_ltssl.callbacks.pool_sampler import PoolSampler
from keras_ltssl.datasets.mixed_batches import MixedBatches
from keras_ltssl.evaluation.headness_estimate import headness_estimate
from keras_ltssl.evaluation.headness_runs import NUM_NEIGHBORS, NamedEstimate
from keras_ltssl.losses.colt import COLTLoss
from keras_ltssl.losses.wrapping_loss import find_loss
from keras_ltssl.samplers import OODChoice, choose_colt
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.validation import check_number, check_pair

Array = np.ndarray[Any, Any]
SCORES = (
    "tailness",
    "density",
    "kernel_density",
    "adaptive_mass",
    "rank_mean",
    "random",
)


class OODSampler(PoolSampler):
    """Chooses images of a pool for the tail of the training set, as COLT does.

    The callback works at epoch `start` and every `interval` epochs after it:

    1. It embeds the training set and the pool with `model.encoder`, without
       augmentation.
    2. It clusters the training set by k-means. Clusters with a low score get a
       larger part of the budget.
    3. For each cluster it chooses the nearest images of the pool
       (`samplers.choose_colt`), and assigns them to `data.chosen`.

        data = MixedBatches(images, pool, budget=10_000, batch_size=512)
        loss = COLTLoss(num_samples=len(images))
        model.compile("sgd", loss=loss)
        model.fit(data, epochs=2000, callbacks=[OODSampler(data)])

    Every epoch logs `ood_chosen` (number of images chosen), `ood_pool_share`
    (their share of the pool), `ood_budget_min` and `ood_budget_max` (smallest
    and largest budget of a cluster) and `ood_seconds` (time of the choice in
    this epoch). List `CSVLogger` and similar callbacks *after* this one.

    The attribute `choice` holds the latest `OODChoice`, and `scores` the scores
    that it used, `(num_samples,)`. To resume a run with the same choice, pass
    the sampler to `ResumableCheckpoint(callbacks=[sampler])`.

    Args:
        data: The `datasets.MixedBatches` that the model trains on. Pass it to
            `fit`, or pass a pipeline that reads from it.
        start: Epoch of the first choice, counted from 0, integer >= 0. With
            `score="tailness"` at least 1, since the scores come from training.
            Defaults to `100`.
        interval: Epochs from one choice to the next, integer >= 1, or `None`
            for a single choice. Defaults to `25`.
        budget: Number of images to choose, integer from 1 to `data.budget`.
            Defaults to `None`, which means `data.budget`.
        num_clusters: Clusters of the training set, integer >= 1. Defaults to
            `10`.
        temperature: τ_c > 0. A small value gives the whole budget to the
            clusters with the lowest scores. Defaults to `1.0`.
        score: Score of each training sample, low in the tail.
            `"tailness"` is the published one, which a `COLTLoss` with
            `num_samples` keeps. `"density"`, `"kernel_density"`,
            `"adaptive_mass"` and `"rank_mean"` are those of
            `evaluation.headness_estimate` on the encoder's features.
            `"random"` draws scores anew for each choice; it is a control. Or a
            function from the features `(num_samples, features)` to scores
            `(num_samples,)`, such as one that returns
            `ISogCLRLoss.temperatures()`. Defaults to `"tailness"`.
        pool_subset: Number of pool images to embed, drawn anew for each
            choice, integer >= budget. Defaults to `None`, the whole pool.
        batch_size: Images embedded at a time. Defaults to `256`.
        seed: Seed of k-means and of the subsets, integer >= 0. Defaults to
            `0`.
        verbose: `1` shows progress and the budgets. Defaults to `0`.
        band: Percentiles `(low, high)` of rarity to rank samples in, such as
            `(0.75, 0.99)`, so that outliers are not taken for tail; see
            `samplers.rank_in_band`. A cluster's score is the mean rank of its
            members. Defaults to `None`, the scores as they are.
        features_folder: Folder for the features of a choice, so that an
            embedding that was killed goes on where it was. It is for one run,
            and each choice replaces the features of the one before. Defaults
            to `None`: features are in memory only.

    Raises:
        ValueError: If an argument is out of range. When training begins, if
            the model has no encoder or stores no tailness, or if `fit` got an
            array or a dataset of this package other than `data`.

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
    >>> model.compile("sgd", loss=lt.losses.COLTLoss(num_samples=60))
    >>> sampler = lt.callbacks.OODSampler(data, start=1, num_clusters=3)
    >>> history = model.fit(
    ...     data, epochs=2, callbacks=[sampler], verbose=0
    ... ).history
    >>> history["ood_chosen"], int(sampler.choice.budgets.sum())
    ([0, 20], 20)

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """

    choice_type = OODChoice

    def __init__(
        self,
        data: MixedBatches,
        start: int = 100,
        interval: int | None = 25,
        budget: int | None = None,
        num_clusters: int = 10,
        temperature: float = 1.0,
        score: str | Callable[[Array], Array] = "tailness",
        pool_subset: int | None = None,
        batch_size: int = 256,
        seed: int = 0,
        verbose: int = 0,
        band: tuple[float, float] | None = None,
        features_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        is_named = isinstance(score, str) and score in SCORES
        if not is_named and not callable(score):
            raise ValueError(
                f"`score` must be one of {list(SCORES)} or a function of "
                f"features. Received: score={score!r}"
            )
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
            first_epoch=1 if is_named and score == "tailness" else 0,
            features_folder=features_folder,
        )
        self.temperature = check_number("temperature", temperature, above=0)
        self.score = score
        neighbors = NUM_NEIGHBORS.get(str(score), 0)
        if len(data.id_rows) <= neighbors:
            raise ValueError(
                f"`score` must be one that {len(data.id_rows)} training "
                f"samples suffice for: {score!r} needs more than {neighbors}. "
                f"Received: score={score!r}"
            )
        self.band = band
        if band is not None:
            self.band = check_pair("band", band, 0, 1, may_be_equal=False)
        self.scores: Array | None = None

    def get_state(self) -> dict[str, Array]:
        scores = {} if self.scores is None else {"scores": self.scores}
        return {**super().get_state(), **scores}

    def set_state(self, state: dict[str, Array]) -> None:
        state = dict(state)
        self.scores = state.pop("scores", None)
        super().set_state(state)

    def _tailness(self) -> SampleMemory:
        # On JAX, reading `self.model` updates its variables.
        loss = find_loss(self.model.loss, COLTLoss)
        memory = None if loss is None else loss.tailness()
        if memory is None:
            raise ValueError(
                'score="tailness" needs a model compiled with '
                "COLTLoss(num_samples=...), which stores it for each sample. "
                f"Received: loss={self.model.loss!r}"
            )
        if memory.num_samples != len(self.data.id_rows):
            raise ValueError(
                "`num_samples` of COLTLoss must be the number of samples in "
                f"the data. Received: num_samples={memory.num_samples}, and "
                f"{len(self.data.id_rows)} samples"
            )
        return memory

    def check_model(self) -> None:
        if isinstance(self.score, str) and self.score == "tailness":
            self._tailness()

    def choose(
        self,
        id_features: Array,
        pool_features: Array,
        rows: Array,
        epoch: int,
    ) -> OODChoice:
        self.scores = self._scores(id_features, epoch)
        return choose_colt(
            id_features,
            pool_features,
            self.scores,
            self.budget,
            self.num_clusters,
            self.temperature,
            self.seed,
            band=self.band,
        )

    def _scores(self, features: Array, epoch: int) -> Array:
        if callable(self.score):
            return np.asarray(self.score(features))
        if self.score == "random":
            # Not the numbers that draw the subset of the pool.
            return np.random.default_rng([self.seed, epoch, 1]).random(
                len(features)
            )
        if self.score != "tailness":
            return headness_estimate(
                features, cast(NamedEstimate, self.score), seed=self.seed
            )
        scores, seen = self._tailness().read()
        if not seen.any():
            raise ValueError(
                "No sample of the training set has a tailness yet, because "
                "none was trained on. Pass `data` to `fit`; its ids name the "
                "samples."
            )
        # Samples that were never trained on get the mean score.
        return np.where(seen, scores, scores[seen].mean())
