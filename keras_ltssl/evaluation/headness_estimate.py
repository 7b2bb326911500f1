"""Estimates without labels whether a sample is of a frequent kind."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import (
    as_features,
    as_floats,
    blocks,
    rescaled,
    unit_rows,
)
from keras_ltssl.evaluation.neighbor_density import neighbor_density
from keras_ltssl.samplers.kmeans import unit_clusters
from keras_ltssl.validation import check_integer

NAMED_ESTIMATES = ("density", "share", "typicality")
# Default number of rows to search for neighbors and to fit centers on. It is
# enough for a tail of thousandths, and 100,000 samples take seconds.
MAX_BANK = 2**14

# Cluster of each sample, and center of each cluster.
Clustering: TypeAlias = tuple[NDArray[np.int64], NDArray[Any]]
EstimateFunction: TypeAlias = Callable[[Any, int], ArrayLike]
Estimate: TypeAlias = (
    Literal["density", "share", "typicality"] | EstimateFunction | ArrayLike
)


def headness_estimate(
    features: Any,
    estimate: Literal["density", "share", "typicality"] = "density",
    num_neighbors: int = 50,
    num_clusters: int = 50,
    max_bank: int = MAX_BANK,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Estimates without labels whether samples are of frequent kinds.

    The estimates are this package's own design:

    - `"density"`: mean cosine of a sample to its `num_neighbors` nearest
      others. A sample of a frequent kind has many near ones.
    - `"share"`: share of all samples that are in the sample's cluster, of
      `num_clusters` by spherical k-means. Clusters of k-means are of similar
      size, so a class of many samples fills several of them.
    - `"typicality"`: cosine of a sample to the center of its cluster. A kind
      that is too rare for a cluster of its own lies far from all centers.

    Scores of different estimates have different units: compare their order.
    `tail_diagnosis` says where they fail.

    `features` are read block by block, and may be a `numpy.memmap`; memory
    beyond them grows with `max_bank * dim`. Cosines are float32, so scores that
    differ by less than about 1e-6 are equal. A zero row has the cosine 0 to
    all.

    Args:
        features: Finite real array of shape `(samples, dim)`; lengths of rows
            do not matter.
        estimate: `"density"`, `"share"` or `"typicality"`. Defaults to
            `"density"`.
        num_neighbors: Neighbors of a sample, for `"density"`; less than
            `samples` and `max_bank`. Defaults to `50`.
        num_clusters: Clusters, for the other two; at most `samples` and
            `max_bank`. Defaults to `50`.
        max_bank: Of more samples, neighbors are looked for in a random part
            of this size, and centers of clusters are found on such a part. So
            the `num_neighbors` nearest come from a wider neighborhood.
            Defaults to `2**14`.
        seed: Seed of the random parts and of k-means, integer >= 0. Defaults
            to `0`.

    Returns:
        float64 array of shape `(samples,)`, low in the tail.

    Raises:
        ValueError: If an argument is out of range, or a feature is NaN or
            infinite.

    Example:

    >>> from keras_ltssl.evaluation import headness_estimate
    >>> features = [[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 1.0]]
    >>> scores = headness_estimate(features, num_neighbors=2)
    >>> scores.round(2).tolist()
    [1.0, 0.99, 0.99, 0.05]
    """
    if not isinstance(estimate, str):
        raise ValueError(
            f"`estimate` must be one of {list(NAMED_ESTIMATES)}. Received: "
            f"{type(estimate).__name__} (scores need no estimate)"
        )
    check_name(estimate)
    check_integer("num_neighbors", num_neighbors, minimum=1)
    check_integer("num_clusters", num_clusters, minimum=1)
    rows = checked_features(features)
    bank = min(check_integer("max_bank", max_bank, minimum=1), len(rows))
    start = check_integer("seed", seed, minimum=0)
    clusterings: list[Clustering] = []
    if estimate == "density":
        check_neighbors(num_neighbors, bank)
    else:
        check_clusters(num_clusters, bank)
        clusterings = cluster_runs(rows, num_clusters, bank, [start])
    runs = named_runs(rows, estimate, num_neighbors, bank, clusterings, [start])
    return np.asarray(runs[0])


def checked_features(features: Any) -> NDArray[Any]:
    """A finite real array `(samples, dim)` that is not copied."""
    rows = as_features(features, "features")
    for some in blocks(*rows.shape):
        rescaled(as_floats(rows[some]), "features", some.start)
    return rows


def check_name(estimate: str) -> None:
    """Raises unless there is an estimate of that name."""
    if estimate not in NAMED_ESTIMATES:
        raise ValueError(
            f"`estimate` must be one of {list(NAMED_ESTIMATES)}. Received: "
            f"estimate={estimate!r}"
        )


def check_neighbors(num_neighbors: int, bank: int) -> None:
    """Raises if the bank has too few rows for so many neighbors."""
    if check_integer("num_neighbors", num_neighbors, minimum=1) >= bank:
        raise ValueError(
            "`num_neighbors` must be less than the samples, and than "
            f"`max_bank`. Received: num_neighbors={num_neighbors}, and {bank} "
            "samples to look in"
        )


def check_clusters(num_clusters: int, most: int) -> None:
    """Raises if there are more clusters than rows."""
    if check_integer("num_clusters", num_clusters, minimum=1) > most:
        raise ValueError(
            "`num_clusters` must not exceed the samples that centers are found "
            f"on. Received: num_clusters={num_clusters}, and {most} samples"
        )


def cluster_runs(
    rows: NDArray[Any], num_clusters: int, bank: int, seeds: list[int]
) -> list[Clustering]:
    """Spherical k-means on the bank, then on random halves of that many."""
    return [
        unit_clusters(
            rows,
            "features",
            num_clusters,
            seed,
            "sklearn",
            bank // 2 if run else bank,
        )
        for run, seed in enumerate(seeds)
    ]


def named_runs(
    rows: NDArray[Any],
    estimate: str,
    num_neighbors: int,
    bank: int,
    clusterings: list[Clustering],
    seeds: list[int],
) -> NDArray[np.float64]:
    """Returns a named estimate, then re-runs from halves, `(runs, samples)`.

    The clusterings are those of the runs, or none for `"density"`.
    """
    if estimate == "share":
        return np.stack([_shares(*found) for found in clusterings])
    if estimate == "typicality":
        return np.stack([_typicality(rows, *found) for found in clusterings])
    random = np.random.default_rng(seeds[0])
    bank_rows = np.arange(len(rows))
    if bank < len(rows):
        # A file is read in its order.
        bank_rows = np.sort(random.choice(len(rows), bank, replace=False))
    halves = np.zeros((len(seeds) - 1, bank), "bool")
    for half, seed in zip(halves, seeds[1:], strict=True):
        chosen = np.random.default_rng(seed).permutation(bank)[: bank // 2]
        half[chosen] = True
    return neighbor_density(rows, num_neighbors, bank_rows, halves)


def _shares(
    labels: NDArray[np.int64], centers: NDArray[Any]
) -> NDArray[np.float64]:
    sizes = np.bincount(labels, minlength=len(centers))
    return np.asarray(sizes[labels] / len(labels))


def _typicality(
    rows: NDArray[Any], labels: NDArray[np.int64], centers: NDArray[Any]
) -> NDArray[np.float64]:
    middles = unit_rows(centers, "centers")
    cosines = np.empty(len(rows))
    for some in blocks(*rows.shape):
        units = unit_rows(rows[some], "features")
        cosines[some] = np.einsum("nd,nd->n", units, middles[labels[some]])
    return cosines
