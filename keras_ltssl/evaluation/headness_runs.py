"""The estimates of headness by name, computed once or for several halves."""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import (
    as_features,
    as_floats,
    blocks,
    percentiles,
    rescaled,
    unit_rows,
)
from keras_ltssl.evaluation.adaptive_mass import adaptive_mass
from keras_ltssl.evaluation.kernel_density import kernel_density
from keras_ltssl.evaluation.neighbor_density import neighbor_density
from keras_ltssl.samplers.kmeans import unit_clusters
from keras_ltssl.validation import check_integer

NAMED_ESTIMATES = (
    "density",
    "kernel_density",
    "adaptive_mass",
    "rank_mean",
    "share",
    "typicality",
)
OF_CLUSTERS = ("share", "typicality")
# Neighbors of a sample unless told otherwise. A kernel density needs another
# sample, but no number of neighbors.
NUM_NEIGHBORS = {
    "density": 50,
    "kernel_density": 1,
    "adaptive_mass": 10,
    "rank_mean": 10,
}
BANDWIDTH = 0.2
MARGIN = 0.25
# Default number of rows to search for neighbors and to fit centers on. It is
# enough for a tail of thousandths, and 100,000 samples take seconds.
MAX_BANK = 2**14

# Cluster of each sample, and center of each cluster.
Clustering: TypeAlias = tuple[NDArray[np.int64], NDArray[Any]]
EstimateFunction: TypeAlias = Callable[[Any, int], ArrayLike]
NamedEstimate: TypeAlias = Literal[
    "density",
    "kernel_density",
    "adaptive_mass",
    "rank_mean",
    "share",
    "typicality",
]
Estimate: TypeAlias = NamedEstimate | EstimateFunction | ArrayLike


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


def checked_neighbors(
    estimate: str, num_neighbors: int | None, bank: int
) -> int:
    """Returns how many neighbors an estimate looks for in the bank.

    It is 0 for an estimate without neighbors. Raises if there are too few.
    """
    if estimate in OF_CLUSTERS:
        return 0
    if estimate == "kernel_density":
        if bank < 2:
            raise ValueError(
                "`max_bank` and the rows of `features` must be at least 2 for "
                f"a kernel density. Received: {bank} samples to look in"
            )
        return 0
    count = num_neighbors or NUM_NEIGHBORS[estimate]
    if count >= bank:
        raise ValueError(
            "`num_neighbors` must be less than the samples, and than "
            f"`max_bank`. Received: num_neighbors={count}, and {bank} "
            "samples to look in"
        )
    return count


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
    bandwidth: float = BANDWIDTH,
    margin: float = MARGIN,
) -> NDArray[np.float64]:
    """Returns a named estimate, then re-runs from halves, `(runs, samples)`.

    Only `"share"` and `"typicality"` read clusterings, those of the runs.
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
    parts = [bank_rows, *(bank_rows[half] for half in halves)]
    if estimate == "kernel_density":
        return np.stack(
            [kernel_density(rows, part, bandwidth) for part in parts]
        )
    if estimate == "density":
        return neighbor_density(rows, num_neighbors, bank_rows, halves)
    # In a half as many neighbors as the density looks for there.
    in_half = min(math.ceil(num_neighbors / 2), max(1, bank // 2 - 1))
    masses = np.stack(
        [
            adaptive_mass(rows, in_half if run else num_neighbors, part, margin)
            for run, part in enumerate(parts)
        ]
    )
    if estimate == "adaptive_mass":
        return masses
    densities = neighbor_density(rows, num_neighbors, bank_rows, halves)
    return np.asarray((percentiles(densities) + percentiles(masses)) / 2)


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
