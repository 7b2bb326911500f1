"""Chooses the out-of-distribution samples that training goes on with."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_ltssl.callbacks.embedding import embed
from keras_ltssl.datasets.mixed_batches import MixedBatches
from keras_ltssl.layers.sample_memory import SampleMemory
from keras_ltssl.losses.colt import COLTLoss
from keras_ltssl.losses.wrapping_loss import find_loss
from keras_ltssl.samplers import OODChoice, choose_ood

Array = np.ndarray[Any, Any]


class OODSampler(keras.callbacks.Callback):
    """Lets the tail choose which images of a pool to train on, as COLT does.

    At epoch `start`, and every `interval` epochs from then on, it embeds the
    training set and the pool with `model.encoder`, without augmentation,
    clusters the training set by k-means, gives the clusters that score low
    the larger part of the budget, and takes for each the nearest images of the
    pool (`samplers.choose_ood`). `data.chosen` is what training goes on with.

        data = MixedBatches(images, pool, budget=10_000, batch_size=512)
        loss = COLTLoss(num_samples=len(images))
        model.compile("sgd", loss=loss)
        model.fit(
            data, epochs=2000, shuffle=False, callbacks=[OODSampler(data)]
        )

    Into the logs of every epoch go `ood_chosen` (images chosen),
    `ood_pool_share` (their share of the pool), `ood_budget_min` and
    `ood_budget_max` (of the clusters) and `ood_seconds` (what a choice in this
    epoch took). List `CSVLogger` and the like *after* this callback.
    `choice` holds the latest `OODChoice` and `scores` the score of each sample
    that it followed, `(num_samples,)`. To resume a run with the same
    choice, hand the sampler to `ResumableCheckpoint(callbacks=[sampler])`.

    Args:
        data: The `datasets.MixedBatches` that the model trains on.
        start: Epoch of the first choice, counted from 0, integer >= 0; at
            least 1 with `score="tailness"`, which has to be seen first.
            Defaults to `100`.
        interval: Epochs from one choice to the next, integer >= 1. Defaults
            to `25`.
        budget: Images to choose, integer from 1 to `data.budget`. Defaults to
            `None`: `data.budget`.
        num_clusters: Clusters of the training set, integer >= 1. Defaults to
            `10`.
        temperature: τ_c > 0; a small one leaves the budget to the lowest
            score alone. Defaults to `1.0`.
        score: `"tailness"`, the published score that a `COLTLoss` with
            `num_samples` keeps, or a function from the training set's features
            `(num_samples, features)` to scores `(num_samples,)` that are low
            in the tail. Defaults to `"tailness"`.
        pool_subset: Images of the pool, drawn anew each time, that are
            embedded at all, integer >= budget. Defaults to `None`: all.
        batch_size: Images embedded at a time. Defaults to `256`.
        seed: Seed of k-means and of the subsets, integer >= 0. Defaults to
            `0`.
        verbose: `1` shows progress and the budgets. Defaults to `0`.

    Raises:
        ValueError: If an argument is out of range or, when training begins,
            the model has no encoder or keeps no tailness.

    Warns:
        UserWarning: If the training ends before the first choice.

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
    ...     data, epochs=2, shuffle=False, callbacks=[sampler], verbose=0
    ... ).history
    >>> history["ood_chosen"], int(sampler.choice.budgets.sum())
    ([0, 20], 20)

    Reference:
        Bai, Chen, Zheng, Liang, Zhang. On the Effectiveness of
        Out-of-Distribution Data in Self-Supervised Long-Tail Learning (COLT).
        ICLR 2023, arXiv:2306.04934.
    """

    def __init__(
        self,
        data: MixedBatches,
        start: int = 100,
        interval: int = 25,
        budget: int | None = None,
        num_clusters: int = 10,
        temperature: float = 1.0,
        score: str | Callable[[Array], Array] = "tailness",
        pool_subset: int | None = None,
        batch_size: int = 256,
        seed: int = 0,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(data, MixedBatches):
            raise ValueError(
                "`data` must be the keras_ltssl.datasets.MixedBatches that the "
                f"model trains on. Received: data={data!r}"
            )
        if score != "tailness" and not callable(score):
            raise ValueError(
                '`score` must be "tailness" or a function of features. '
                f"Received: score={score!r}"
            )
        budget = data.budget if budget is None else budget
        pool = len(data.pool_rows)
        for name, value, least, most in (
            ("start", start, 1 if score == "tailness" else 0, None),
            ("interval", interval, 1, None),
            ("budget", budget, 1, data.budget),
            ("num_clusters", num_clusters, 1, len(data.id_rows)),
            (
                "pool_subset",
                pool if pool_subset is None else pool_subset,
                budget,
                pool,
            ),
            ("batch_size", batch_size, 1, None),
            ("seed", seed, 0, None),
        ):
            if (
                int(value) != value
                or value < least
                or (most is not None and value > most)
            ):
                range_ = f">= {least}" + (f" and <= {most}" if most else "")
                raise ValueError(
                    f"`{name}` must be an integer {range_}. "
                    f"Received: {name}={value!r}"
                )
        if not temperature > 0:
            raise ValueError(
                "`temperature` must be > 0. "
                f"Received: temperature={temperature!r}"
            )
        self.data = data
        self.start = start
        self.interval = interval
        self.budget = int(budget)
        self.num_clusters = num_clusters
        self.temperature = temperature
        self.score = score
        self.pool_subset = pool_subset
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self.choice: OODChoice | None = None
        self.scores: Array | None = None
        self.sampled_epochs: list[int] = []
        self._seconds = 0.0

    def get_state(self) -> dict[str, Array]:
        """Returns the choice in force as arrays, for a checkpoint."""
        if self.choice is None or self.scores is None:
            return {}
        return {**self.choice.to_arrays(), "scores": self.scores}

    def set_state(self, state: dict[str, Array]) -> None:
        """Puts the choice of `get_state` in force again.

        Args:
            state: What `get_state` returned.
        """
        state = dict(state)
        self.scores = state.pop("scores", None)
        self.choice = OODChoice.from_arrays(state) if state else None
        self.data.chosen = (
            np.zeros(0, "int64") if self.choice is None else self.choice.indices
        )

    def _tailness(self) -> SampleMemory:
        # On JAX, reading `self.model` brings its variables up to date.
        loss = find_loss(self.model.loss, COLTLoss)
        state = None if loss is None else loss.get_state()
        memory = None if state is None else state.parts.get("tailness")
        if not isinstance(memory, SampleMemory):
            raise ValueError(
                'score="tailness" needs a model compiled with '
                "COLTLoss(num_samples=...), which keeps it for each sample. "
                f"Received: loss={self.model.loss!r}"
            )
        if memory.num_samples != len(self.data.id_rows):
            raise ValueError(
                "`num_samples` of COLTLoss must be the number of samples in "
                f"the data. Received: num_samples={memory.num_samples}, and "
                f"{len(self.data.id_rows)} samples"
            )
        return memory

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if getattr(self.model, "encoder", None) is None:
            raise ValueError(
                "OODSampler embeds with `model.encoder`. Received a "
                f"{type(self.model).__name__} without one"
            )
        rank = len(getattr(self.model.encoder, "input_shape", ())) - 1
        if rank > 0 and rank != len(self.data.id_rows.shape):
            raise ValueError(
                "OODSampler embeds samples as the encoder takes them, so the "
                "model has to make the views, by its `augmenter`. Received: "
                f"samples of shape {self.data.id_rows.shape} for an encoder "
                f"with inputs {self.model.encoder.input_shape}"
            )
        if self.score == "tailness":
            self._tailness()
        epochs = self.params.get("epochs")
        if epochs is not None and self.start >= epochs:
            warnings.warn(
                f"OODSampler first chooses at epoch {self.start}, but training "
                f"ends at epoch {epochs}: it will never choose. Lower `start`.",
                stacklevel=2,
            )

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._seconds = 0.0
        since = epoch - self.start
        if since >= 0 and since % self.interval == 0:
            begin = time.perf_counter()
            self._choose(epoch)
            self._seconds = time.perf_counter() - begin

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if logs is not None:
            budgets = (
                np.zeros(1) if self.choice is None else self.choice.budgets
            )
            chosen = len(self.data.chosen)
            logs.update(
                ood_chosen=chosen,
                ood_pool_share=chosen / len(self.data.pool_rows),
                ood_budget_min=int(budgets.min()),
                ood_budget_max=int(budgets.max()),
                ood_seconds=round(self._seconds, 3),
            )

    def _choose(self, epoch: int) -> None:
        encoder = self.model.encoder
        id_rows, pool_rows = self.data.id_rows, self.data.pool_rows
        candidates = np.arange(len(pool_rows))
        if self.pool_subset is not None:
            random = np.random.default_rng([self.seed, epoch])
            candidates = np.sort(
                random.choice(candidates, self.pool_subset, replace=False)
            )
        if self.verbose:
            print(
                f"Embedding {len(id_rows)} training images and "
                f"{len(candidates)} of the pool"
            )
        id_features = embed(encoder, id_rows, self.batch_size, self.verbose)
        pool_features = embed(
            encoder, pool_rows, self.batch_size, self.verbose, candidates
        )
        scores = self._scores(id_features)
        choice = choose_ood(
            id_features,
            pool_features,
            scores,
            self.budget,
            self.num_clusters,
            self.temperature,
            self.seed,
        )
        choice = dataclasses.replace(choice, indices=candidates[choice.indices])
        self.choice, self.scores = choice, scores
        self.data.chosen = choice.indices
        self.sampled_epochs.append(epoch)
        if self.verbose:
            print(
                f"Chose {len(choice.indices)} of {len(candidates)} pool images "
                f"for {self.num_clusters} clusters: {choice.budgets.tolist()}"
            )

    def _scores(self, features: Array) -> Array:
        if callable(self.score):
            return np.asarray(self.score(features))
        scores, seen = self._tailness().read()
        if not seen.any():
            raise ValueError(
                "No sample of the training set was seen yet, so none has a "
                "tailness. Train on `data`, whose ids name its samples."
            )
        # A sample that never came counts as an average one.
        return np.where(seen, scores, scores[seen].mean())
