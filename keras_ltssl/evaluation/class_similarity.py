"""Compares class means, to find rare classes that collapse onto others."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import unit_rows
from keras_ltssl.evaluation.groups import Grouping, class_groups
from keras_ltssl.evaluation.labeled_features import as_features, as_labels
from keras_ltssl.validation import as_array, check_boolean


@dataclasses.dataclass(frozen=True, eq=False)
class ClassSimilarity:
    """Holds cosines between the means of classes; made by `class_similarity`.

    Attributes:
        classes: The labels, sorted, array of shape `(num_classes,)`.
        class_counts: Training images of each class, `(num_classes,)`.
        cosines: `float64` array of shape `(num_classes, num_classes)`, in the
            order of `classes`, 1 on the diagonal; NaN for a class whose mean
            is zero, as after a total collapse.
        groups: How the classes are grouped: `"thirds"` or `"thresholds"`.
    """

    classes: NDArray[Any]
    class_counts: NDArray[np.int64]
    cosines: NDArray[np.float64]
    groups: Grouping

    @property
    def head_first(self) -> NDArray[np.int64]:
        """Returns the classes' positions, most frequent first."""
        return np.argsort(self.class_counts, kind="stable")[::-1]

    @property
    def nearest(self) -> NDArray[np.float64]:
        """Returns each class mean's cosine to the nearest other."""
        others = np.where(np.isnan(self.cosines), -np.inf, self.cosines)
        np.fill_diagonal(others, -np.inf)
        largest = others.max(axis=1)
        return np.where(np.isfinite(largest), largest, np.nan)

    def nearest_of(self, group: int) -> float:
        """Mean of `nearest` over a group, `0` few to `2` many, or NaN."""
        chosen = class_groups(self.class_counts, self.groups) == group
        known = self.nearest[chosen & np.isfinite(self.nearest)]
        return float(known.mean()) if len(known) else float("nan")


def class_similarity(
    features: Any,
    labels: Any,
    class_counts: ArrayLike | None = None,
    groups: Grouping = "thirds",
    centered: bool = True,
) -> ClassSimilarity:
    """Compares the means of classes in an embedding, this package's own design.

    The mean of a class is that of its features, each scaled to length 1. From
    all of them their own mean is taken off, so that what all features share,
    such as being positive, does not make all classes alike. Means as far from
    each other as can be then have the cosine `-1 / (num_classes - 1)` to each
    other; where two classes collapse onto one another it is near 1.

    Args:
        features: Float array of shape `(samples, dim)`, of a balanced test set
            where there is one: the mean of few samples is not sure.
        labels: Integer array of shape `(samples,)`, at least two classes.
        class_counts: Training images of each class, in the order of the sorted
            labels. Defaults to `None`: how often each label occurs.
        groups: `"thirds"` or `"thresholds"`, see `group_accuracy`. Defaults to
            `"thirds"`.
        centered: Whether the mean of the class means is taken off. Defaults to
            `True`.

    Returns:
        A `ClassSimilarity`.

    Raises:
        ValueError: If shapes do not fit, features are not finite, or there are
            fewer than two classes.

    Example:

    >>> from keras_ltssl.evaluation import class_similarity
    >>> features = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]]
    >>> found = class_similarity(features, [3, 4, 5, 5], centered=False)
    >>> found.cosines.tolist()
    [[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]]
    >>> found.nearest.tolist()
    [0.0, 0.0, 0.0]
    """
    check_boolean("centered", centered)
    values = as_features(features, "features")
    keys = as_labels(labels, "labels", len(values), "features")
    classes, position, occurring = np.unique(
        keys, return_inverse=True, return_counts=True
    )
    if len(classes) < 2:
        raise ValueError(
            f"`labels` must have at least 2 classes. Received: {len(classes)}"
        )
    counts: NDArray[Any] = occurring
    if class_counts is not None:
        counts = as_array("class_counts", class_counts)
    if counts.shape != classes.shape or counts.dtype.kind not in "iu":
        raise ValueError(
            f"`class_counts` must be integers, one for each of {len(classes)} "
            f"classes. Received: dtype={counts.dtype}, shape={counts.shape}"
        )
    class_groups(counts, groups)
    means = np.zeros((len(classes), values.shape[1]))
    np.add.at(means, position, unit_rows(values, "features").astype("float64"))
    means /= occurring[:, np.newaxis]
    if centered:
        means -= means.mean(axis=0)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    # Features have length 1, so the difference of equal means is rounding.
    means /= np.where(lengths > 1e-6, lengths, np.nan)
    cosines = means @ means.T
    return ClassSimilarity(
        classes, counts.astype("int64"), cosines.clip(-1, 1), groups
    )
