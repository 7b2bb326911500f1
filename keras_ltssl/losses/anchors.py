"""One NT-Xent value per anchor, with its analytic gradient."""

from typing import Any

import numpy as np
from keras import ops

from keras_ltssl.losses.negatives import PairScale, all_at_once, in_chunks
from keras_ltssl.losses.unit_views import as_floats, units_and_inverse_norms
from keras_ltssl.schedules.temperature_schedule import check_temperature
from keras_ltssl.typing import Tensor


def check_views(z: Tensor) -> None:
    """Says what is wrong when `z` is not `(batch, 2, dim)`."""
    if len(z.shape) != 3 or z.shape[1] != 2:
        raise ValueError(
            "`z` must hold two views of each sample, shape (batch, 2, dim). "
            f"Received: z.shape={tuple(z.shape)}"
        )


def check_temperatures(temperature: float | Tensor) -> None:
    """Says what is wrong with a temperature whose value is known by now."""
    if isinstance(temperature, (bool, int, float, np.generic)):
        check_temperature("temperature", temperature)  # type: ignore[arg-type]
    elif isinstance(temperature, (np.ndarray, list, tuple)):
        values = np.asarray(temperature)
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(
                "`temperature` must hold finite numbers > 0. "
                f"Received: temperature={temperature!r}"
            )


def anchor_losses(
    z: Tensor,
    temperature: float | Tensor,
    chunk_size: int | None = None,
    pair_scale: PairScale | None = None,
) -> Tensor:
    """Returns the NT-Xent loss of every anchor, shape `(batch, 2)`.

        l_a = -log( exp(s_ap/τ_a) / Σ_{b≠a} exp(s_ab/τ_a) )
            = softplus( log Σ_{negatives} exp(s_ab/τ_a) - s_ap/τ_a )

    The second form loses no digits when the positive dominates. The gradient
    is written out, down to `z`: see `negatives`.

    Args:
        z: Projections `(batch, 2, dim)`, not normalised.
        temperature: τ, a number or scalar tensor, or one per sample `(batch,)`.
            It is a constant to the gradient.
        chunk_size: Anchors whose similarities are held at a time, or `None`
            for all `2 * batch` of them.
        pair_scale: What the τ of a pair is multiplied by, an elementwise
            function of its cosine: τ_ab = τ_a · pair_scale(s_ab). A constant
            to the gradient, too. Defaults to `None`, 1 for every pair.
    """
    z = ops.convert_to_tensor(z)
    check_views(z)
    check_temperatures(temperature)
    if chunk_size is not None and (
        isinstance(chunk_size, bool)
        or not isinstance(chunk_size, (int, np.integer))
        or chunk_size < 1
    ):
        raise ValueError(
            "`chunk_size` must be an integer >= 1 or None. "
            f"Received: chunk_size={chunk_size!r}"
        )
    z = as_floats(z)
    batch, dim = ops.shape(z)[0], z.shape[2]
    tau = ops.stop_gradient(ops.cast(temperature, z.dtype))
    if len(tau.shape) > 1 or (
        len(tau.shape) == 1
        and None not in (tau.shape[0], z.shape[0])
        and tau.shape[0] != z.shape[0]
    ):
        raise ValueError(
            "`temperature` must be a scalar or have shape (batch,) = "
            f"({z.shape[0]},). Received: temperature.shape={tuple(tau.shape)}"
        )
    tau = ops.broadcast_to(tau, (batch,))

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def losses_of(z: Tensor, tau: Tensor) -> tuple[Tensor, Any]:
        views, inverse_norms = units_and_inverse_norms(z)
        # View-major: the positive of anchor a is `batch` rows away from it.
        units = ops.reshape(ops.transpose(views, (1, 0, 2)), (2 * batch, dim))
        taus = ops.concatenate([tau, tau])
        cosine = ops.sum(views[:, 0] * views[:, 1], axis=-1)
        tau_positive = tau
        if pair_scale is not None:
            tau_positive = tau * pair_scale(cosine)
        if chunk_size is None:
            log_negatives, push = all_at_once(units, taus, pair_scale)
        else:
            log_negatives, push = in_chunks(units, taus, pair_scale, chunk_size)
        # (2, batch), as all that follows.
        excess = ops.reshape(log_negatives, (2, batch)) - cosine / tau_positive
        losses = ops.transpose(ops.softplus(excess))

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Any:
            if upstream is None:
                (upstream,) = args
            miss = ops.transpose(upstream) * ops.sigmoid(excess)
            pushed = push(ops.reshape(miss, (2 * batch,)))
            pushed = ops.reshape(pushed, (2, batch, dim))
            # Both anchors of a sample pull both of its views together.
            pull = (miss[0] + miss[1]) / tau_positive
            pulled = pull[:, None, None] * ops.flip(views, axis=1)
            to_units = ops.transpose(pushed, (1, 0, 2)) - pulled
            along = ops.sum(views * to_units, axis=-1, keepdims=True)
            to_z = inverse_norms * (to_units - along * views)
            return to_z, ops.zeros_like(tau)

        return losses, gradient

    return losses_of(z, tau)
