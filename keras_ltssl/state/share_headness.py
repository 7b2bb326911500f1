"""Headness from the size of a sample's prototype."""

import keras
from keras import ops

from keras_ltssl.backend.fused_arithmetic import affine, times_vector
from keras_ltssl.backend.fused_operations import rows_of
from keras_ltssl.state.headness import Assignment, Headness
from keras_ltssl.types import Tensor


@keras.saving.register_keras_serializable(package="keras_ltssl")
class ShareHeadness(Headness):
    """The rank of a sample's prototype among population shares.

        h_i = Σ_j π_j [π_j < π_k(i)] + ½ Σ_j π_j [π_j = π_k(i)]

    the part of the population that lives in smaller prototypes, so that its
    population mean is 0.5 exactly. This package's own design.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> from keras_ltssl.state.headness import Assignment
    >>> similarities = np.eye(2, dtype="float32")
    >>> assignment = Assignment(
    ...     None, similarities, similarities, np.array([0.75, 0.25], "float32")
    ... )
    >>> headness = lt.layers.ShareHeadness().estimate(assignment)
    >>> ops.convert_to_numpy(headness).tolist()
    [0.625, 0.125]
    """

    def estimate(self, assignment: Assignment) -> Tensor:
        shares = ops.convert_to_tensor(assignment.shares)
        # 1 for a smaller share, a half for an equal one.
        counts = affine(ops.sign(shares[:, None] - shares), 0.5, 0.5)
        rank = times_vector(counts, shares)
        return rows_of(rank, ops.convert_to_tensor(assignment.labels))
