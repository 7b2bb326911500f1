"""The geometric harmonization term: a population spread over fixed targets."""

import dataclasses
import math

import keras
from keras import ops

from keras_ltssl.backend.fused_operations import at_least
from keras_ltssl.losses.kernels import sinkhorn as scaling
from keras_ltssl.losses.kernels.anchors import check_views
from keras_ltssl.losses.kernels.sinkhorn_options import (
    SinkhornOptions,
    as_sinkhorn_options,
)
from keras_ltssl.losses.kernels.unit_views import unit_views
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor, check_number


def target_scores(z: Tensor, targets: Tensor) -> Tensor:
    """Returns how each view scores each target, `t_v = normalize(z_v Mᵀ)`.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        targets: M, unit rows, `(K, dim)`. No gradient flows to them.

    Returns:
        Scores, `(batch, 2, K)`, of unit norm over the targets; zero where the
        projection is. float32 (float64 stays float64).

    Raises:
        ValueError: If `z` is not `(batch, 2, dim)` or `targets` not `(K, dim)`.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> from keras_ltssl.losses.harmonization_term import target_scores
    >>> z = np.array([[[2.0, 0.0], [0.0, -3.0]]], "float32")
    >>> scores = target_scores(z, np.eye(2, dtype="float32"))
    >>> ops.convert_to_numpy(scores).tolist()
    [[[1.0, 0.0], [0.0, -1.0]]]
    """
    z = as_tensor("z", z)
    check_views(z)
    targets = as_tensor("targets", targets)
    if len(targets.shape) != 2 or targets.shape[1] != z.shape[2]:
        raise ValueError(
            f"`targets` must have shape (K, dim) = (K, {z.shape[2]}). "
            f"Received: targets.shape={tuple(targets.shape)}"
        )
    if keras.backend.standardize_dtype(z.dtype) != "float64":
        z = ops.cast(z, "float32")
    targets = ops.stop_gradient(ops.cast(targets, z.dtype))
    # Entries of at most 1, for the product could not hold a large z. Scores do
    # not depend on this scale, so it may be a constant to the gradient.
    largest = ops.stop_gradient(ops.norm(z, math.inf, axis=-1, keepdims=True))
    # The smallest normal float32 stands for the length of a zero vector.
    z = z / at_least(largest, 2.0**-126)
    return unit_views(ops.matmul(z, ops.transpose(targets)))


def harmonization_from_scores(
    scores: Tensor,
    prior: Tensor | None = None,
    gamma: float = 0.1,
    sinkhorn: SinkhornOptions | None = None,
) -> Tensor:
    """Returns the harmonization term of scores that are known already.

    Args:
        scores: What `target_scores` returns, `(batch, 2, K)`.
        prior: As for `geometric_harmonization`, like all that follow.
        gamma: γ.
        sinkhorn: Options of the scaling.

    Returns:
        The term of each sample, `(batch,)`.

    Raises:
        ValueError: If `scores` is not `(batch, 2, K)` or an argument is out of
            range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> from keras_ltssl.losses.harmonization_term import (
    ...     harmonization_from_scores,
    ... )
    >>> scores = np.repeat(np.eye(2, dtype="float32")[:, None], 2, axis=1)
    >>> term = harmonization_from_scores(scores, gamma=1.0)
    >>> ops.convert_to_numpy(term).astype(float).round(4).tolist()
    [0.6265, 0.6265]
    """
    scores = as_tensor("scores", scores)
    if len(scores.shape) != 3 or scores.shape[1] != 2:
        raise ValueError(
            "`scores` must have shape (batch, 2, targets). "
            f"Received: scores.shape={tuple(scores.shape)}"
        )
    check_number("gamma", gamma, above=0)
    if keras.backend.standardize_dtype(scores.dtype) != "float64":
        scores = ops.cast(scores, "float32")
    # Stacked, not transposed, for PyTorch: each view a matrix without gaps.
    labels = scaling.sinkhorn(
        ops.stack([scores[:, 0], scores[:, 1]]),
        prior,
        **dataclasses.asdict(as_sinkhorn_options(sinkhorn)),
    )
    # Each view is asked for the label of the other one.
    asked = ops.transpose(ops.flip(labels, axis=0), (1, 0, 2))
    log_predictions = ops.log_softmax(scores / gamma, axis=-1)
    return -ops.sum(asked * log_predictions, axis=(1, 2))


def geometric_harmonization(
    z: Tensor,
    targets: Tensor,
    prior: Tensor | None = None,
    gamma: float = 0.1,
    sinkhorn: SinkhornOptions | None = None,
) -> Tensor:
    """Computes the geometric harmonization term of two views.

        t_v = normalize(z_v Mᵀ),   q_v = sinkhorn(t_v)
        L_i = - Σ_k q_1 log softmax(t_2/γ) - Σ_k q_2 log softmax(t_1/γ)

    Each view has to name the target that a balanced assignment of the batch
    gives to the other one. The assignment uses the targets as the population
    does (the prior), not the batch's majority: that pulls the population, not
    the samples, toward uniform use of the space. A term to add to a
    contrastive loss. Computed in float32 (float64 stays float64); no gradient
    flows to the labels q, the targets or the prior.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        targets: M, unit rows, `(K, dim)`; see `initializers.SimplexETF`.
        prior: Share of the population that belongs to each target, `(K,)`,
            numbers >= 0, not all zero; divided by their sum. Defaults to
            `None`, equal shares.
        gamma: γ > 0, the temperature of the predictions. Defaults to `0.1`.
        sinkhorn: `SinkhornOptions` of the scaling. Defaults to `None`, their
            defaults.

    Returns:
        The term of each sample, `(batch,)`.

    Raises:
        ValueError: If a shape does not fit, or an argument is out of range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> targets = np.eye(2, dtype="float32")
    >>> z = np.array([[[3, 0], [3, 0]], [[0, 1], [0, 1]]], "float32")
    >>> term = lt.losses.geometric_harmonization(z, targets, gamma=1.0)
    >>> ops.convert_to_numpy(term).astype(float).round(4).tolist()
    [0.6265, 0.6265]

    Reference:
        - [Combating Representation Learning Disparity with Geometric
          Harmonization](https://arxiv.org/abs/2310.17622), Zhou et al.,
          NeurIPS 2023
    """
    return harmonization_from_scores(
        target_scores(z, targets),
        prior,
        gamma,
        sinkhorn,
    )
