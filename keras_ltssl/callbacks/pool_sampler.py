"""The base class of the callbacks that choose from a pool."""

import abc
import dataclasses
import os
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend import processes
from keras_ltssl.datasets.epoch_batches import EpochBatches
from keras_ltssl.datasets.mixed_batches import MixedBatches
from keras_ltssl.datasets.rows import Rows, SelectedRows
from keras_ltssl.evaluation.embed_rows import VERBOSE, embed_rows
from keras_ltssl.evaluation.embedding import embed_anew
from keras_ltssl.samplers.pool_choice import PoolChoice
from keras_ltssl.validation import (
    LARGEST_SEED,
    check_choice,
    check_integer,
    check_integer_or_none,
    check_path,
)

Array = np.ndarray[Any, Any]


class PoolSampler(keras.callbacks.Callback, abc.ABC):
    """Base class of callbacks that choose samples of a pool.

    In the epochs that `start` and `interval` name, it embeds the training set
    and the pool with `model.encoder`, without augmentation, calls `choose`, and
    assigns the result to `data.chosen`. A subclass implements `choose` and sets
    `choice_type`, a `PoolChoice` that also has `budgets`, the number of rows
    chosen for each cluster.

    A `ContrastiveModel` knows what `fit` trains on. If that is an array or a
    dataset of this package other than `data`, training is refused. In all other
    cases there is a warning if the first epoch reads no batch of `data`.

    Args:
        data: The `datasets.MixedBatches` that the model trains on. Pass it to
            `fit`, or pass a pipeline that reads from it.
        start: Epoch of the first choice, integer >= `first_epoch`. Defaults
            to `0`.
        interval: Epochs from one choice to the next, integer >= 1. `None` makes
            a single choice, at `start`. A run that begins after `start` without
            a choice makes it in its first epoch. Defaults to `None`.
        budget: Number of samples to choose, integer from 1 to `data.budget`.
            Defaults to `None`, which is `data.budget`.
        num_clusters: Clusters of the training set, integer >= 1, for a subclass
            that uses them. Defaults to `1`.
        pool_subset: Number of pool samples to embed, drawn anew for each
            choice, integer >= budget. Defaults to `None`, the whole pool.
        batch_size: Samples embedded at a time, integer >= 1. Defaults to `256`.
        seed: Seed of the subsets, integer >= 0. Defaults to `0`.
        verbose: `1` shows progress and the budgets. Defaults to `0`.
        first_epoch: Smallest value of `start`. Defaults to `0`.
        features_folder: Folder for the features of a choice, so that an
            embedding that was killed goes on where it was. It is for one run,
            and each choice replaces the features of the one before. Defaults
            to `None`: features are in memory only.

    Raises:
        ValueError: If an argument is out of range, the model has no encoder, or
            `fit` trains on another dataset.

    Example:

    >>> import dataclasses
    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> @dataclasses.dataclass(frozen=True, eq=False)
    ... class First(lt.samplers.PoolChoice):
    ...     budgets: np.ndarray
    >>> class FirstSampler(lt.callbacks.PoolSampler):
    ...     choice_type = First
    ...
    ...     def choose(self, id_features, pool_features, rows, epoch):
    ...         return First(np.arange(self.budget), np.array([self.budget]))
    >>> images = np.zeros((8, 4, 4, 3), "uint8")
    >>> data = lt.datasets.MixedBatches(images, images, 2, batch_size=4)
    >>> FirstSampler(data).budget
    2
    """

    choice_type: type[PoolChoice]

    def __init__(
        self,
        data: MixedBatches,
        start: int = 0,
        interval: int | None = None,
        budget: int | None = None,
        num_clusters: int = 1,
        pool_subset: int | None = None,
        batch_size: int = 256,
        seed: int = 0,
        verbose: int = 0,
        first_epoch: int = 0,
        features_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(data, MixedBatches):
            raise ValueError(
                "`data` must be the keras_ltssl.datasets.MixedBatches that the "
                f"model trains on. Received: data={data!r}"
            )
        if budget is None:
            budget = data.budget
        self.data = data
        self.start = check_integer("start", start, minimum=first_epoch)
        self.interval = check_integer_or_none("interval", interval, minimum=1)
        self.budget = check_integer("budget", budget, 1, data.budget)
        self.num_clusters = check_integer(
            "num_clusters", num_clusters, 1, len(data.id_rows)
        )
        self.pool_subset = check_integer_or_none(
            "pool_subset", pool_subset, self.budget, len(data.pool_rows)
        )
        self.batch_size = check_integer("batch_size", batch_size, minimum=1)
        self.seed = check_integer("seed", seed, 0, LARGEST_SEED)
        self.verbose = check_choice("verbose", verbose, VERBOSE)
        if features_folder is not None:
            check_path("features_folder", features_folder)
        self.features_folder = features_folder
        self.choice: Any = None
        self.sampled_epochs: list[int] = []
        self._seconds = 0.0
        self._reads_before: int | None = None

    @abc.abstractmethod
    def choose(
        self,
        id_features: Array,
        pool_features: Array,
        rows: Array,
        epoch: int,
    ) -> PoolChoice:
        """Chooses among some rows of the pool.

        Args:
            id_features: `(id_samples, features)`, of the training set.
            pool_features: `(len(rows), features)`, of these rows of the pool.
            rows: Rows of the pool to choose from, ascending.
            epoch: The epoch that begins.

        Returns:
            A `choice_type` whose indices count within `rows`.
        """

    def check_model(self) -> None:
        """Raises if the model lacks something that a choice needs."""

    def get_state(self) -> dict[str, Array]:
        """Returns the current choice as arrays, for a checkpoint."""
        return {} if self.choice is None else dict(self.choice.to_arrays())

    def set_state(self, state: dict[str, Array]) -> None:
        """Restores a choice that `get_state` returned.

        Args:
            state: Arrays that `get_state` returned.
        """
        self.choice = self.choice_type.from_arrays(state) if state else None
        self.data.chosen = (
            np.zeros(0, "int64") if self.choice is None else self.choice.indices
        )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        name = type(self).__name__
        if getattr(self.model, "encoder", None) is None:
            raise ValueError(
                f"{name} embeds with `model.encoder`. Received a "
                f"{type(self.model).__name__} without one"
            )
        rank = len(getattr(self.model.encoder, "input_shape", ())) - 1
        if rank > 0 and rank != len(self.data.id_rows.shape):
            raise ValueError(
                f"{name} passes samples to the encoder without augmentation, "
                "so the model must make the views with its `augmenter`. "
                "Received: "
                f"samples of shape {self.data.id_rows.shape} for an encoder "
                f"with inputs {self.model.encoder.input_shape}"
            )
        self._check_data()
        self.check_model()
        epochs = self.params.get("epochs")
        if epochs is not None and self.start >= epochs:
            warnings.warn(
                f"{name} first chooses at epoch {self.start}, but training "
                f"ends at epoch {epochs}, so it never chooses. Lower `start`.",
                stacklevel=2,
            )

    def _check_data(self) -> None:
        """Raises if `fit` certainly trains on another dataset."""
        # The `x` of `fit`. Keras' own models do not store it; it is None in a
        # custom training loop.
        x = getattr(self.model, "training_data", ...)
        self._reads_before = None if x is None else self.data.num_batches_read
        if x is self.data:
            return
        if isinstance(
            x, EpochBatches | np.ndarray | list | tuple | dict
        ) or ops.is_tensor(x):
            raise ValueError(
                f"{type(self).__name__} chooses for another dataset than "
                "`fit` trains on, so its choice would not be trained on. "
                "Pass the same object to both: `fit(data, ...)`. Received: "
                f"data={self.data!r}, and in `fit` x of type "
                f"{type(x).__name__}"
            )

    def _warn_if_unread(self) -> None:
        """Warns once if the first epoch read no batch of the data."""
        before, self._reads_before = self._reads_before, None
        if before is not None and self.data.num_batches_read == before:
            warnings.warn(
                f"No batch of the `data` of {type(self).__name__} was read in "
                "the first epoch by this process, so its choice may never be "
                "trained on. Pass `data` to `fit`, or a pipeline that reads "
                "it.",
                stacklevel=2,
            )

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._seconds = 0.0
        since = epoch - self.start
        if self.interval is None:
            # A run that begins later chooses too, unless it resumes a choice.
            is_due = since == 0 or (since > 0 and self.choice is None)
        else:
            is_due = since >= 0 and since % self.interval == 0
        if is_due:
            begin = time.perf_counter()
            self._choose(epoch)
            self._seconds = time.perf_counter() - begin

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._warn_if_unread()
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

    def _embed(self, name: str, samples: Rows, rows: Array) -> Array:
        """Returns the features of some rows."""
        encoder = self.model.encoder
        if self.features_folder is None:
            return embed_rows(
                encoder, samples, self.batch_size, self.verbose, rows
            )
        # Each process embeds all, for a choice of its own.
        index, _ = processes.process()
        path = Path(self.features_folder) / f"{name}_features_{index}.npy"
        return embed_anew(
            encoder,
            SelectedRows(samples, rows),
            path,
            self.batch_size,
            self.verbose,
        )

    def _choose(self, epoch: int) -> None:
        id_rows, pool_rows = self.data.id_rows, self.data.pool_rows
        rows = np.arange(len(pool_rows))
        if self.pool_subset is not None:
            random = np.random.default_rng([self.seed, epoch])
            rows = np.sort(random.choice(rows, self.pool_subset, replace=False))
        if self.verbose:
            print(
                f"Embedding {len(id_rows)} training images and "
                f"{len(rows)} of the pool"
            )
        choice = self.choose(
            self._embed("training", id_rows, np.arange(len(id_rows))),
            self._embed("pool", pool_rows, rows),
            rows,
            epoch,
        )
        choice = dataclasses.replace(choice, indices=rows[choice.indices])
        choice = processes.of_first(choice)
        self.choice = choice
        self.data.chosen = choice.indices
        self.sampled_epochs.append(epoch)
        if self.verbose:
            print(
                f"Chose {len(choice.indices)} of {len(rows)} pool images "
                f"for {self.num_clusters} clusters: "
                f"{self.choice.budgets.tolist()}"
            )
