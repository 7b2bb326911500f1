"""Headness from how dense the population is around a sample."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.state.headness import Assignment
from keras_ltssl.state.ranked_headness import RankedHeadness
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class DensityHeadness(RankedHeadness):
    """The rank of the population's density around a sample.

        d_i = log Σ_k π_k exp((ẑ_i · μ_k - 1) / h)
        h_i = share of the population whose density is below that of sample i

    a kernel density estimate in which the prototypes μ_k with their shares π_k
    stand for the population. With a small bandwidth h it is the share of the
    nearest prototype and the similarity to it, π_k exp((ẑ_i · μ_k - 1) / h).
    With a larger one it is smooth: prototypes that split a large class count
    together. This package's own design.

    Args:
        bandwidth: h > 0, in the unit of cosines. Defaults to `0.05`.
        momentum: Of the distribution's moving average, in [0, 1). Defaults to
            `0.5`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> from keras_ltssl.state.headness import Assignment
    >>> headness = lt.layers.DensityHeadness()
    >>> headness.build((None, 2))
    >>> similarities = np.eye(2, dtype="float32")
    >>> assignment = Assignment(
    ...     None, similarities, similarities, np.array([0.75, 0.25], "float32")
    ... )
    >>> headness.update(assignment)
    >>> ops.convert_to_numpy(headness.estimate(assignment)).round(2).tolist()
    [1.0, 0.0]
    """

    def __init__(
        self, bandwidth: float = 0.05, momentum: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(momentum, **kwargs)
        self.bandwidth = check_number("bandwidth", bandwidth, above=0)

    def score(self, assignment: Assignment) -> Tensor:
        # A prototype that is not seeded yet has no share: no weight here.
        shares = ops.convert_to_tensor(assignment.shares)
        similarities = ops.convert_to_tensor(assignment.similarities)
        logits = (similarities - 1.0) / self.bandwidth
        return ops.logsumexp(logits + ops.log(shares + 1e-30), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bandwidth": self.bandwidth}
