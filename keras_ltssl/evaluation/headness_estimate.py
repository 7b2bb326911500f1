"""Estimates without labels whether a sample is of a frequent kind."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation.headness_runs import (
    BANDWIDTH,
    MARGIN,
    MAX_BANK,
    NAMED_ESTIMATES,
    OF_CLUSTERS,
    Clustering,
    NamedEstimate,
    check_clusters,
    check_name,
    checked_features,
    checked_neighbors,
    cluster_runs,
    named_runs,
)
from keras_ltssl.validation import (
    check_integer,
    check_integer_or_none,
    check_number,
)


def headness_estimate(
    features: Any,
    estimate: NamedEstimate = "density",
    num_neighbors: int | None = None,
    num_clusters: int = 50,
    max_bank: int = MAX_BANK,
    seed: int = 0,
    bandwidth: float = BANDWIDTH,
    margin: float = MARGIN,
) -> NDArray[np.float64]:
    """Estimates without labels whether samples are of frequent kinds.

    The estimates are this package's own design. s_ij is the cosine of samples
    i and j, others are all samples but i, and k is `num_neighbors`:

    - `"density"`: mean of the k largest s_ij. A sample of a frequent kind has
      many near ones.
    - `"kernel_density"`: log mean_j exp((s_ij - 1) / h) over all others, where
      h is `bandwidth`.
    - `"adaptive_mass"`: how many others are about as close as the nearest.
      With a_i the mean of the k largest s_ij, b_i the median of all s_ij, and
      α the `margin`, N_i is the share of others with
      s_ij > a_i - α (a_i - b_i). The estimate is the mean of N over i and its
      k nearest. It has no scale: a rare kind whose samples are close to each
      other does not look frequent.
    - `"rank_mean"`: mean of the percentiles of density and adaptive mass.
    - `"share"`: share of all samples that are in the sample's cluster, of
      `num_clusters` by spherical k-means. Clusters of k-means are of similar
      size, so a class of many samples fills several of them.
    - `"typicality"`: cosine of a sample to the center of its cluster. A kind
      that is too rare for a cluster of its own lies far from all centers.

    Rank correlation with class size and AUC for samples of few-image classes,
    on raw pixels of MNIST-LT (imbalance 50, means of 4 class orders): density
    of 50 neighbors +0.33, 0.78, kernel density +0.36, 0.64, adaptive mass
    +0.51, 0.74, rank mean +0.41, 0.82.

    Scores of different estimates have different units: compare their order.
    `tail_diagnosis` says where they fail.

    `features` are read block by block, and may be a `numpy.memmap`; memory
    beyond them grows with `max_bank * dim`. Cosines are float32, so scores that
    differ by less than about 1e-6 are equal. A zero row has the cosine 0 to
    all.

    Args:
        features: Finite real array of shape `(samples, dim)`; lengths of rows
            do not matter.
        estimate: One of the names above. Defaults to `"density"`.
        num_neighbors: Neighbors of a sample, for `"density"`,
            `"adaptive_mass"` and `"rank_mean"`; less than `samples` and
            `max_bank`. Defaults to `None`: 50 for `"density"`, 10 for the
            other two.
        num_clusters: Clusters, for `"share"` and `"typicality"`; at most
            `samples` and `max_bank`. Defaults to `50`.
        max_bank: Of more samples, neighbors are looked for in a random part
            of this size, and centers of clusters are found on such a part. So
            the `num_neighbors` nearest come from a wider neighborhood.
            Defaults to `2**14`.
        seed: Seed of the random parts and of k-means, integer >= 0. Defaults
            to `0`.
        bandwidth: h > 0 of `"kernel_density"`, as a difference of cosines.
            Defaults to `0.2`.
        margin: α in (0, 1] of `"adaptive_mass"`. A larger one counts more
            distant others. 0.25 to 0.5 worked on MNIST-LT. Defaults to `0.25`.

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
    check_integer_or_none("num_neighbors", num_neighbors, minimum=1)
    check_integer("num_clusters", num_clusters, minimum=1)
    check_number("bandwidth", bandwidth, above=0)
    check_number("margin", margin, above=0, maximum=1)
    rows = checked_features(features)
    bank = min(check_integer("max_bank", max_bank, minimum=1), len(rows))
    start = check_integer("seed", seed, minimum=0)
    neighbors = checked_neighbors(estimate, num_neighbors, bank)
    clusterings: list[Clustering] = []
    if estimate in OF_CLUSTERS:
        check_clusters(num_clusters, bank)
        clusterings = cluster_runs(rows, num_clusters, bank, [start])
    runs = named_runs(
        rows,
        estimate,
        neighbors,
        bank,
        clusterings,
        [start],
        bandwidth,
        margin,
    )
    return np.asarray(runs[0])
