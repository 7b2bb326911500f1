"""Compares a score that saw no labels with the true class sizes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from keras_ltssl.evaluation.groups import (
    FEW,
    MANY,
    MEDIUM,
    Grouping,
    class_groups,
)
from keras_ltssl.validation import as_array, check_array_of_numbers


class TailAgreement(NamedTuple):
    """Holds how well a score that is low in the tail agrees with class counts.

    Attributes:
        rank_correlation: Spearman's rank correlation, over samples, of the
            score and the number of samples in the sample's class: 1 if it
            orders them perfectly, 0 if it knows nothing.
        few_auc: Probability that a sample of a few-image class scores lower
            than one of another class: 1 perfect, 0.5 chance.
    """

    rank_correlation: float
    few_auc: float


class GroupShare(NamedTuple):
    """Holds the shares of a group in the training set and in a budget.

    Attributes:
        samples: Share of the training set, in [0, 1].
        budget: Share of the budget, in [0, 1].
    """

    samples: float
    budget: float


def tail_agreement(
    scores: ArrayLike, labels: ArrayLike, groups: Grouping = "thirds"
) -> TailAgreement:
    """Compares a score of samples with the true sizes of their classes.

    Args:
        scores: Finite array of shape `(samples,)`, such as COLT's tailness,
            low in the tail.
        labels: Class of each training sample, `(samples,)`, for this
            comparison only.
        groups: `"thirds"` or `"thresholds"`, see `group_accuracy`. Defaults to
            `"thirds"`.

    Returns:
        A `TailAgreement`. NaN where it is not defined: equal scores, classes
        of one size, or no few-image class.

    Raises:
        ValueError: If shapes differ or scores are not finite.

    Example:

    >>> from keras_ltssl.evaluation import tail_agreement
    >>> found = tail_agreement([0.9, 0.8, 0.7, 0.6, 0.5, 0.1], list("aaabbc"))
    >>> round(found.rank_correlation, 3), found.few_auc
    (0.926, 1.0)
    """
    values, counts, members = _of_samples("scores", scores, labels, groups)
    correlation = auc = float("nan")
    if np.ptp(values) > 0 and np.ptp(counts) > 0:
        correlation = float(spearmanr(values, counts)[0])
    is_few = members == FEW
    if 0 < is_few.sum() < len(is_few):
        auc = float(roc_auc_score(is_few, -values))
    return TailAgreement(correlation, auc)


def budget_shares(
    budgets: ArrayLike,
    clusters: ArrayLike,
    labels: ArrayLike,
    groups: Grouping = "thirds",
) -> dict[str, GroupShare]:
    """Returns how a budget of clusters is shared among groups of classes.

    The budget of a cluster counts for the classes of its members, in
    proportion to their numbers. Empty clusters count for nothing.

    Args:
        budgets: Array of shape `(num_clusters,)`, such as
            `OODChoice.budgets`.
        clusters: Cluster of each training sample, integer array of shape
            `(samples,)`, such as `OODChoice.labels`.
        labels: Class of each training sample, `(samples,)`.
        groups: `"thirds"` or `"thresholds"`, see `group_accuracy`. Defaults to
            `"thirds"`.

    Returns:
        A `GroupShare` for each of `"many"`, `"medium"` and `"few"`.

    Raises:
        ValueError: If shapes differ.

    Example:

    >>> from keras_ltssl.evaluation import budget_shares
    >>> shares = budget_shares(
    ...     budgets=[2, 6], clusters=[0] * 7 + [1], labels=list("aaaaabbc")
    ... )
    >>> shares["few"]
    GroupShare(samples=0.125, budget=0.75)
    """
    cluster, _, members = _of_samples("clusters", clusters, labels, groups)
    cluster = cluster.astype("int64")
    check_array_of_numbers("budgets", budgets)
    weights = np.asarray(budgets, "float64")
    if weights.ndim != 1 or cluster.min() < 0 or cluster.max() >= len(weights):
        raise ValueError(
            "`budgets` must hold one number for each cluster that is in "
            f"`clusters`. Received: shape={weights.shape}, clusters "
            f"{cluster.min()} to {cluster.max()}"
        )
    sizes = np.bincount(cluster, minlength=len(weights))
    each = weights[cluster] / sizes[cluster]
    total = each.sum()
    return {
        name: GroupShare(
            float(np.mean(members == group)),
            float(each[members == group].sum() / total) if total else 0.0,
        )
        for name, group in (("many", MANY), ("medium", MEDIUM), ("few", FEW))
    }


def _of_samples(
    name: str, values: ArrayLike, labels: ArrayLike, groups: Grouping
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the values, and of each sample its class's count and group."""
    check_array_of_numbers(name, values)
    numbers, classes = np.asarray(values, "float64"), as_array("labels", labels)
    if numbers.ndim != 1 or not numbers.size:
        raise ValueError(
            f"`{name}` must have shape (samples,), at least one. Received: "
            f"shape={numbers.shape}"
        )
    if classes.shape != numbers.shape:
        raise ValueError(
            "`labels` must hold the class of each sample. Received: "
            f"shape={classes.shape} for samples of shape={numbers.shape}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"`{name}` must hold a finite number for each sample. "
            f"Received: {np.sum(~np.isfinite(numbers))} that are not"
        )
    _, index, counts = np.unique(
        classes, return_inverse=True, return_counts=True
    )
    return numbers, counts[index], class_groups(counts, groups)[index]
