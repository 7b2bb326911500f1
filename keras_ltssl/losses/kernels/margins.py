"""How similar an anchor is to its negatives, less to its positive."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_ltssl.losses.kernels.anchors import (
    Anchors,
    pull_views,
    through_anchors,
)
from keras_ltssl.types import Tensor


class NegativeMeans(NamedTuple):
    """Means over the negatives of each anchor, `(views, batch)`.

    `views` is how many anchors a sample has: two in a batch, one before a
    queue. Where there are no negatives, the numbers are finite and have no
    meaning. No gradient flows, except by `margins`.
    """

    log_exponentials: Tensor
    """The log of the mean of exp(s_ab/τ_a)."""
    cosines: Tensor
    """Σ_b P_ab s_ab, where P is the softmax over the negatives."""
    exist: Tensor
    """1 where there are negatives, and 0 without any; a scalar."""
    margins: Callable[[Tensor], Tensor]
    """From factors r_a to r_a Σ_b P_ab s_ab - s_ap.

    r and P are constants to the gradient.
    """


def means_over_batch(z: Tensor, anchors: Anchors) -> NegativeMeans:
    """Returns the means over the rest of the batch.

    Args:
        z: Projections, `(batch, 2, dim)`, float32 or float64.
        anchors: What `compare_anchors` returned for them.
    """
    units, inverse_norms = anchors.normalized
    negatives, tau = anchors.negatives, anchors.tau
    pulled = negatives.pull(units, *negatives.held)
    cosines = tau * ops.sum(units * pulled, axis=-1)
    count = ops.cast(ops.shape(units)[0] - 2, tau.dtype)

    def by_view(values: Tensor) -> Tensor:
        return ops.reshape(values, (2, -1))

    def margins(factors: Tensor) -> Tensor:
        values = factors * by_view(cosines) - anchors.positive
        # The gradient of a log-sum is that of its mean cosine over τ.
        scale = tau * ops.reshape(factors, (-1,))

        @ops.custom_gradient  # type: ignore[untyped-decorator]
        def with_gradient(
            z: Tensor,
            values: Tensor,
            scale: Tensor,
            pulled: Tensor,
            units: Tensor,
            inverse_norms: Tensor,
            *held: Tensor,
        ) -> tuple[Tensor, Any]:
            def gradient(*args: Tensor, upstream: Tensor | None = None) -> Any:
                if upstream is None:
                    (upstream,) = args
                weights = scale * ops.reshape(upstream, (-1,))
                to_units = negatives.push(weights, pulled, units, *held)
                to_units -= pull_views(ops.sum(upstream, axis=0), units)
                to_z = through_anchors(to_units, units, inverse_norms)
                return to_z, *[None] * (5 + len(held))

            return values, gradient

        return with_gradient(
            z, values, scale, pulled, units, inverse_norms, *negatives.held
        )

    return NegativeMeans(
        by_view(negatives.log_sums - ops.log(ops.maximum(count, 1.0))),
        by_view(cosines),
        ops.cast(count > 0, tau.dtype),
        margins,
    )
