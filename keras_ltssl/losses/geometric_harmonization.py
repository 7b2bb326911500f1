"""Geometric Harmonization on top of any contrastive loss."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.harmonization_term import (
    harmonization_from_scores,
    target_scores,
)
from keras_ltssl.losses.kernels.sinkhorn_options import (
    SinkhornOptions,
    as_sinkhorn_options,
)
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.target_prior import (
    PRIORS,
    follow_population,
    population_shares,
    power_law_prior,
)
from keras_ltssl.losses.wrapping_loss import WrappingLoss
from keras_ltssl.state.geometric_targets import GeometricTargets
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    check_choice,
    check_integer,
    check_integer_or_none,
    check_number,
)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class GeometricHarmonizationLoss(WrappingLoss):
    """Pulls the population toward uniform use of the space.

        L_i = L_base,i + w(e) · L_GH,i
        w(e) = weight · clip((e - warmup_epochs) / ramp_epochs, 0, 1)

    L_GH pulls both views of a sample to the same one of K fixed targets. These
    are assigned so that the batch uses them as the population does
    (`geometric_harmonization`). The use by the population is the prior. The
    callback `PriorEstimation` estimates it; only a uniform prior needs none:

        loss = GeometricHarmonizationLoss(NTXentLoss(), num_samples=len(x))
        model.compile("sgd", loss=loss)
        model.fit(x, ids, epochs=1000, callbacks=[PriorEstimation()])

    With `num_samples`, the estimate is the published one. Each sample has a
    moving average of its scores, m_i ← β m_i + (1-β) t_1, and belongs to the
    target of the largest. β is `momentum` until the warm-up ends, and
    `late_momentum` from then on.

    Without `num_samples`, for data that has no sample ids, the estimate is a
    moving average of the shares of the batches (`layers.GeometricTargets`; this
    package's own design). Samples with id -1, out of distribution, are not
    counted, unless the batch has no others.

    Also logged: `contrastive_loss` (the base), `harmonization_loss` (before its
    weight; 0 while that is 0), `harmonization_weight`, w(e), and
    `prior_entropy` (1 for a uniform prior).

    A plain `keras.Model` needs `layers.LossState(loss, steps_per_epoch=...)`.

    Args:
        base_loss: Any loss of this package.
        num_targets: K, integer >= 2. For K > dim + 1 the targets are only
            approximately equidistant, and building warns. Defaults to `100`.
        num_samples: In-distribution samples, integer >= 1, for the published
            prior; `None` for the streaming one. Defaults to `None`.
        weight: Final weight of the term, >= 0. Defaults to `1.0`.
        warmup_epochs: Epochs before the term begins, >= 0. Defaults to `500`,
            as published for 1000 epochs.
        ramp_epochs: Epochs from there to the full weight. Defaults to `10`.
        sinkhorn: `SinkhornOptions`, or a dictionary of their arguments.
            Defaults to `None`: 300 iterations at ε = 0.05.
        gamma: γ, temperature of the prediction, > 0. Defaults to `0.1`.
        momentum: β during the warm-up, in [0, 1). Defaults to `0.9`.
        late_momentum: β after it, in [0, 1). Defaults to `0.999`.
        share_momentum: m of the streaming prior. Defaults to `0.99`.
        seed: Seed of the targets, integer. Defaults to `0`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"geometric_harmonization_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.
        prior: `"estimated"`, as published; `"power_law"`, `power_law_prior` in
            the order of the estimate (this package's own combination); or
            `"uniform"`, without an estimate. Defaults to `"estimated"`.
        prior_power: α of the power law, >= 0. Defaults to `0.25`.

    Raises:
        ValueError: If an argument is out of range, or ids or `PriorEstimation`
            are needed and missing.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> loss = lt.losses.GeometricHarmonizationLoss(
    ...     lt.losses.NTXentLoss(),
    ...     num_targets=10,
    ...     warmup_epochs=1,
    ...     ramp_epochs=0,
    ... )
    >>> model.compile("sgd", loss=loss)
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> history = model.fit(
    ...     views.astype("float32"),
    ...     epochs=2,
    ...     callbacks=[lt.callbacks.PriorEstimation(interval=1)],
    ...     verbose=0,
    ... ).history
    >>> history["harmonization_weight"]
    [0.0, 1.0]

    Reference:
        - [Combating Representation Learning Disparity with Geometric
          Harmonization](https://arxiv.org/abs/2310.17622), Zhou et al.,
          NeurIPS 2023
    """

    def __init__(
        self,
        base_loss: ContrastiveLoss,
        num_targets: int = 100,
        num_samples: int | None = None,
        weight: float = 1.0,
        warmup_epochs: float = 500,
        ramp_epochs: float = 10,
        sinkhorn: SinkhornOptions | dict[str, Any] | None = None,
        gamma: float = 0.1,
        momentum: float = 0.9,
        late_momentum: float = 0.999,
        share_momentum: float = 0.99,
        seed: int = 0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "geometric_harmonization_loss",
        dtype: Any = None,
        prior: Literal["estimated", "power_law", "uniform"] = "estimated",
        prior_power: float = 0.25,
    ) -> None:
        super().__init__(base_loss, reduction, name, dtype)
        self.num_targets = check_integer("num_targets", num_targets, minimum=2)
        self.num_samples = check_integer_or_none(
            "num_samples", num_samples, minimum=1
        )
        self.weight = check_number("weight", weight, minimum=0)
        self.warmup_epochs = check_number(
            "warmup_epochs", warmup_epochs, minimum=0
        )
        self.ramp_epochs = check_number("ramp_epochs", ramp_epochs, minimum=0)
        self.sinkhorn = as_sinkhorn_options(sinkhorn)
        self.gamma = check_number("gamma", gamma, above=0)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.late_momentum = check_number(
            "late_momentum", late_momentum, minimum=0, below=1
        )
        self.share_momentum = check_number(
            "share_momentum", share_momentum, minimum=0, below=1
        )
        self.seed = check_integer("seed", seed, minimum=0)
        self.prior = check_choice("prior", prior, PRIORS)
        self.prior_power = check_number("prior_power", prior_power, minimum=0)

    @property
    def requirements(self) -> Requirements:
        return super().requirements | Requirements(
            ids=self.num_samples is not None,
            state=True,
            epochs=True,
            loops=True,
        )

    def own_layers(self) -> dict[str, keras.layers.Layer]:
        layers: dict[str, keras.layers.Layer] = {
            "targets": GeometricTargets(
                self.num_targets, self.share_momentum, self.seed
            )
        }
        if self.num_samples is not None:
            layers["momentum_scores"] = SampleMemory(
                self.num_samples, self.num_targets, self.late_momentum
            )
        return layers

    def own_metric_names(self) -> tuple[str, ...]:
        return (
            "contrastive_loss",
            "harmonization_loss",
            "harmonization_weight",
            "prior_entropy",
        )

    def check_training(
        self, callbacks: Sequence[keras.callbacks.Callback]
    ) -> None:
        super().check_training(callbacks)
        if self.prior != "uniform" and not any(
            getattr(c, "estimates_prior", False) for c in callbacks
        ):
            raise ValueError(
                "GeometricHarmonizationLoss needs a callback that estimates "
                "its prior. Pass `callbacks=[keras_ltssl.callbacks."
                "PriorEstimation()]` to `fit`."
            )

    def ramp(self, epoch: float | Tensor) -> Tensor:
        """Returns w(e), the weight of the term after `epoch` epochs."""
        past = ops.convert_to_tensor(epoch, "float32") - self.warmup_epochs
        if self.ramp_epochs:
            return self.weight * ops.clip(past / self.ramp_epochs, 0.0, 1.0)
        return self.weight * ops.cast(past >= 0, "float32")

    def estimate_prior(self) -> None:
        """Sets the prior from the statistics gathered so far, if it has any.

        Before the first step the prior stays uniform.
        """
        state = self.own_state()
        targets = state.layer("targets", GeometricTargets)
        shares = population_shares(targets, self._memory(state))
        if shares is None or self.prior == "uniform":
            return
        if self.prior == "power_law":
            shares = power_law_prior(shares, self.prior_power)
        targets.set_prior(shares)

    def _memory(self, state: LossState) -> SampleMemory | None:
        name = "momentum_scores"
        return state.layer(name, SampleMemory) if self.num_samples else None

    def per_sample(self, step: Step) -> Tensor:
        losses = self.base_loss.per_sample(step)
        targets = step.layer("targets", GeometricTargets)
        # For BYOL, use only the predictions.
        vectors = ops.convert_to_tensor(targets.vectors)
        scores = target_scores(step.z[:, :2], vectors)
        prior = ops.convert_to_tensor(targets.prior)
        epoch = step.state.epoch
        weight = self.ramp(epoch)
        # Skip Sinkhorn during the warm-up.
        terms = ops.cond(
            weight > 0,
            lambda: harmonization_from_scores(
                scores, prior, self.gamma, self.sinkhorn
            ),
            lambda: ops.zeros_like(scores[:, 0, 0]),
        )
        if step.training:
            memory, beta = self._memory(step.state), self.momentum
            if memory is not None:
                is_late = epoch >= self.warmup_epochs
                beta = ops.where(is_late, self.late_momentum, self.momentum)
            follow_population(step, scores[:, 0], memory, beta)
        step.log(
            contrastive_loss=ops.mean(losses),
            harmonization_loss=ops.mean(terms),
            harmonization_weight=weight,
            prior_entropy=targets.prior_entropy(),
        )
        weight = ops.cast(weight, losses.dtype)
        return losses + weight * ops.cast(terms, losses.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_targets": self.num_targets,
            "num_samples": self.num_samples,
            "weight": self.weight,
            "warmup_epochs": self.warmup_epochs,
            "ramp_epochs": self.ramp_epochs,
            "sinkhorn": dataclasses.asdict(self.sinkhorn),
            "gamma": self.gamma,
            "momentum": self.momentum,
            "late_momentum": self.late_momentum,
            "share_momentum": self.share_momentum,
            "seed": self.seed,
            "prior": self.prior,
            "prior_power": self.prior_power,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ContrastiveLoss":
        """Builds the loss from what `get_config` returned."""
        config = dict(config)
        # Files of older versions keep these three beside the others.
        names = ("regularization", "iterations", "tolerance")
        flat = {name: config.pop(name) for name in names if name in config}
        if flat:
            config["sinkhorn"] = flat
        return super().from_config(config)
