"""Chooses pool samples of the tail, near the training set, diverse (MAK)."""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from keras_ltssl.arrays import (
    as_features,
    as_scores,
    blocks,
    check_row_count,
    check_same_dim,
    rescaled,
    unit_rows,
)
from keras_ltssl.samplers.greedy_k_centers import take_farthest
from keras_ltssl.samplers.kmeans import MAX_ROWS, Engine, unit_clusters
from keras_ltssl.samplers.pool_choice import PoolChoice
from keras_ltssl.validation import check_number

# Equal losses, and equal cosine distances, differ by this much by rounding.
ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class MAKChoice(PoolChoice):
    """Holds which rows of a pool MAK chose, with their scores.

    Args:
        indices: `int64` array of shape `(budget,)`: chosen rows of the pool, in
            the order of the greedy k-center: the first cover it most.
        losses: `float64` array of shape `(budget,)`: contrastive loss of each,
            high in the tail.
        distances: `float64` array of shape `(budget,)`: 1 - cosine of each to
            the nearest of `centers`.
        scores: `float64` array of shape `(budget,)`: both, standardized over
            the pool, one minus the other.
        clusters: `int64` array of shape `(budget,)`: which of `centers` is the
            nearest.
        centers: Float array of shape `(num_clusters, dim)`: means of the
            clusters of ID samples.

    Raises:
        ValueError: If the arrays do not fit together.

    Example:

    >>> import numpy as np
    >>> pool = np.array([[1.0, 0.1], [-1.0, 0.0], [0.2, 1.0], [1.0, 0.0]])
    >>> choice = choose_mak(
    ...     np.eye(2), pool, [3.0, 2.0, 3.0, 1.0], budget=2, num_clusters=2
    ... )
    >>> choice.indices.tolist(), choice.losses.tolist()
    ([2, 0], [3.0, 3.0])
    """

    losses: NDArray[np.float64]
    distances: NDArray[np.float64]
    scores: NDArray[np.float64]
    clusters: NDArray[np.int64]
    centers: NDArray[Any]

    def __post_init__(self) -> None:
        if self.centers.ndim != 2:
            raise ValueError(
                "`centers` must have shape (num_clusters, dim). Received: "
                f"shape={self.centers.shape}"
            )
        if self.indices.ndim != 1:
            raise ValueError(
                "`indices` must have shape (budget,). Received: "
                f"shape={self.indices.shape}"
            )
        for name in ("losses", "distances", "scores", "clusters"):
            shape = getattr(self, name).shape
            if shape != self.indices.shape:
                raise ValueError(
                    f"`{name}` must have shape {self.indices.shape}, as there "
                    f"are `indices`. Received: shape={shape}"
                )
        if len(self.clusters) and not (
            self.clusters.min() >= 0 and self.clusters.max() < len(self.centers)
        ):
            raise ValueError(
                f"`clusters` must lie in 0 to {len(self.centers) - 1}, as "
                f"there are `centers`. Received: {self.clusters.min()} to "
                f"{self.clusters.max()}"
            )

    @property
    def budgets(self) -> NDArray[np.int64]:
        """Returns how many of the chosen rows are nearest to each center.

        Returns:
            int64 array of shape `(num_clusters,)`.
        """
        return np.bincount(self.clusters, minlength=len(self.centers))


