"""One NT-Xent value per anchor, with its analytic gradient."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_ltssl.backend.replicas import WHOLE, Part
from keras_ltssl.losses.kernels.negatives import (
    Negatives,
    PairScale,
    Softmax,
    all_at_once,
    in_chunks,
)
from keras_ltssl.losses.kernels.unit_views import unit_views
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    as_tensor,
    check_array_of_numbers,
    check_integer_or_none,
    check_number,
)


def check_views(z: Tensor) -> None:
    """Raises if `z` is not `(batch, 2, dim)`."""
    if len(z.shape) != 3 or z.shape[1] != 2:
        raise ValueError(
            "`z` must hold two views of each sample, shape (batch, 2, dim). "
            f"Received: z.shape={tuple(z.shape)}"
        )


def check_temperatures(temperature: float | Tensor) -> None:
    """Validates a concrete temperature; tensors are not checked."""
    if isinstance(temperature, (np.ndarray, list, tuple)):
        check_array_of_numbers("temperature", temperature)
        values = np.asarray(temperature)
        if (
            not values.size
            or not np.isfinite(values).all()
            or not (values > 0).all()
        ):
            raise ValueError(
                "`temperature` must hold finite numbers > 0. "
                f"Received: temperature={temperature!r}"
            )
    elif isinstance(temperature, np.generic) or not hasattr(
        temperature, "shape"
    ):
        check_number("temperature", temperature, above=0)


def check_one_a_sample(name: str, values: Tensor, z: Tensor) -> None:
    """Raises if `values` is neither a scalar nor `(batch,)`, as `z` has it."""
    shape, batch = values.shape, z.shape[0]
    if len(shape) > 1 or (
        len(shape) == 1 and None not in (shape[0], batch) and shape[0] != batch
    ):
        raise ValueError(
            f"`{name}` must be a scalar or have shape (batch,) = ({batch},). "
            f"Received: {name}.shape={tuple(shape)}"
        )


def checked_units(
    z: Tensor, temperature: float | Tensor, chunk_size: int | None
) -> Tensor:
    """Returns the unit vectors of projections for `compare_anchors`.

    Args:
        z: Projections, `(batch, 2, dim)`, not normalized.
        temperature: τ, a number or scalar tensor, or one per sample `(batch,)`.
        chunk_size: Integer >= 1, or `None`.

    Raises:
        ValueError: If an argument is not that.
    """
    z = as_tensor("z", z)
    check_views(z)
    check_temperatures(temperature)
    check_integer_or_none("chunk_size", chunk_size, minimum=1)
    return unit_views(z)


class Anchors(NamedTuple):
    """The NT-Xent losses of anchors, and what they were computed from.

    Anchors are those of a replica's own samples. Of what is computed here, only
    the losses have a gradient.
    """

    losses: Tensor
    """`(own, 2)`."""
    miss: Tensor
    """Softmax probability of the negatives of each anchor, `(own, 2)`."""
    units: Tensor
    """The unit vectors of all samples, with their gradient."""
    tau: Tensor
    """The temperature of each own sample, `(own,)`."""
    positive: Tensor
    """The cosine of the views of each sample over its τ, `(own, 1)`."""
    negatives: Negatives
    """What each anchor is compared with."""
    part: Part
    """The own samples."""

    @property
    def shares(self) -> Softmax | None:
        """The softmax over its negatives, if it was held as a whole."""
        return self.negatives.shares


def anchor_losses(
    z: Tensor,
    temperature: float | Tensor,
    chunk_size: int | None = None,
    pair_scale: PairScale | None = None,
) -> Tensor:
    """Returns the NT-Xent loss of every anchor, shape `(batch, 2)`.

    Args:
        z: Projections, `(batch, 2, dim)`, not normalized.
        temperature: τ, a number or scalar tensor, or one per sample `(batch,)`.
        chunk_size: Integer >= 1, or `None`.
        pair_scale: As for `compare_anchors`. Defaults to `None`.
    """
    units = checked_units(z, temperature, chunk_size)
    return compare_anchors(units, temperature, chunk_size, pair_scale).losses


def compare_anchors(
    units: Tensor,
    temperature: float | Tensor,
    chunk_size: int | None = None,
    pair_scale: PairScale | None = None,
    part: Part = WHOLE,
) -> Anchors:
    """Returns the NT-Xent loss of every anchor, and what led to it.

        l_a = -log( exp(s_ap/τ_a) / Σ_{b≠a} exp(s_ab/τ_a) )
            = softplus( log Σ_{negatives} exp(s_ab/τ_a) - s_ap/τ_a )

    The second form loses no digits when the positive dominates. The gradient
    is written out, down to the unit vectors: see `negatives`.

    Args:
        units: What `unit_views` returned, `(batch, 2, dim)`.
        temperature: τ, a number or scalar tensor, or one per sample `(batch,)`.
            It is a constant to the gradient.
        chunk_size: Anchors whose similarities are held at a time, or `None`
            for all `2 * batch` of them.
        pair_scale: What the τ of a pair is multiplied by, an elementwise
            function of its cosine: τ_ab = τ_a · pair_scale(s_ab). A constant
            to the gradient, too. Defaults to `None`, 1 for every pair.
        part: The samples whose anchors this replica computes, among those of
            all replicas in `units`. Defaults to all of them.
    """
    tau = ops.stop_gradient(ops.cast(temperature, units.dtype))
    check_one_a_sample("temperature", tau, units)
    tau = part.own(ops.broadcast_to(tau, (ops.shape(units)[0],)))

    fixed = ops.stop_gradient(units)
    own = part.own(fixed)
    tau_positive = tau
    if pair_scale is not None:
        cosine = ops.sum(own[:, 0] * own[:, 1], axis=-1)
        tau_positive = tau * pair_scale(cosine)
    scaled = own / tau_positive[:, None, None]
    positive = ops.sum(scaled[:, 0] * own[:, 1], axis=-1, keepdims=True)
    if chunk_size is None:
        negatives = all_at_once(fixed, scaled, tau, pair_scale, part)
    else:
        negatives = in_chunks(fixed, scaled, tau, pair_scale, chunk_size, part)
    excess = negatives.log_sums - positive
    losses, miss = ops.softplus(excess), ops.sigmoid(excess)

    # Values are final here and reusable; only the gradient follows.
    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def with_gradient(
        units: Tensor,
        losses: Tensor,
        miss: Tensor,
        scaled: Tensor,
        *held: Tensor,
    ) -> tuple[Tensor, Any]:
        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Any:
            if upstream is None:
                (upstream,) = args
            weights = miss * upstream
            pulled = negatives.pull(units, *held)
            # Both anchors of a sample have the same cosine with their positive.
            together = ops.sum(weights, axis=1)[:, None, None]
            others = ops.flip(scaled, axis=1)
            to_units = negatives.push(
                weights, pulled, together, others, units, *held
            )
            return to_units, *[None] * (3 + len(held))

        return losses, gradient

    losses = with_gradient(units, losses, miss, scaled, *negatives.held)
    return Anchors(losses, miss, units, tau, positive, negatives, part)
