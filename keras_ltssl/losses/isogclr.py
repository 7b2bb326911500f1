"""iSogCLR: a global contrastive loss that learns a temperature a sample."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.fused_arithmetic import mean_and_deviation
from keras_ltssl.losses.global_contrast import global_contrast
from keras_ltssl.losses.sogclr import SogCLRLoss
from keras_ltssl.losses.step import Step
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.schedules.temperature_schedule import check_range
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class ISogCLRLoss(SogCLRLoss):
    """SogCLR that learns the temperature of each sample.

        F   = mean_i [ τ_i log mean_b exp((s_ib - s_ip)/τ_i) + τ_i ρ ]
        ∂_i = mean_a [ log u_a + ρ - mean_b(p_ab s_ab/τ_i) ]
        m_i ← (1-β) m_i + β ∂_i
        τ_i ← min(max(τ_i - η m_i, τ_min), τ_max)

    u, p and the loss of a sample are those of `SogCLRLoss`, at τ_i. ∂_i is ρ
    less the divergence of the weights p from even weights, so τ_i settles where
    that is ρ. The weights of a sample that has many like it are uneven unless
    τ_i is large: its authors find large temperatures for frequent kinds of
    samples, and small ones for rare kinds. Only the rows of a batch move.
    `temperatures()` returns what is learned.

    Ids of -1 (out of distribution) have the first temperature and learn none;
    else they are as in `SogCLRLoss`, and so are repeated ids, steps outside of
    training, the size of the gradient, and MoCo.

    Logged are `temperature` and `temperature_std`, over the samples of a batch,
    as it was contrasted. A term around this loss that needs one number (COLT's)
    uses the first temperature, which is also what `TemperatureScheduler`
    drives.

    Args:
        num_samples: In-distribution samples, integer >= 1; sample ids are 0 to
            `num_samples - 1`.
        temperature: τ of a sample at first, in [`minimum`, `maximum`]. Defaults
            to `0.1`.
        gamma: γ in (0, 1], the share of this batch in u. Defaults to `0.9`.
        rho: ρ >= 0: large values lead to small temperatures. Defaults to
            `0.3`.
        eta: η >= 0, the learning rate of τ. 0 is `SogCLRLoss`. Defaults to
            `0.01`.
        beta: β in (0, 1], the share of this step in m. Defaults to `0.9`.
        minimum: τ_min > 0. Defaults to `0.05`.
        maximum: τ_max >= τ_min. Defaults to `0.7`.
        chunk_size: Anchors held at a time, or `None` for all. Defaults to
            `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"isogclr_loss"`.
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
    >>> loss = lt.losses.ISogCLRLoss(num_samples=17)
    >>> model.compile("adam", loss=loss)
    >>> views = np.random.default_rng(0).normal(size=(16, 2, 6))
    >>> history = model.fit(views, np.arange(16), batch_size=8, verbose=0)
    >>> tau = loss.temperatures()
    >>> bool((tau[:16] != 0.1).all()), round(float(tau[16]), 3)
    (True, 0.1)

    Reference:
        - [Not All Semantics are Created Equal: Contrastive Self-supervised
          Learning with Automatic Temperature
          Individualization](https://arxiv.org/abs/2305.11965), Qiu et al.,
          ICML 2023
    """

    metric_names = ("temperature", "temperature_std")

    def __init__(
        self,
        num_samples: int,
        temperature: float = 0.1,
        gamma: float = 0.9,
        rho: float = 0.3,
        eta: float = 0.01,
        beta: float = 0.9,
        minimum: float = 0.05,
        maximum: float = 0.7,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "isogclr_loss",
        dtype: Any = None,
    ) -> None:
        self.minimum, self.maximum = check_range(minimum, maximum)
        if isinstance(temperature, TemperatureSchedule):
            raise ValueError(
                "`temperature` must be a number: iSogCLR learns temperatures, "
                "and this is the one that it begins with. "
                f"Received: temperature={temperature!r}"
            )
        check_number(
            "temperature",
            temperature,
            minimum=self.minimum,
            maximum=self.maximum,
        )
        super().__init__(
            num_samples=num_samples,
            temperature=temperature,
            gamma=gamma,
            chunk_size=chunk_size,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.rho = check_number("rho", rho, minimum=0)
        self.eta = check_number("eta", eta, minimum=0)
        self.beta = check_number("beta", beta, above=0, maximum=1)

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        # A row for each sample: log u, m and τ.
        return {"learned": SampleMemory(self.num_samples, width=3)}

    def per_sample(self, step: Step) -> Tensor:
        memory = step.layer("learned", SampleMemory)
        rows = memory.take(step.ids)
        is_known = ops.all(memory.is_known(rows), axis=-1)
        log_u = rows[:, 0]
        momentum = ops.where(is_known, rows[:, 1], 0.0)
        tau = ops.where(is_known, rows[:, 2], step.temperature)
        mean, deviation = mean_and_deviation(tau)
        step.log(temperature=mean, temperature_std=deviation)
        contrast = step.contrast(tau, self.chunk_size)
        negatives = contrast.negative_means()
        result = global_contrast(negatives, log_u, is_known, tau, self.gamma)
        if step.training:
            slopes = ops.cast(result.slopes, "float32") + self.rho
            momentum = (1.0 - self.beta) * momentum + self.beta * slopes
            tau = ops.clip(
                tau - self.eta * momentum, self.minimum, self.maximum
            )
            log_u = ops.cast(result.log_normalizers, "float32")
            moved = ops.stack([log_u, momentum, tau], axis=-1)
            memory.write(step.ids, ops.where(negatives.exist > 0, moved, rows))
        return result.losses

    def temperatures(self) -> np.ndarray[Any, Any]:
        """Returns the learned temperature of each sample.

        Returns:
            float32, `(num_samples,)`: τ_i, and the first temperature for
            samples that no training step has had.

        Raises:
            ValueError: If the loss is not part of a model.
        """
        state = self.own_state()
        memory = state.layer("learned", SampleMemory)
        first = ops.convert_to_numpy(state.temperature)
        if not memory.built:
            return np.full(self.num_samples, first, "float32")
        values, _ = memory.read()
        # No learned temperature is 0.
        return np.where(values[:, 2] > 0, values[:, 2], first)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rho": self.rho,
            "eta": self.eta,
            "beta": self.beta,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
