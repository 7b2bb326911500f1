"""The share of the population that each target of GH is given."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.losses.step import Step
from keras_ltssl.state.geometric_targets import GeometricTargets
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_array, check_number

PRIORS = ("estimated", "power_law", "uniform")


def power_law_prior(
    shares: ArrayLike, power: float = 0.25
) -> NDArray[np.float64]:
    """Returns a power law over targets, in their own order of use.

        π_k ∝ r_k^-α

    where r_k is the rank of target k by its share, 1 for the most used. Targets
    of equal shares get the mean over their ranks. Only the order of the shares
    counts.

    Args:
        shares: How much each target is used, real numbers, `(K,)`.
        power: α >= 0. With 0 the prior is uniform. Defaults to `0.25`.

    Returns:
        float64 array of shape `(K,)` that sums to 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import keras_ltssl as lt
    >>> lt.losses.power_law_prior([0.1, 0.7, 0.2], power=1).round(3).tolist()
    [0.182, 0.545, 0.273]

    Reference:
        - [The Hidden Uniform Cluster Prior in Self-Supervised
          Learning](https://arxiv.org/abs/2210.07277), Assran et al., ICLR 2023
    """
    used: NDArray[Any] = as_array("shares", shares)
    if used.ndim != 1 or not used.size or used.dtype.kind not in "fiu":
        raise ValueError(
            "`shares` must be real numbers of shape (K,). Received: "
            f"dtype={used.dtype}, shape={used.shape}"
        )
    if not np.isfinite(used).all():
        raise ValueError(
            f"`shares` must be finite. Received: shares={shares!r}"
        )
    check_number("power", power, minimum=0)
    ranks = np.arange(1, len(used) + 1)
    by_rank = ranks ** -float(power)
    by_rank /= by_rank.sum()
    values, group, sizes = np.unique(
        -used, return_inverse=True, return_counts=True
    )
    totals = np.zeros(len(values))
    np.add.at(totals, np.sort(group), by_rank)
    return np.asarray((totals / sizes)[group])


def follow_population(
    step: Step,
    scores: Tensor,
    memory: SampleMemory | None,
    momentum: float | Tensor,
) -> None:
    """Moves what is known of the population by one batch.

    Args:
        step: The step of a `GeometricHarmonizationLoss`.
        scores: How close each sample is to each target, `(batch, K)`.
        memory: The momentum scores of the samples, or `None` without any.
        momentum: β of the momentum scores.
    """
    scores = ops.stop_gradient(scores)
    if memory is not None:
        memory.update(step.ids, scores, momentum)
        return
    if step.ids is None:
        is_counted = ops.ones_like(scores[:, 0], dtype="bool")
    else:
        is_counted = ops.logical_or(step.ids >= 0, ops.all(step.ids < 0))
    step.layer("targets", GeometricTargets).follow(scores, is_counted)


def population_shares(
    targets: GeometricTargets, memory: SampleMemory | None
) -> NDArray[np.float64] | None:
    """Returns the share of the population that is nearest to each target.

    It is that of momentum scores, where these are kept, or else the streaming
    share.

    Args:
        targets: The targets.
        memory: The momentum scores of the samples, or `None` without any.

    Returns:
        Array of shape `(K,)` that need not sum to 1, or `None` if no sample
        was seen.
    """
    if not targets.built:  # On TensorFlow, the first step builds them.
        return None
    if memory is not None:
        scores, seen = memory.read()
        labels = scores[seen].argmax(axis=1)
        shares = np.bincount(labels, minlength=targets.num_targets)
    else:
        shares = ops.convert_to_numpy(targets.shares)
    return shares.astype("float64") if shares.sum() > 0 else None
