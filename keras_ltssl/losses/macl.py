"""MACL: NT-Xent whose temperature follows how well the batch is aligned."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_operations import at_least
from keras_ltssl.losses.kernels.anchors import (
    check_temperatures,
    checked_units,
    compare_anchors,
)
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.temperature_loss import TemperatureLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    check_boolean,
    check_integer_or_none,
    check_number,
)


def aligned_temperature(
    alignment: float | Tensor,
    temperature: float | Tensor = 0.1,
    alpha: float = 0.5,
    threshold: float = 0.0,
) -> Tensor:
    """Returns the temperature of a model by how well it aligns positives.

        τ = τ_0 · max(1 + α (A - A_0), 0.1)

    The floor of 0.1 is this package's own: as published, an α above
    1 / (1 + A_0) may give temperatures of zero and below.

    Args:
        alignment: A, the mean cosine of positive pairs, in [-1, 1].
        temperature: τ_0 > 0, a scalar, or one per sample, `(batch,)`. Defaults
            to `0.1`.
        alpha: α >= 0; 0 leaves τ_0 alone. Defaults to `0.5`.
        threshold: A_0 in [-1, 1], the alignment at which τ is τ_0. Defaults to
            `0.0`.

    Returns:
        Temperatures, the shape of `temperature`.

    Raises:
        ValueError: If an argument that is no tensor is out of range.

    Example:

    >>> from keras_ltssl.losses import aligned_temperature
    >>> round(float(aligned_temperature(0.8, temperature=0.1, alpha=0.5)), 4)
    0.14

    Reference:
        - [Model-Aware Contrastive Learning: Towards Escaping the
          Dilemmas](https://arxiv.org/abs/2207.07874), Huang et al., ICML 2023
    """
    _check_strength(alpha, threshold)
    check_temperatures(temperature)
    if not hasattr(alignment, "shape"):
        check_number("alignment", alignment, minimum=-1, maximum=1)
    alignment = ops.convert_to_tensor(alignment)
    factor = at_least(1.0 + alpha * (alignment - threshold), 0.1)
    return ops.cast(temperature, factor.dtype) * factor


def macl(
    z: Tensor,
    temperature: float | Tensor = 0.1,
    alpha: float = 0.5,
    threshold: float = 0.0,
    reweight: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Computes NT-Xent at the temperature that the batch's alignment sets.

        L_a = V_a · l_a(τ),   V_a = 1 / (1 - p_a),   p_a = exp(-l_a)
        τ = τ_0 · (1 + α (A - A_0)),   A = mean over samples of s_i1,i2

    where l_a is the NT-Xent loss of anchor a (see `nt_xent`). A model that
    aligns positives well gets a larger temperature, which spares negatives that
    may be of the same kind. The weight V_a undoes that the gradient of l_a
    shrinks with 1 - p_a as a positive is found: what is left is the gradient of
    log Σ_negatives exp(s_ab/τ) - s_ap/τ, while the value does not fall below 1.
    No gradient flows to τ or V, which stops growing at 1 - p_a = 1e-30, where
    float32 ends.

    Formula and weight follow the authors' first release (which has α = 1, no
    A_0, and compares a view with the other views only) and two independent
    implementations of the final version, one of which has these defaults; the
    paper's own settings could not be read.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        temperature: τ_0 > 0, a scalar, or one per sample, `(batch,)`. Defaults
            to `0.1`.
        alpha: α >= 0, how much τ moves with A. 0 leaves τ_0 alone. Defaults to
            `0.5`.
        threshold: A_0 in [-1, 1], the alignment at which τ is τ_0. Defaults to
            `0.0`.
        reweight: Whether to weigh by V_a. Without it, α = 0 is `nt_xent`.
            Defaults to `True`, as published.
        chunk_size: Anchors held at a time, see `nt_xent`. Defaults to `None`.

    Returns:
        The loss of each sample, the mean of its two anchors, `(batch,)`.

    Raises:
        ValueError: As `nt_xent`, and if `alpha` or `threshold` is out of range
            or `reweight` is no bool.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> same = np.ones((8, 2, 4), "float32")
    >>> loss = lt.losses.macl(same)
    >>> expected = 15 / 14 * np.log(15)  # 1 - p = 14 / 15.
    >>> bool(np.allclose(ops.convert_to_numpy(loss), expected))
    True

    Reference:
        - [Model-Aware Contrastive Learning: Towards Escaping the
          Dilemmas](https://arxiv.org/abs/2207.07874), Huang et al., ICML 2023
    """
    check_boolean("reweight", reweight)
    units = checked_units(z, temperature, chunk_size)
    tau = aligned_temperature(_alignment(units), temperature, alpha, threshold)
    anchors = compare_anchors(units, tau, chunk_size)
    return _of_anchors(anchors.losses, reweight)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class MACLLoss(TemperatureLoss):
    """NT-Xent with MACL's temperature and weights, as a Keras loss.

    See `macl` for the formula. A schedule, or `TemperatureScheduler`, moves
    τ_0, on which the batch's alignment then acts. Logged are `temperature`, the
    τ that comes out, and `mean_cosine`, the A that it comes from. A term around
    this loss that needs a temperature (COLT's) uses τ_0.

    Args:
        temperature: τ_0, a number > 0 (which `TemperatureScheduler` may drive)
            or a `TemperatureSchedule` that advances inside the graph while
            training. Defaults to `0.1`.
        alpha: α >= 0. Defaults to `0.5`.
        threshold: A_0 in [-1, 1]. Defaults to `0.0`.
        reweight: Whether to weigh anchors by 1 / (1 - p). Defaults to `True`.
        chunk_size: Anchors held at a time, or `None` for all. Defaults to
            `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"macl_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> z = np.random.default_rng(0).normal(size=(8, 2, 4)).astype("float32")
    >>> loss = lt.losses.MACLLoss(0.2, alpha=0.0, reweight=False)
    >>> difference = loss(None, z) - lt.losses.NTXentLoss(0.2)(None, z)
    >>> bool(np.allclose(ops.convert_to_numpy(difference), 0, atol=1e-6))
    True

    Reference:
        - [Model-Aware Contrastive Learning: Towards Escaping the
          Dilemmas](https://arxiv.org/abs/2207.07874), Huang et al., ICML 2023
    """

    metric_names = ("temperature", "mean_cosine")

    def __init__(
        self,
        temperature: float | TemperatureSchedule = 0.1,
        alpha: float = 0.5,
        threshold: float = 0.0,
        reweight: bool = True,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "macl_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            temperature=temperature, reduction=reduction, name=name, dtype=dtype
        )
        self.alpha, self.threshold = _check_strength(alpha, threshold)
        self.reweight = check_boolean("reweight", reweight)
        self.chunk_size = check_integer_or_none(
            "chunk_size", chunk_size, minimum=1
        )

    def per_sample(self, step: Step) -> Tensor:
        alignment = _alignment(step.units)
        tau = aligned_temperature(
            alignment, step.temperature, self.alpha, self.threshold
        )
        step.log(temperature=tau, mean_cosine=alignment)
        contrast = step.contrast(tau, self.chunk_size)
        return _of_anchors(contrast.losses, self.reweight)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "threshold": self.threshold,
            "reweight": self.reweight,
            "chunk_size": self.chunk_size,
        }


def _check_strength(alpha: float, threshold: float) -> tuple[float, float]:
    """Returns both as floats; raises if one is out of range."""
    return (
        check_number("alpha", alpha, minimum=0),
        check_number("threshold", threshold, minimum=-1, maximum=1),
    )


def _alignment(units: Tensor) -> Tensor:
    """Returns the mean cosine of the two views of a sample."""
    units = ops.stop_gradient(units)
    return ops.mean(ops.sum(units[:, 0] * units[:, 1], axis=-1))


def _of_anchors(losses: Tensor, reweight: bool) -> Tensor:
    """Returns the loss of each sample from its anchors' NT-Xent losses."""
    if reweight:
        # -expm1(-l) is 1 - exp(-l) without losing the digits of a small l.
        miss = 1e-30 - ops.expm1(-losses)
        losses = losses / ops.stop_gradient(miss)
    return ops.mean(losses, axis=-1)
