"""Shares a budget among clusters: the lower the score, the more."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import as_scores
from keras_ltssl.validation import as_array, check_integer, check_number

# Means of equal scores differ by this much, relatively, through rounding.
ROUNDING = 1e-12


def cluster_scores(
    scores: ArrayLike, labels: ArrayLike, num_clusters: int
) -> NDArray[np.float64]:
    """Returns the mean score of the members of each cluster.

    Args:
        scores: Finite float array of shape `(samples,)`, such as tailness.
        labels: Integer array of shape `(samples,)`, each sample's cluster in 0
            to `num_clusters - 1`.
        num_clusters: Number of clusters, integer >= 1.

    Returns:
        float64 array of shape `(num_clusters,)`; NaN for a cluster without
        members.

    Raises:
        ValueError: If an argument is out of range or lengths differ.

    Example:

    >>> cluster_scores([0.1, 0.3, 0.8], [0, 0, 1], num_clusters=2).tolist()
    [0.2, 0.8]
    """
    count = check_integer("num_clusters", num_clusters, minimum=1)
    values = as_scores(scores)
    clusters = _as_labels(labels, len(values), count)
    sizes = np.bincount(clusters, minlength=count)
    totals = np.bincount(clusters, weights=values, minlength=count)
    means = np.full(count, np.nan)
    np.divide(totals, sizes, out=means, where=sizes > 0)
    return means


def cluster_budgets(
    scores: ArrayLike,
    labels: ArrayLike,
    num_clusters: int,
    budget: int,
    temperature: float = 1.0,
) -> NDArray[np.int64]:
    """Shares a budget among clusters, most to those with the lowest scores.

        m_c = mean score of cluster c
        w = softmax( -(m - mean(m)) / std(m) / temperature )
        budget_c = floor(w_c · budget), the last cluster takes the remainder

    with the n-1 standard deviation over clusters. A low tailness means tail,
    so the tail's clusters get the larger budgets. Where all m_c are equal, or
    there is one cluster, weights are equal. A cluster without members has no
    score: it gets 0 and counts neither for the standardization nor as last.

    Args:
        scores: Finite float array of shape `(samples,)`, low in the tail.
        labels: Integer array of shape `(samples,)`, each sample's cluster in 0
            to `num_clusters - 1`.
        num_clusters: Number of clusters, integer >= 1.
        budget: Samples to choose in all, integer >= 0.
        temperature: Positive float; a small one gives nearly everything to the
            lowest scores, a large one shares equally. Defaults to `1.0`.

    Returns:
        int64 array of shape `(num_clusters,)` that sums to `budget`.

    Raises:
        ValueError: If an argument is out of range, lengths differ, or a score
            is NaN or infinite.

    Example:

    >>> scores = [0.9, 0.7, 0.2, 0.4, 0.5]
    >>> cluster_budgets(scores, [0, 0, 1, 1, 2], 3, budget=100).tolist()
    [8, 62, 30]

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """
    total = check_integer("budget", budget, minimum=0)
    check_number("temperature", temperature, above=0)
    means = cluster_scores(scores, labels, num_clusters)
    used = np.flatnonzero(~np.isnan(means))
    budgets = np.zeros(len(means), "int64")
    parts = _weights(means[used], temperature)
    # Multiplied first, so that equal weights of a multiple leave no remainder.
    budgets[used] = np.floor(total * parts / parts.sum()).astype("int64")
    budgets[used[-1]] += total - budgets.sum()
    return budgets


def _weights(
    means: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Softmax of minus the standardized means, up to a factor."""
    above = means - means.min()
    if above.max() <= ROUNDING * np.abs(means).max():
        return np.ones(len(means))
    with np.errstate(over="ignore"):
        # Infinite at a tiny temperature, of which exp makes 0.
        return np.asarray(np.exp(-above / above.std(ddof=1) / temperature))


def _as_labels(labels: Any, samples: int, count: int) -> NDArray[np.int64]:
    array = as_array("labels", labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "`labels` must be integers of shape (samples,). Received: "
            f"dtype={array.dtype}, shape={array.shape}"
        )
    if len(array) != samples:
        raise ValueError(
            "`labels` must hold one cluster for each of `scores`. Received: "
            f"{len(array)} labels for {samples} scores"
        )
    if array.min() < 0 or array.max() >= count:
        raise ValueError(
            f"`labels` must lie in 0 to num_clusters - 1 = {count - 1}. "
            f"Received: {array.min()} to {array.max()}"
        )
    return array.astype("int64")
