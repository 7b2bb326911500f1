"""Means of the signs of learning, and what was seen of the views."""

from typing import Any

from keras import ops

from keras_ltssl.backend.compilation import one_after
from keras_ltssl.backend.fused_operations import stack
from keras_ltssl.state.means import _Means
from keras_ltssl.types import Tensor

LEARNING_SIGNS = (
    "contrastive_accuracy",
    "contrastive_chance",
    "alignment",
    "uniformity",
    "spread",
)
"""What a model logs beside the values of its loss."""

_LOOKED_AT = 8  # Samples of a batch.


class LearningMeans(_Means):
    """The means of `LEARNING_SIGNS`, and counts of views that teach nothing.

    Nothing of it is saved: every epoch starts anew, and files stay as they are
    with and without it.
    """

    def __init__(self) -> None:
        super().__init__(LEARNING_SIGNS)
        self.views = self.add_variable(
            shape=(3,), initializer="zeros", name="views"
        )

    def count_views(self, seen: Tensor, after: Tensor) -> None:
        """Adds what `look_at` returned for the views of a step.

        Args:
            seen: Three numbers.
            after: The losses of the step, `(batch,)`. Without data, nothing is
                added.
        """
        self._add(self.views, [seen[0], seen[1], seen[2]], one_after(after))

    def views_seen(self) -> tuple[int, int, int]:
        """Returns samples, those of two same views, and constant views."""
        samples, same, constant = ops.convert_to_numpy(self.views)
        return int(samples), int(same), int(constant)

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing."""


def look_at(views: Tensor) -> Tensor:
    """Returns what the first samples of a batch say of the views.

    Args:
        views: `(batch, 2, ...)`.

    Returns:
        Three numbers: samples looked at, how many of them have two same views,
        and how many views are of one value alone.
    """
    few = views[:_LOOKED_AT]
    axes = tuple(range(1, len(few.shape)))
    is_same = ops.all(few[:, 0] == few[:, 1], axis=axes[:-1])
    is_constant = ops.amax(few, axis=axes[1:]) == ops.amin(few, axis=axes[1:])
    same = ops.cast(is_same, "float32")
    constant = ops.cast(is_constant, "float32")
    counts = (ops.ones_like(same), same, constant)
    return stack([ops.sum(count) for count in counts])
