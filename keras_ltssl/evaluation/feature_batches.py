"""Batches of standardized features, read from memory or from a file."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks
from keras_ltssl.evaluation.labeled_features import as_float_rows

# Rows that are read at a time: few reads, also where rows lie in a file.
RUN = 256

# Entries shuffled at a time: 128 MiB of float32.
SHUFFLED = 2**25


class Standardizer:
    """Scales features to mean 0 and deviation 1; a constant one becomes 0.

    Args:
        mean: Array of shape `(features,)`.
        deviation: Array of shape `(features,)`.
    """

    def __init__(self, mean: NDArray[Any], deviation: NDArray[Any]):
        self.mean = mean
        self.scale = np.where(
            deviation > 0, 1 / np.where(deviation, deviation, 1), 0
        )

    @classmethod
    def of(
        cls, features: NDArray[Any], rows: NDArray[np.int64]
    ) -> "Standardizer":
        """Returns that of some rows, read twice, a block at a time."""
        dim = features.shape[1]
        mean = np.zeros(dim)
        for chosen in blocks(len(rows), dim):
            mean += features[rows[chosen]].sum(axis=0, dtype="float64")
        mean /= len(rows)
        squares = np.zeros(dim)
        for chosen in blocks(len(rows), dim):
            difference = features[rows[chosen]] - mean
            squares += np.einsum("nd,nd->d", difference, difference)
        deviation = np.sqrt(squares / len(rows))
        # Rounding is no deviation.
        noise = 8 * np.finfo("float64").eps * np.abs(mean)
        return cls(mean, np.where(deviation > noise, deviation, 0))

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Returns rows in float32."""
        scaled = (as_float_rows(rows) - self.mean) * self.scale
        return np.asarray(scaled, dtype=np.float32)


class FeatureBatches(keras.utils.PyDataset):
    """Yields `(features, labels)` in a new order each epoch.

    The order is that of runs of 256 neighbors, dealt at random to groups that
    fit into memory, and shuffled inside a group. What is left of an epoch after
    its last whole batch is left out; it is another remainder each epoch.

    Args:
        features: Real array of shape `(samples, features)`.
        labels: Integer array of shape `(samples,)`.
        rows: The rows to take, rising.
        standardizer: Scales each batch.
        batch_size: Rows of a batch, at most as many as there are.
        seed: Seed of the order.
    """

    def __init__(
        self,
        features: NDArray[Any],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        standardizer: Standardizer,
        batch_size: int,
        seed: int,
    ):
        super().__init__()
        self.features = features
        self.labels = labels
        self.rows = rows
        self.standardizer = standardizer
        self.batch_size = min(batch_size, len(rows))
        wanted = SHUFFLED // features.shape[1]
        # A group holds whole runs and whole batches.
        self.batches_a_group = max(1, wanted // self.batch_size)
        self.seed = seed
        self.epoch = 0
        self._group: int | None = None
        self._shuffle()

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def __getitem__(
        self, index: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        group, place = divmod(index, self.batches_a_group)
        if group != self._group:
            self._read(group)
        start = place * self.batch_size
        batch = slice(start, start + self.batch_size)
        return (
            self.standardizer(self._features[batch]),
            self._labels[batch].astype("int32"),
        )

    def on_epoch_end(self) -> None:
        """Draws the order of the next epoch."""
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        generator = np.random.default_rng([self.seed, self.epoch])
        starts = RUN * generator.permutation(-(-len(self.rows) // RUN))
        self._order = np.concatenate(
            [self.rows[start : start + RUN] for start in starts]
        )
        self._group = None

    def _read(self, group: int) -> None:
        size = self.batches_a_group * self.batch_size
        # Rising, so that a run is one stretch of the file.
        rows = np.sort(self._order[group * size : (group + 1) * size])
        generator = np.random.default_rng([self.seed, self.epoch, group])
        order = generator.permutation(len(rows))
        self._features = self.features[rows][order]
        self._labels = self.labels[rows][order]
        self._group = group
