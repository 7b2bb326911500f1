"""Accuracy of classes with many, medium and few training images."""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.validation import as_array, check_choice

Grouping: TypeAlias = Literal["thirds", "thresholds"]

FEW, MEDIUM, MANY = 0, 1, 2
MANY_ABOVE = 100
FEW_BELOW = 20


class GroupAccuracy(NamedTuple):
    """Holds mean accuracies of three groups of classes and their deviation.

    Attributes:
        many: Mean accuracy of the classes with most training images, in the
            unit of the class accuracies. NaN when the group is empty.
        medium: The same of the classes in between.
        few: The same of the classes with fewest training images.
        std: Balancedness: population standard deviation (`ddof=0`) of those
            of the three means that are not NaN. 0 is perfectly balanced.
    """

    many: float
    medium: float
    few: float
    std: float


def class_groups(
    class_counts: ArrayLike, groups: Grouping = "thirds"
) -> NDArray[np.int64]:
    """Returns each class's group: `FEW`, `MEDIUM` or `MANY`."""
    check_choice("groups", groups, ("thirds", "thresholds"))
    counts = as_array("class_counts", class_counts)
    if counts.ndim != 1 or not counts.size:
        raise ValueError(
            "`class_counts` must have shape (num_classes,), one number of "
            f"training images a class. Received: shape={counts.shape}"
        )
    if counts.dtype.kind not in "iuf" or not np.all(np.isfinite(counts)):
        raise ValueError(
            "`class_counts` must be finite numbers. Received: "
            f"dtype={counts.dtype}, class_counts={class_counts!r}"
        )
    if counts.min() < 0:
        raise ValueError(
            "`class_counts` must be >= 0. Received a smallest count of "
            f"{counts.min()}"
        )
    if groups == "thresholds":
        return np.where(
            counts > MANY_ABOVE, MANY, np.where(counts < FEW_BELOW, FEW, MEDIUM)
        )
    if counts.size < 3:
        raise ValueError(
            '`groups="thirds"` needs at least 3 classes. Received: '
            f'{counts.size} (did you mean groups="thresholds"?)'
        )
    third = counts.size // 3
    rarest_first = np.argsort(counts, kind="stable")
    members = np.full(counts.size, MANY)
    members[rarest_first[:third]] = FEW
    members[rarest_first[third : 2 * third]] = MEDIUM
    return members


def group_accuracy(
    class_accuracy: ArrayLike,
    class_counts: ArrayLike,
    groups: Grouping = "thirds",
) -> GroupAccuracy:
    """Averages class accuracies over many-, medium- and few-image classes.

    With C classes ordered by their number of training images:

    - `"thirds"` (CIFAR, ImageNet-100): the `floor(C / 3)` rarest classes are
      few, the next `floor(C / 3)` medium, the rest many. Of classes with equal
      counts the one that comes first in the arrays counts as the rarer.
    - `"thresholds"` (ImageNet-LT, Places-LT): many has more than 100 training
      images, medium 20 to 100, few fewer than 20. A group may be empty; it is
      then NaN and left out of `std`.

    Every class weighs the same inside its group. A class whose accuracy is NaN
    (it has no test image) is left out of its group.

    Args:
        class_accuracy: Array of shape `(num_classes,)`, in any class order and
            any unit (fractions or percent); results have the same unit.
        class_counts: Array of shape `(num_classes,)`, training images of each
            class, in the same order.
        groups: `"thirds"` or `"thresholds"`. Defaults to `"thirds"`.

    Returns:
        A `GroupAccuracy`, which unpacks into `many, medium, few, std`.

    Raises:
        ValueError: If the shapes differ, a count is negative or not finite, an
            accuracy is infinite, `groups` is unknown, or thirds are asked for
            of fewer than 3 classes.

    Example:

    >>> from keras_ltssl.evaluation import group_accuracy
    >>> many, medium, few, std = group_accuracy(
    ...     class_accuracy=[0.5, 0.75, 1.0], class_counts=[10, 100, 1000]
    ... )
    >>> many, medium, few, round(std, 4)
    (1.0, 0.75, 0.5, 0.2041)

    Reference:
        - [Large-Scale Long-Tailed Recognition in an Open
          World](https://arxiv.org/abs/1904.05160), Liu et al., CVPR 2019, for
          the thresholds
        - [Self-Damaging Contrastive
          Learning](https://arxiv.org/abs/2106.02990), Jiang et al., ICML 2021,
          for balancedness
    """
    members = class_groups(class_counts, groups)
    accuracy = as_array("class_accuracy", class_accuracy)
    if accuracy.shape != members.shape:
        raise ValueError(
            "`class_accuracy` and `class_counts` must have the same shape "
            f"(num_classes,). Received: {accuracy.shape} and {members.shape}"
        )
    if accuracy.dtype.kind not in "biuf" or np.any(np.isinf(accuracy)):
        raise ValueError(
            "`class_accuracy` must be finite numbers, or NaN where a class was "
            f"not tested. Received: dtype={accuracy.dtype}, "
            f"class_accuracy={class_accuracy!r}"
        )
    tested = ~np.isnan(accuracy)
    many, medium, few = (
        float(np.mean(accuracy[chosen], dtype="float64"))
        if np.any(chosen := tested & (members == group))
        else float("nan")
        for group in (MANY, MEDIUM, FEW)
    )
    present = [mean for mean in (many, medium, few) if not np.isnan(mean)]
    if not present:
        raise ValueError(
            "`class_accuracy` must have at least one class that was tested. "
            "Received: NaN for every class"
        )
    return GroupAccuracy(many, medium, few, float(np.std(present)))
