"""NT-Xent, the contrastive loss of SimCLR."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.losses.kernels.anchors import anchor_losses
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.temperature_loss import TemperatureLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer_or_none


def nt_xent(
    z: Tensor,
    temperature: float | Tensor = 0.2,
    chunk_size: int | None = None,
) -> Tensor:
    """Computes the normalized temperature-scaled cross entropy of two views.

        l_a = -log( exp(s_ap/τ) / Σ_{b≠a} exp(s_ab/τ) )

    where s_ab is the cosine of anchors a and b and p the other view of a's
    sample. A batch has 2 * batch anchors; the denominator holds the positive
    and the 2 * batch - 2 views of other samples. The value of a sample is the
    mean of its two anchors. Computed in float32 (float64 stays float64), and
    stable down to τ = 0.005. No gradient flows to the temperature.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale: they are normalized here.
        temperature: τ > 0, a scalar, or one per sample, `(batch,)`, used in
            the rows of both of that sample's anchors. Defaults to `0.2`.
        chunk_size: Anchors (rows of the similarity matrix) held at a time, for
            O(batch * chunk_size) memory at the price of computing similarities
            twice. Same values and gradients. Defaults to `None`, all rows.

    Returns:
        The loss of each sample, `(batch,)`.

    Raises:
        ValueError: If `z` is not `(batch, 2, dim)`, a temperature known ahead
            is not finite and > 0 or has another shape, or `chunk_size` < 1.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> same = np.ones((8, 2, 4), "float32")
    >>> loss = lt.losses.nt_xent(same, temperature=0.1)
    >>> bool(np.allclose(ops.convert_to_numpy(loss), np.log(15)))
    True

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al., ICML
          2020
    """
    return ops.mean(anchor_losses(z, temperature, chunk_size), axis=-1)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class NTXentLoss(TemperatureLoss):
    """NT-Xent as a Keras loss over `(batch, 2, dim)` projections.

    See `nt_xent` for the formula. `y_true` is not used; it may hold sample ids.

    Args:
        temperature: τ, a number > 0 (which `TemperatureScheduler` may drive)
            or a `TemperatureSchedule` that advances inside the graph while
            training. Defaults to `0.2`.
        chunk_size: Anchors held at a time, or `None` for all. Defaults to
            `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"nt_xent_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If `temperature` is no finite number > 0.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> loss = lt.losses.NTXentLoss(temperature=0.1)
    >>> z = np.ones((8, 2, 4), "float32")
    >>> bool(np.allclose(ops.convert_to_numpy(loss(None, z)), np.log(15)))
    True

    In `compile`: `model.compile("sgd", loss=lt.losses.NTXentLoss())`.

    Reference:
        - [A Simple Framework for Contrastive Learning of Visual
          Representations](https://arxiv.org/abs/2002.05709), Chen et al., ICML
          2020
    """

    def __init__(
        self,
        temperature: float | TemperatureSchedule = 0.2,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "nt_xent_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            temperature=temperature, reduction=reduction, name=name, dtype=dtype
        )
        self.chunk_size = check_integer_or_none(
            "chunk_size", chunk_size, minimum=1
        )

    def per_sample(self, step: Step) -> Tensor:
        step.log(temperature=step.temperature)
        contrast = step.contrast(step.temperature, self.chunk_size)
        return contrast.sample_losses

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "chunk_size": self.chunk_size}
