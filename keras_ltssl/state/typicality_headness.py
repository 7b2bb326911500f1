"""Headness from how typical a sample is of its prototype."""

import keras

from keras_ltssl.state.headness import Assignment
from keras_ltssl.state.ranked_headness import RankedHeadness
from keras_ltssl.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ltssl")
class TypicalityHeadness(RankedHeadness):
    """The rank of a sample's similarity to its prototype in the population.

        h_i = share of the population with max_k ẑ · μ_k below that of sample i

    This package's own design.

    Args:
        momentum: Of the distribution's moving average, in [0, 1). Defaults to
            `0.5`.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> from keras_ltssl.state.headness import Assignment
    >>> headness = lt.layers.TypicalityHeadness()
    >>> headness.build((None, 2))
    >>> similarities = np.array([[0.1], [0.9]], "float32")
    >>> assignment = Assignment(None, None, similarities, None)
    >>> headness.update(assignment)
    >>> ops.convert_to_numpy(headness.estimate(assignment)).round(2).tolist()
    [0.0, 1.0]
    """

    def score(self, assignment: Assignment) -> Tensor:
        return assignment.closeness

    def sorted_scores(self, assignment: Assignment) -> Tensor:
        return assignment.by_closeness()[0]
