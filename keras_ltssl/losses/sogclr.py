"""SogCLR: a global contrastive loss, for small batches."""

from typing import Any

import keras

from keras_ltssl.losses.global_contrast import global_contrast
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.temperature_loss import TemperatureLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    check_integer,
    check_integer_or_none,
    check_number,
)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class SogCLRLoss(TemperatureLoss):
    """Contrasts each sample with all others, though a batch holds few of them.

        g_a = mean_b exp(s_ab/τ)
        u_a = (1-γ) u_i + γ g_a             (γ = 1 where i is new)
        L_i = mean_a [ mean_b(p_ab s_ab) - s_ap ],   p_ab = exp(s_ab/τ) / u_a

    where a is one of the two anchors of sample i, p the other one, b runs over
    the 2 * batch - 2 negatives, and s is the cosine. NT-Xent divides by g, the
    sum over this batch. Here u_i, the mean of both u_a, is remembered, so it
    comes to hold what the negatives of i are in all batches. No gradient flows
    through p. u is kept by its logarithm and stable down to τ = 0.005.

    The loss has no factor 1/τ: its gradient is smaller than NT-Xent's by about
    τ. Adam does not see that. With SGD, divide the learning rate by τ. The
    value is a difference of cosines, which may be below 0, and not comparable
    with NT-Xent's. The released code sums over both anchors: its loss is twice
    this one.

    Ids of -1 (out of distribution) are not remembered: such a sample is
    contrasted with the batch alone, γ = 1. Where an id occurs twice in a batch,
    both are contrasted with what was remembered before, and the last one is
    remembered. Outside training nothing is remembered: a value is the one that
    a training step would have, so give held-out samples the id -1. A batch
    without negatives has loss 0 and moves nothing. With MoCo, the negatives of
    a query are the keys of the queue (this package's own design).

    Args:
        num_samples: In-distribution samples, integer >= 1; sample ids are 0 to
            `num_samples - 1`.
        temperature: τ, a number > 0 (which `TemperatureScheduler` may drive)
            or a `TemperatureSchedule`. u follows a new τ within some epochs.
            Defaults to `0.1`.
        gamma: γ in (0, 1], the share of this batch in u; 1 remembers nothing.
            Defaults to `0.9`.
        chunk_size: Anchors held at a time, or `None` for all. Defaults to
            `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"sogclr_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If an argument is out of range, or it is called without
            sample ids or outside a model.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder, keras.layers.Dense(4))
    >>> model.compile("adam", loss=lt.losses.SogCLRLoss(num_samples=16))
    >>> views = np.random.default_rng(0).normal(size=(16, 2, 6))
    >>> history = model.fit(views, np.arange(16), batch_size=8, verbose=0)
    >>> round(history.history["temperature"][0], 2)
    0.1

    Reference:
        - [Provable Stochastic Optimization for Global Contrastive
          Learning](https://arxiv.org/abs/2202.12387), Yuan et al., ICML 2022
    """

    def __init__(
        self,
        num_samples: int,
        temperature: float | TemperatureSchedule = 0.1,
        gamma: float = 0.9,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sogclr_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            temperature=temperature, reduction=reduction, name=name, dtype=dtype
        )
        self.num_samples = check_integer("num_samples", num_samples, minimum=1)
        self.gamma = check_number("gamma", gamma, above=0, maximum=1)
        self.chunk_size = check_integer_or_none(
            "chunk_size", chunk_size, minimum=1
        )

    @property
    def requirements(self) -> Requirements:
        return super().requirements | Requirements(ids=True, state=True)

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        return {"log_normalizers": SampleMemory(self.num_samples)}

    def per_sample(self, step: Step) -> Tensor:
        step.log(temperature=step.temperature)
        memory = step.layer("log_normalizers", SampleMemory)
        before = memory.take(step.ids)
        contrast = step.contrast(step.temperature, self.chunk_size)
        result = global_contrast(
            contrast.negative_means(),
            before,
            memory.is_known(before),
            step.temperature,
            self.gamma,
        )
        if step.training:
            memory.write(step.ids, result.log_normalizers)
        return result.losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_samples": self.num_samples,
            "gamma": self.gamma,
            "chunk_size": self.chunk_size,
        }
