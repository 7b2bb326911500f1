"""DySTreSS: NT-Xent with a temperature for every single pair."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_operations import reshape
from keras_ltssl.backend.replicas import Part
from keras_ltssl.losses.kernels.anchors import anchor_losses, compare_anchors
from keras_ltssl.losses.kernels.chunks import in_blocks
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.temperature_loss import TemperatureLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.schedules.temperature_schedule import check_range
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor, check_integer_or_none


def pair_temperatures(
    cosines: Tensor, minimum: float = 0.1, maximum: float = 0.2
) -> Tensor:
    """Returns the temperature of pairs by their cosines.

        τ(s) = τ_min + (τ_max - τ_min) · (1 + cos(π (1 + s))) / 2

    so pairs that are orthogonal get τ_min, pairs that are alike or opposite
    τ_max. Up to τ_max / τ_min = 4.5, more precisely 1 + 1 / (π/4 - 1/2), the
    logit s/τ(s) rises with the cosine; beyond, some pairs outweigh others that
    are more alike (this package's own remark).

    Args:
        cosines: In [-1, 1], any shape.
        minimum: τ_min > 0. Defaults to `0.1`.
        maximum: τ_max >= τ_min. Defaults to `0.2`.

    Returns:
        Temperatures, the shape of `cosines`.

    Raises:
        ValueError: If `cosines` is no tensor of numbers, or the range is not
            finite, > 0 and in order.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.losses import pair_temperatures
    >>> cosines = np.array([-1.0, 0.0, 0.5, 1.0], "float32")
    >>> temperatures = pair_temperatures(cosines, minimum=0.25, maximum=0.75)
    >>> [round(float(temperature), 4) for temperature in temperatures]
    [0.75, 0.25, 0.5, 0.75]

    Reference:
        - [Dynamically Scaled Temperature in Self-Supervised Contrastive
          Learning](https://arxiv.org/abs/2308.01140), Manna et al., IEEE
          Transactions on Artificial Intelligence 2025
    """
    cosines = as_tensor("cosines", cosines)
    _check_range(minimum, maximum)
    # (1 + cos(π (1 + s))) / 2 without its cancellation around s = 0.
    share = ops.square(ops.sin(0.5 * math.pi * cosines))
    return minimum + (maximum - minimum) * share


def dystress(
    z: Tensor,
    minimum: float = 0.1,
    maximum: float = 0.2,
    chunk_size: int | None = None,
) -> Tensor:
    """Computes NT-Xent with a temperature for every pair from its cosine.

        l_a = -log( exp(s_ap/τ_ap) / Σ_{b≠a} exp(s_ab/τ_ab) ),  τ_ab = τ(s_ab)

    with τ(s) between `minimum` and `maximum`, see `pair_temperatures`. The
    positive has the temperature of its own pair, and no gradient flows to the
    temperatures. The function is the paper's; positives, the detached cosines
    and the defaults (of ImageNet) follow its released code, where CIFAR has a
    minimum of 0.07. Left out are the shifted functions of its ablations. What
    was set for long-tailed data could not be read.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        minimum: τ_min > 0, of orthogonal pairs. Defaults to `0.1`.
        maximum: τ_max >= τ_min, of equal and of opposite pairs. Defaults to
            `0.2`. With both the same, this is `nt_xent`.
        chunk_size: Anchors held at a time, see `nt_xent`. Defaults to `None`.

    Returns:
        The loss of each sample, the mean of its two anchors, `(batch,)`.

    Raises:
        ValueError: As `nt_xent`, and if the range is not finite, > 0 and in
            order.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> apart = np.repeat(np.eye(8, dtype="float32")[:, None], 2, axis=1)
    >>> loss = lt.losses.dystress(apart)  # Positives: τ = 0.2, s/τ = 5.
    >>> expected = np.log(1 + 14 * np.exp(-5))
    >>> bool(np.allclose(ops.convert_to_numpy(loss), expected))
    True

    Reference:
        - [Dynamically Scaled Temperature in Self-Supervised Contrastive
          Learning](https://arxiv.org/abs/2308.01140), Manna et al., IEEE
          Transactions on Artificial Intelligence 2025
    """
    _check_range(minimum, maximum)
    scale = functools.partial(
        pair_temperatures, minimum=minimum, maximum=maximum
    )
    return ops.mean(anchor_losses(z, 1.0, chunk_size, scale), axis=-1)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class DySTreSSLoss(TemperatureLoss):
    """NT-Xent with a temperature for every pair, as a Keras loss.

    See `dystress` for the formula. The `temperature` that losses of this
    package have is here the middle of the range. It is what a term around this
    loss uses that needs one number (COLT's), and what `TemperatureScheduler`
    drives: the whole range moves in proportion (this package's own design).
    Logged as `temperature` is the mean over all pairs of the batch.

    Args:
        minimum: τ_min, a number > 0. Defaults to `0.1`.
        maximum: τ_max, a number >= τ_min. Defaults to `0.2`.
        chunk_size: Anchors held at a time, or `None` for all. Defaults to
            `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"dystress_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If the range is not finite, > 0 and in order, or the model
            compares with a queue of keys instead of the batch.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> z = np.random.default_rng(0).normal(size=(8, 2, 4)).astype("float32")
    >>> loss = lt.losses.DySTreSSLoss(minimum=0.2, maximum=0.2)
    >>> difference = loss(None, z) - lt.losses.NTXentLoss(0.2)(None, z)
    >>> bool(np.allclose(ops.convert_to_numpy(difference), 0, atol=1e-6))
    True

    Reference:
        - [Dynamically Scaled Temperature in Self-Supervised Contrastive
          Learning](https://arxiv.org/abs/2308.01140), Manna et al., IEEE
          Transactions on Artificial Intelligence 2025
    """

    def __init__(
        self,
        minimum: float = 0.1,
        maximum: float = 0.2,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "dystress_loss",
        dtype: Any = None,
    ) -> None:
        self.minimum, self.maximum = _check_range(minimum, maximum)
        super().__init__(
            temperature=(self.minimum + self.maximum) / 2,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.chunk_size = check_integer_or_none(
            "chunk_size", chunk_size, minimum=1
        )

    def per_sample(self, step: Step) -> Tensor:
        if step.queue is not None:
            raise ValueError(
                "DySTreSSLoss compares the samples of a batch with each other, "
                "not with a queue of keys. Use another loss with this model, "
                "such as NTXentLoss."
            )
        middle = (self.minimum + self.maximum) / 2
        level = step.temperature / middle
        scale = functools.partial(
            pair_temperatures, minimum=self.minimum, maximum=self.maximum
        )
        anchors = compare_anchors(
            step.units, level, self.chunk_size, scale, step.part
        )
        losses = step.part.gather(anchors.losses)
        if step.has_state:
            mean = _mean_over_pairs(
                scale, step.units, self.chunk_size, step.part
            )
            step.log(temperature=ops.cast(level, mean.dtype) * mean)
        return ops.mean(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["temperature"]
        return {
            **config,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "chunk_size": self.chunk_size,
        }


def _check_range(minimum: float, maximum: float) -> tuple[float, float]:
    for name, value in (("minimum", minimum), ("maximum", maximum)):
        if isinstance(value, TemperatureSchedule):
            raise ValueError(
                f"`{name}` must be a number: DySTreSS takes the temperature of "
                "a pair from its cosine, not from the epoch. A "
                "`TemperatureScheduler` can drive the middle of the range. "
                f"Received: {name}={value!r}"
            )
    return check_range(minimum, maximum)


def _mean_over_pairs(
    function: Callable[[Tensor], Tensor],
    units: Tensor,
    chunk_size: int | None,
    part: Part,
) -> Tensor:
    """Returns the mean of `function(s_ab)` over all anchors a and b ≠ a."""
    views = ops.stop_gradient(units)
    units = ops.reshape(views, (-1, views.shape[-1]))
    anchors = ops.shape(units)[0]

    def sums_of(block: tuple[Tensor, ...]) -> Tensor:
        (rows,) = block
        cosines = ops.matmul(rows, ops.transpose(units))
        own = ops.sum(ops.square(rows), axis=-1)
        return ops.sum(function(cosines), axis=-1) - function(own)

    own = ops.reshape(part.own(views), (-1, views.shape[-1]))
    if chunk_size is None:
        sums = sums_of((own,))
    else:
        sums = in_blocks(sums_of, (own,), chunk_size)
    by_sample = part.gather(reshape(sums, (-1, 2)))
    return ops.mean(by_sample) / ops.cast(anchors - 1, units.dtype)
