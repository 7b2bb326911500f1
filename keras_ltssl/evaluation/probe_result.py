"""What a probe measured, class by class and draw by draw."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.evaluation.groups import (
    GroupAccuracy,
    Grouping,
    group_accuracy,
)
from keras_ltssl.validation import check_array_of_numbers


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeResult:
    """Holds class accuracies of one probe, over one or several draws.

    Attributes:
        classes: Int array of shape `(num_classes,)`, the labels in rising
            order: the class order of everything else here.
        draw_accuracy: Float array of shape `(draws, num_classes)`, in 0 to 1;
            NaN for a class without test images. One draw for probes that use
            every label there is.

    Example:

    >>> from keras_ltssl.evaluation import ProbeResult
    >>> result = ProbeResult(classes=[3, 5, 9], draw_accuracy=[[1, 0.5, 0.75]])
    >>> result.accuracy
    0.75
    >>> result.group_accuracy(class_counts=[90, 30, 10]).many
    1.0
    """

    classes: NDArray[np.int64]
    draw_accuracy: NDArray[np.float64]

    def __post_init__(self) -> None:
        check_array_of_numbers("classes", self.classes)
        check_array_of_numbers("draw_accuracy", self.draw_accuracy)
        classes = np.array(self.classes, dtype="int64")
        draws = np.array(self.draw_accuracy, dtype="float64")
        if (
            classes.ndim != 1
            or not classes.size
            or np.any(np.diff(classes) <= 0)
        ):
            raise ValueError(
                "`classes` must be labels of shape (num_classes,) in rising "
                f"order. Received: classes={self.classes}"
            )
        if draws.ndim != 2 or draws.shape[1] != classes.size or not len(draws):
            raise ValueError(
                "`draw_accuracy` must have shape (draws, num_classes) with "
                f"{classes.size} classes. Received: shape={draws.shape}"
            )
        if np.any((draws < 0) | (draws > 1)) or np.all(np.isnan(draws)):
            raise ValueError(
                "`draw_accuracy` must hold fractions in 0 to 1, or NaN for a "
                "class without test images, and not NaN alone. Received: "
                f"draw_accuracy={self.draw_accuracy}"
            )
        for name, array in (("classes", classes), ("draw_accuracy", draws)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ProbeResult)
            and np.array_equal(self.classes, other.classes)
            and np.array_equal(
                self.draw_accuracy, other.draw_accuracy, equal_nan=True
            )
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.draw_accuracy)

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """Accuracy of each class, mean over draws: `(num_classes,)`."""
        return np.asarray(np.mean(self.draw_accuracy, axis=0))

    @property
    def accuracy(self) -> float:
        """Mean over classes: every class weighs the same."""
        return float(np.nanmean(self.class_accuracy))

    @property
    def accuracy_std(self) -> float:
        """Standard deviation of the accuracy over draws; 0 for one draw."""
        return float(np.std(np.nanmean(self.draw_accuracy, axis=1)))

    def group_accuracy(
        self, class_counts: ArrayLike, groups: Grouping = "thirds"
    ) -> GroupAccuracy:
        """Returns many, medium and few accuracy, and balancedness.

        Balancedness is the standard deviation of the three group means of a
        draw, averaged over draws. (The standard deviation of averaged group
        means would be smaller: chance evens the groups out.)

        Args:
            class_counts: Array of shape `(num_classes,)`, training images of
                each of `classes`.
            groups: `"thirds"` or `"thresholds"`. Defaults to `"thirds"`.

        Returns:
            A `GroupAccuracy`: `many, medium, few, std`, in 0 to 1.
        """
        each_draw = [
            group_accuracy(accuracy, class_counts, groups)
            for accuracy in self.draw_accuracy
        ]
        return GroupAccuracy(*(float(x) for x in np.mean(each_draw, axis=0)))
