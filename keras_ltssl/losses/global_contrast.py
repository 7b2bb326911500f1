"""A contrast with all samples, of which each step sees one batch."""

import math
from typing import NamedTuple

from keras import ops

from keras_ltssl.backend.fused_operations import reshape
from keras_ltssl.losses.kernels.margins import NegativeMeans
from keras_ltssl.types import Tensor

# The smallest u that similarities are divided by, as released.
_LOWEST = math.log(1e-8)


class GlobalContrast(NamedTuple):
    """The result of `global_contrast`; only the losses have a gradient."""

    losses: Tensor
    """The loss of each sample, `(batch,)`."""
    log_normalizers: Tensor
    """The log of u_i after this step, `(batch,)`."""
    slopes: Tensor
    """The derivative of the objective by τ_i, without ρ, `(batch,)`."""


def global_contrast(
    negatives: NegativeMeans,
    log_normalizers: Tensor,
    is_known: Tensor,
    temperature: Tensor,
    gamma: float,
) -> GlobalContrast:
    """Computes SogCLR's loss, and what iSogCLR learns temperatures from.

        g_a = mean_b exp(s_ab/τ_i),   u_a = (1-γ) u_i + γ g_a
        l_a = mean_b(p_ab s_ab) - s_ap,   p_ab = exp(s_ab/τ_i)/u_a
        ∂_a = log u_a - mean_b(p_ab s_ab/τ_i)

    where a is an anchor of sample i, p its positive, b runs over its negatives,
    and γ is 1 where nothing is known of i. No gradient flows through p_ab. A
    sample has the means of its anchors. u is kept by its logarithm, since
    exp(1/0.005) is beyond float32. Without any negatives, losses are 0 and u
    stays as it was.

    Args:
        negatives: What `negative_means()` of a contrast returned.
        log_normalizers: The log of u_i before this step, `(batch,)`.
        is_known: Whether there is one, booleans `(batch,)`.
        temperature: τ, a scalar or `(batch,)`.
        gamma: γ in (0, 1].
    """
    log_g = negatives.log_exponentials
    known = ops.cast(log_normalizers, log_g.dtype)[:, None]
    is_known = is_known[:, None]
    log_u = log_g
    if gamma < 1:
        kept = math.log1p(-gamma) + ops.where(is_known, known, 0.0)
        moved = ops.logaddexp(kept, math.log(gamma) + log_g)
        log_u = ops.where(is_known, moved, log_g)
    # The mean of p s is that of the softmax, scaled: its sum is g, not u.
    factors = ops.exp(log_g - ops.maximum(log_u, _LOWEST))
    losses = negatives.exist * ops.mean(negatives.margins(factors), axis=1)
    tau = reshape(ops.cast(temperature, log_g.dtype), (-1, 1))
    slopes = log_u - factors * negatives.cosines / tau
    after = ops.logsumexp(log_u, axis=1) - math.log(log_u.shape[1])
    after = ops.where(negatives.exist > 0, after, known[:, 0])
    return GlobalContrast(losses, after, ops.mean(slopes, axis=1))
