"""Focal NT-Xent: NT-Xent that looks at the hard anchors."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.losses.kernels.anchors import anchor_losses
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.temperature_loss import TemperatureLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer_or_none, check_number


def focal_nt_xent(
    z: Tensor,
    temperature: float | Tensor = 0.2,
    gamma: float = 2.0,
    chunk_size: int | None = None,
) -> Tensor:
    """Computes NT-Xent with its easy anchors scaled down.

        f_a = (1 - p_a)^γ · l_a    with p_a = exp(-l_a)

    where l_a is the NT-Xent loss of anchor a (see `nt_xent`) and p_a the
    probability that it gives to its positive. γ = 0 is NT-Xent.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        temperature: τ > 0, a scalar, or one per sample, `(batch,)`. Defaults
            to `0.2`.
        gamma: Focusing exponent γ >= 0. Defaults to `2.0`.
        chunk_size: Anchors held at a time, see `nt_xent`. Defaults to `None`.

    Returns:
        The loss of each sample, `(batch,)`.

    Raises:
        ValueError: As `nt_xent`, and if `gamma` is not a finite number >= 0.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> z = np.random.default_rng(0).normal(size=(8, 2, 4)).astype("float32")
    >>> plain, focal = lt.losses.nt_xent(z), lt.losses.focal_nt_xent(z)
    >>> bool(np.all(ops.convert_to_numpy(focal) < ops.convert_to_numpy(plain)))
    True

    Reference:
        - [Focal Loss for Dense Object
          Detection](https://arxiv.org/abs/1708.02002), Lin et al., ICCV 2017
        - [Self-Damaging Contrastive
          Learning](https://arxiv.org/abs/2106.02990), Jiang et al., ICML 2021,
          for its use as a baseline for long tails
    """
    check_number("gamma", gamma, minimum=0)
    return focal_of_anchors(anchor_losses(z, temperature, chunk_size), gamma)


def focal_of_anchors(losses: Tensor, gamma: float) -> Tensor:
    """Returns `focal_nt_xent` from the NT-Xent loss of each anchor."""
    # -expm1(-l) is 1 - exp(-l) without losing the digits of a small l; what is
    # added keeps the derivative of its power finite at l = 0.
    miss = 1e-30 - ops.expm1(-losses)
    return ops.mean(miss**gamma * losses, axis=-1)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class FocalNTXentLoss(TemperatureLoss):
    """Focal NT-Xent as a Keras loss over `(batch, 2, dim)` projections.

    See `focal_nt_xent` for the formula. `y_true` is not used.

    Args:
        temperature: τ, a number > 0 (which `TemperatureScheduler` may drive)
            or a `TemperatureSchedule`. Defaults to `0.2`.
        gamma: Focusing exponent γ >= 0. Defaults to `2.0`.
        chunk_size: Anchors held at a time, or `None` for all. Defaults to
            `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"focal_nt_xent_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If `temperature` or `gamma` is out of range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> z = np.random.default_rng(0).normal(size=(8, 2, 4)).astype("float32")
    >>> loss = lt.losses.FocalNTXentLoss(gamma=0.0)
    >>> difference = loss(None, z) - lt.losses.NTXentLoss()(None, z)
    >>> bool(np.allclose(ops.convert_to_numpy(difference), 0, atol=1e-6))
    True

    Reference:
        - [Focal Loss for Dense Object
          Detection](https://arxiv.org/abs/1708.02002), Lin et al., ICCV 2017
    """

    def __init__(
        self,
        temperature: float | TemperatureSchedule = 0.2,
        gamma: float = 2.0,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "focal_nt_xent_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            temperature=temperature, reduction=reduction, name=name, dtype=dtype
        )
        self.gamma = check_number("gamma", gamma, minimum=0)
        self.chunk_size = check_integer_or_none(
            "chunk_size", chunk_size, minimum=1
        )

    def per_sample(self, step: Step) -> Tensor:
        step.log(temperature=step.temperature)
        contrast = step.contrast(step.temperature, self.chunk_size)
        return focal_of_anchors(contrast.losses, self.gamma)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gamma": self.gamma,
            "chunk_size": self.chunk_size,
        }
