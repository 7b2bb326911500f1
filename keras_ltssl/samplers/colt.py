"""Chooses out-of-distribution samples that re-balance the tail (COLT)."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import (
    as_features,
    as_scores,
    blocks,
    check_row_count,
    check_same_dim,
    unit_rows,
)
from keras_ltssl.samplers.cluster_budgets import (
    cluster_budgets,
    cluster_scores,
)
from keras_ltssl.samplers.kmeans import (
    MAX_ROWS,
    Engine,
    unit_clusters,
)
from keras_ltssl.samplers.nearest_to_centers import take_nearest
from keras_ltssl.samplers.pool_choice import PoolChoice
from keras_ltssl.samplers.rank_in_band import rank_in_band
from keras_ltssl.validation import check_number


@dataclasses.dataclass(frozen=True, eq=False)
class OODChoice(PoolChoice):
    """Holds which pool rows were chosen for which cluster of ID samples.

    Args:
        indices: `int64` array of shape `(budget,)`: chosen rows of the pool in
            cluster order, within a cluster the nearest first.
        labels: `int64` array of shape `(id_samples,)`: the cluster of each ID
            sample.
        cosines: Float array of shape `(id_samples,)`: cosine of each ID
            sample to the center of its cluster.
        centers: Float array of shape `(num_clusters, dim)`.
        cluster_scores: `float64` array of shape `(num_clusters,)`: mean score
            of each cluster's members, low in the tail; NaN without members.
            With a `band`, of their ranks in the band.
        budgets: `int64` array of shape `(num_clusters,)`: how many of `indices`
            each cluster took.

    Raises:
        ValueError: If the arrays do not fit together.

    Example:

    >>> import numpy as np
    >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> pool = np.array([[0.0, 2.0], [2.0, 0.1], [0.2, 1.0], [0.1, 1.0]])
    >>> choice = choose_colt(
    ...     features, pool, scores=[0.8, 0.9, 0.1], budget=3, num_clusters=2
    ... )
    >>> tail = choice.tail_first[0]
    >>> choice.id_rows(tail).tolist(), choice.pool_rows(tail)[:2].tolist()
    ([2], [0, 3])
    """

    labels: NDArray[np.int64]
    cosines: NDArray[Any]
    centers: NDArray[Any]
    cluster_scores: NDArray[np.float64]
    budgets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.centers.ndim != 2:
            raise ValueError(
                "`centers` must have shape (num_clusters, dim). Received: "
                f"shape={self.centers.shape}"
            )
        clusters = (len(self.centers),)
        for name in ("cluster_scores", "budgets"):
            if getattr(self, name).shape != clusters:
                raise ValueError(
                    f"`{name}` must have shape {clusters}, as there are "
                    f"`centers`. Received: shape={getattr(self, name).shape}"
                )
        if self.indices.shape != (self.budgets.sum(),):
            raise ValueError(
                "`indices` must have shape (sum(budgets),) = "
                f"({self.budgets.sum()},). Received: "
                f"shape={self.indices.shape}"
            )
        if self.labels.ndim != 1 or self.labels.shape != self.cosines.shape:
            raise ValueError(
                "`labels` and `cosines` must both have shape (id_samples,). "
                f"Received: {self.labels.shape} and {self.cosines.shape}"
            )

    @property
    def num_clusters(self) -> int:
        """How many clusters there are, those without members included."""
        return len(self.centers)

    @property
    def tail_first(self) -> NDArray[np.int64]:
        """Returns clusters from the lowest score, the tail, up; NaN comes last.

        Returns:
            int64 array of shape `(num_clusters,)`.
        """
        return np.argsort(self.cluster_scores, kind="stable")

    def pool_rows(self, cluster: int) -> NDArray[np.int64]:
        """Returns the pool rows chosen for a cluster, nearest first.

        Args:
            cluster: Integer in 0 to `num_clusters - 1`.

        Returns:
            int64 array of shape `(budgets[cluster],)`.

        Raises:
            ValueError: If there is no such cluster.
        """
        self._check_cluster(cluster)
        end = self.budgets[: cluster + 1].sum()
        return self.indices[end - self.budgets[cluster] : end]

    def id_rows(self, cluster: int) -> NDArray[np.int64]:
        """Returns the ID samples of a cluster, nearest to its center first.

        Args:
            cluster: Integer in 0 to `num_clusters - 1`.

        Returns:
            int64 array of shape `(members,)`.

        Raises:
            ValueError: If there is no such cluster.
        """
        self._check_cluster(cluster)
        members = np.flatnonzero(self.labels == cluster)
        order = np.argsort(-self.cosines[members], kind="stable")
        return members[order]

    def _check_cluster(self, cluster: int) -> None:
        if not 0 <= cluster < self.num_clusters:
            raise ValueError(
                f"`cluster` must be in 0 to {self.num_clusters - 1}. "
                f"Received: cluster={cluster!r}"
            )


def choose_colt(
    id_features: ArrayLike,
    pool_features: ArrayLike,
    scores: ArrayLike,
    budget: int,
    num_clusters: int = 10,
    temperature: float = 1.0,
    seed: int = 0,
    engine: Engine = None,
    max_rows: int = MAX_ROWS,
    band: tuple[float, float] | None = None,
) -> OODChoice:
    """Chooses OOD samples that lie where the in-distribution set is thin.

    As COLT does: k-means on the L2-normalized ID features; a budget for each
    cluster, the larger the lower the mean score of its members
    (`cluster_budgets`); then the pool rows nearest to each center
    (`nearest_to_centers`).

    Features are read block by block, and normalized as they are read. In memory
    are `max_rows` ID features at most, and a few numbers for every row.

    Args:
        id_features: Finite real array of shape `(id_samples, dim)`: the ID
            training set, embedded without augmentation; it may be a
            `numpy.memmap`.
        pool_features: Real array of shape `(pool_rows, dim)`: the OOD pool,
            embedded alike; it may be a `numpy.memmap`.
        scores: Finite float array of shape `(id_samples,)`, low for samples of
            the tail, such as the running mean of `losses.tail_score`.
        budget: OOD samples to choose, integer in 0 to `pool_rows`.
        num_clusters: Clusters of ID samples, integer in 1 to `id_samples`.
            Defaults to `10`.
        temperature: Of the softmax over cluster scores, positive float.
            Defaults to `1.0`.
        seed: Seed of k-means, integer >= 0. Defaults to `0`.
        engine: Of k-means, `"sklearn"` or `"faiss"`. Defaults to `None`: faiss
            where it is installed.
        max_rows: ID samples that k-means finds centers on, at most, see
            `kmeans`. Defaults to `2**20`.
        band: Percentiles `(low, high)` of rarity. If given, the scores are
            those of `rank_in_band`, so that the score of a cluster says how
            many of its members are in the band, and how deep in it. Outliers
            above the band count as little as samples below it. Defaults to
            `None`, the scores as they are.

    Returns:
        An `OODChoice`.

    Raises:
        ImportError: If `engine="faiss"` and faiss is missing.
        ValueError: If an array is empty, shapes do not fit, an argument is out
            of range, or a number is NaN or infinite.

    Example:

    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> choice = choose_colt(
    ...     id_features=random.normal(size=(60, 4)),
    ...     pool_features=random.normal(size=(200, 4)),
    ...     scores=random.random(60),
    ...     budget=50,
    ...     num_clusters=3,
    ... )
    >>> len(set(choice.indices.tolist())), int(choice.budgets.sum())
    (50, 50)

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """
    samples = as_features(id_features, "id_features")
    pool = as_features(pool_features, "pool_features")
    values = as_scores(scores)
    check_number("temperature", temperature, above=0)
    check_same_dim(samples, "id_features", pool, "pool_features")
    if len(values) != len(samples):
        raise ValueError(
            "`scores` must hold one number for each row of `id_features`. "
            f"Received: {len(values)} scores for {len(samples)} rows"
        )
    check_row_count("budget", budget, 0, pool, "pool_features")
    check_row_count("num_clusters", num_clusters, 1, samples, "id_features")
    if band is not None:
        values = rank_in_band(values, band)
    labels, centers = unit_clusters(
        samples, "id_features", num_clusters, seed, engine, max_rows
    )
    budgets = cluster_budgets(values, labels, num_clusters, budget, temperature)
    directions = unit_rows(centers, "centers")
    cosines = np.empty(len(samples), centers.dtype)
    for some in blocks(*samples.shape):
        units = unit_rows(samples[some], "id_features")
        cosines[some] = np.einsum("nd,nd->n", units, directions[labels[some]])
    return OODChoice(
        indices=take_nearest(pool, centers, budgets, "pool_features"),
        labels=labels,
        cosines=cosines,
        centers=centers,
        cluster_scores=cluster_scores(values, labels, num_clusters),
        budgets=budgets,
    )
