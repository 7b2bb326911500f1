"""How similar an anchor is to its negatives, less to its positive."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_ltssl.backend.fused_operations import reshape
from keras_ltssl.losses.kernels.anchors import Anchors
from keras_ltssl.types import Tensor


class NegativeMeans(NamedTuple):
    """Means over the negatives of each anchor, `(batch, views)`.

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


def means_over_batch(anchors: Anchors) -> NegativeMeans:
    """Returns the means over the rest of the batch.

    Args:
        anchors: What `compare_anchors` returned.
    """
    units = ops.stop_gradient(anchors.units)
    negatives, tau = anchors.negatives, anchors.tau[:, None]
    part, own = anchors.part, anchors.part.own(units)
    pulled = negatives.pull(units, *negatives.held)

    by_units = ops.sum(own * reshape(pulled, ops.shape(own)), axis=-1)
    cosines = tau * by_units / negatives.divisors
    count = 2.0 * ops.cast(ops.shape(units)[0], tau.dtype) - 2.0

    def margins(factors: Tensor) -> Tensor:
        factors = part.own(factors)
        positive = ops.sum(own[:, 0] * own[:, 1], axis=-1, keepdims=True)
        values = factors * cosines - positive
        # The gradient of a log-sum is that of its mean cosine over τ.
        scale = tau * factors

        @ops.custom_gradient  # type: ignore[untyped-decorator]
        def with_gradient(
            units: Tensor,
            values: Tensor,
            scale: Tensor,
            pulled: Tensor,
            *held: Tensor,
        ) -> tuple[Tensor, Any]:
            def gradient(*args: Tensor, upstream: Tensor | None = None) -> Any:
                if upstream is None:
                    (upstream,) = args
                weights = scale * upstream
                together = ops.sum(upstream, axis=1)[:, None, None]
                others = ops.flip(part.own(units), axis=1)
                to_units = negatives.push(
                    weights, pulled, together, others, units, *held
                )
                return to_units, *[None] * (3 + len(held))

            return values, gradient

        values = with_gradient(
            anchors.units, values, scale, pulled, *negatives.held
        )
        return part.gather(values)

    log_sums = negatives.log_sums - ops.log(ops.maximum(count, 1.0))
    return NegativeMeans(
        part.gather(log_sums),
        part.gather(cosines),
        ops.cast(count > 0, tau.dtype),
        margins,
    )