def choose_mak(
    id_features: ArrayLike,
    pool_features: ArrayLike,
    pool_losses: ArrayLike,
    budget: int,
    num_clusters: int = 10,
    candidate_factor: float = 1.5,
    seed: int = 0,
    engine: Engine = None,
    max_rows: int = MAX_ROWS,
) -> MAKChoice:
    """Chooses pool samples that are hard, near the ID samples, and diverse.

        score_i = zscore(loss_i) - zscore(distance_i)

    As MAK (Model-Aware K-center) does: the loss says how far a sample is in
    the tail; the distance, 1 - cosine to the nearest of the k-means centers of
    the ID features, keeps away what has nothing to do with them. Both are
    standardized over the pool, by the standard deviation with divisor n. Of
    the `candidate_factor · budget` rows with the highest scores (rounded
    down, and at most the whole pool) `greedy_k_centers` takes `budget`, each
    the farthest from all ID samples and all rows taken before it. All features
    are L2-normalized first; a zero row stays zero.

    Losses that are all equal, or distances, say nothing and count as 0. Of
    equal scores, and of equally far rows, the lower index comes first.

    Features are read block by block, and normalized as they are read. In memory
    are `max_rows` ID features at most, `candidate_factor · budget` features of
    the pool, and a few numbers for every row.

    Args:
        id_features: Finite real array of shape `(id_samples, dim)`: the ID
            training set, embedded without augmentation; it may be a
            `numpy.memmap`.
        pool_features: Real array of shape `(pool_rows, dim)`: the pool,
            embedded alike; it may be a `numpy.memmap`.
        pool_losses: Finite real array of shape `(pool_rows,)`: contrastive
            loss of each row of the pool, the mean of several passes (10 as
            published), each with views of its own.
        budget: Pool samples to choose, integer in 0 to `pool_rows`.
        num_clusters: Clusters of ID samples, integer in 1 to `id_samples`.
            Defaults to `10`.
        candidate_factor: How many times the budget is left to choose from by
            diversity, finite and >= 1. Defaults to `1.5`.
        seed: Seed of k-means, integer >= 0. Defaults to `0`.
        engine: Of k-means, `"sklearn"` or `"faiss"`. Defaults to `None`: faiss
            where it is installed.
        max_rows: ID samples that k-means finds centers on, at most, see
            `kmeans`. Defaults to `2**20`.

    Returns:
        A `MAKChoice`.

    Raises:
        ImportError: If `engine="faiss"` and faiss is missing.
        ValueError: If an array is empty, shapes do not fit, an argument is out
            of range, or a number is NaN or infinite.

    Example:

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> choice = choose_mak(
    ...     id_features=random.normal(size=(60, 4)),
    ...     pool_features=random.normal(size=(200, 4)),
    ...     pool_losses=random.random(200),
    ...     budget=50,
    ...     num_clusters=3,
    ... )
    >>> len(set(choice.indices.tolist())), choice.losses.mean().item() > 0.5
    (50, True)

    Reference:
        - [Improving Contrastive Learning on Imbalanced Seed Data via
          Open-World Sampling](https://arxiv.org/abs/2111.01004), Jiang et al.,
          NeurIPS 2021
    """
    samples = as_features(id_features, "id_features")
    pool = as_features(pool_features, "pool_features")
    losses = as_scores(pool_losses, "pool_losses")
    check_same_dim(samples, "id_features", pool, "pool_features")
    if len(losses) != len(pool):
        raise ValueError(
            "`pool_losses` must hold one number for each row of "
            f"`pool_features`. Received: {len(losses)} losses for {len(pool)} "
            "rows"
        )
    check_row_count("budget", budget, 0, pool, "pool_features")
    check_row_count("num_clusters", num_clusters, 1, samples, "id_features")
    check_number("candidate_factor", candidate_factor, minimum=1)
    _, centers = unit_clusters(
        samples, "id_features", num_clusters, seed, engine, max_rows
    )
    clusters, distances = _nearest_center(pool, centers)
    scores = _standardized(losses, np.abs(losses).max())
    scores -= _standardized(distances, 1.0)
    # Rounded first: 1.15 * 100 is a little less than 115.
    count = math.floor(round(min(candidate_factor * budget, len(pool)), 6))
    best = np.sort(np.argsort(-scores, kind="stable")[:count])
    indices = np.zeros(0, "int64")
    if count:
        candidates = unit_rows(np.asarray(pool[best]), "pool_features")
        indices = best[
            take_farthest(candidates, budget, samples, unit_length=True)
        ]
    return MAKChoice(
        indices=indices,
        losses=losses[indices],
        distances=distances[indices],
        scores=scores[indices],
        clusters=clusters[indices],
        centers=centers,
    )


def _nearest_center(
    pool: NDArray[Any], centers: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest center of each row, and 1 - cosine to it."""
    columns = unit_rows(centers.astype("float64"), "centers").T
    clusters = np.empty(len(pool), "int64")
    distances = np.empty(len(pool))
    # Reading the pool takes longer than multiplying it, see
    # `nearest_to_centers`.
    with threadpool_limits(1, user_api="blas"):
        for part in blocks(*pool.shape):
            block, squares = rescaled(
                np.asarray(pool[part], "float64"), "pool_features", part.start
            )
            lengths = np.sqrt(squares)
            lengths[squares == 0] = 1
            cosines = (block @ columns) / lengths[:, np.newaxis]
            clusters[part] = cosines.argmax(axis=1)
            distances[part] = 1 - cosines.max(axis=1)
    return clusters, distances


def _standardized(
    values: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Mean 0 and standard deviation 1, or all 0 for values that are equal."""
    if np.ptp(values) <= ROUNDING * scale:
        return np.zeros(len(values))
    return np.asarray((values - values.mean()) / values.std())
