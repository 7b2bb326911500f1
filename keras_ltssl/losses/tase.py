"""TASE: a temperature and a weight for every single sample."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_arithmetic import mean_and_deviation
from keras_ltssl.backend.fused_operations import (
    at_least,
    count_where,
    number_where,
)
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.tase_terms import (
    headness_weights,
    sample_temperatures,
    share_weights,
)
from keras_ltssl.losses.temperature_loss import TemperatureLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.state.density_headness import DensityHeadness
from keras_ltssl.state.headness import Assignment, Headness
from keras_ltssl.state.mixed_headness import MixedHeadness
from keras_ltssl.state.prototypes import Prototypes
from keras_ltssl.state.reliability import Reliability
from keras_ltssl.state.share_headness import ShareHeadness
from keras_ltssl.state.typicality_headness import TypicalityHeadness
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    check_boolean,
    check_choice,
    check_integer,
    check_integer_or_none,
    check_number,
)

_HEADNESS: dict[str, type[Headness]] = {
    "share": ShareHeadness,
    "typicality": TypicalityHeadness,
    "both": MixedHeadness,
    "density": DensityHeadness,
}


@keras.saving.register_keras_serializable(package="keras_ltssl")
class TASELoss(TemperatureLoss):
    """NT-Xent with a temperature and a weight for every single sample.

        L_i = w_i · NT-Xent_i(τ_i)

    Pseudo-labels from prototypes of the population (`layers.Prototypes`) say
    how likely each sample is one of many of its kind, its *headness*
    (`layers.Headness`). Samples of the head get a larger temperature, which
    makes the loss see groups, samples of the tail a smaller one, which makes it
    see instances (`sample_temperatures`); samples of rarely used prototypes
    get a larger weight (`inverse_share_weights`). The temperatures average to
    `temperature` over the population, so that switching TASE on does not change
    the mean temperature, which matters more than anything per sample.
    Until `warmup_steps` training steps have formed the prototypes, τ_i = τ_0
    and w_i = 1. No gradient flows through τ_i, w_i or the prototypes.

    What is the paper's: pseudo-labels drive a dynamic temperature, one value
    for each sample, and a re-weighting that supplies the awareness of quantity
    which a temperature lacks. What is *this package's own design*, since the
    paper's formulas are not public to it: all of the formulas and defaults.
    What they bring is measured in the guide on TASE: in short runs on small
    sets, nothing that could be told from `NTXentLoss` at a tuned temperature,
    unless true class counts are given.

    Logged beside the loss: `temperature` (mean of τ_i), `temperature_std` (its
    spread), `share_entropy` (1 for equal shares, 0 for one prototype that has
    everything) and `empty_prototypes` (how many stand for nothing). With
    `scale_by_reliability` also `headness_reliability`, r.

    Needs no sample ids and no labels. In a plain `keras.Model` the projections
    have to pass through `layers.LossState(loss)`; see there.

    Args:
        temperature: τ_0, the mean: a number > 0 (which `TemperatureScheduler`
            may drive) or a `TemperatureSchedule`. Defaults to `0.2`.
        num_prototypes: K, integer >= 2; more than the classes one expects.
            Defaults to `50`.
        headness: `"share"`, `"typicality"`, `"both"`, `"density"`, or a
            `layers.Headness`. Defaults to `"both"`.
        spread: How far temperatures part from τ_0, in (-1, 1): at 0.5 they
            span τ_0/2 to 3τ_0/2. Negative reverses head and tail. Defaults to
            `0.5`.
        weight_power: β >= 0 of the weights; 0 switches them off. Defaults to
            `0.5`.
        weight_limit: Largest weight before normalizing, >= 1. Defaults to
            `4.0`.
        weights_from: `"share"`, the weights of `inverse_share_weights`, or
            `"headness"`, those of `inverse_headness_weights`. Defaults to
            `"share"`.
        scale_by_reliability: Whether `spread` and `weight_power` are multiplied
            by the reliability r of the headness: the correlation, over recent
            batches, of what the two views of a sample give. With a headness of
            pure chance, r is 0 and the loss is `NTXentLoss`. Defaults to
            `False`.
        momentum: Of the moving averages of prototypes, shares and r, in [0, 1).
            Defaults to `0.95`.
        warmup_steps: Training steps before per-sample values apply, integer
            >= 0. Defaults to `100`.
        chunk_size: Anchors held at a time, see `nt_xent`. Defaults to `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"tase_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If an argument is out of range or `headness` is unknown.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> model.compile("sgd", loss=lt.losses.TASELoss())
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> history = model.fit(views.astype("float32"), verbose=0).history
    >>> {"empty_prototypes", "share_entropy"} <= set(history)
    True

    Reference:
        - [Dataset Awareness is not Enough: Implementing Sample-level Tail
          Encouragement in Long-tailed Self-supervised
          Learning](https://arxiv.org/abs/2410.22883), Xiao et al., 2024. The
          idea is theirs (Temperature Auxiliary Sample-level Encouragement);
          the formulas are this package's own design.
    """

    metric_names: tuple[str, ...] = (
        "temperature",
        "temperature_std",
        "share_entropy",
        "empty_prototypes",
    )

    def __init__(
        self,
        temperature: float | TemperatureSchedule = 0.2,
        num_prototypes: int = 50,
        headness: str | Headness = "both",
        spread: float = 0.5,
        weight_power: float = 0.5,
        weight_limit: float = 4.0,
        weights_from: str = "share",
        scale_by_reliability: bool = False,
        momentum: float = 0.95,
        warmup_steps: int = 100,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "tase_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            temperature=temperature, reduction=reduction, name=name, dtype=dtype
        )
        if isinstance(headness, dict):
            headness = keras.saving.deserialize_keras_object(headness)
        is_name = isinstance(headness, str) and headness in _HEADNESS
        if not is_name and not isinstance(headness, Headness):
            raise ValueError(
                f"`headness` must be one of {sorted(_HEADNESS)} or a "
                f"keras_ltssl.layers.Headness. Received: headness={headness!r}"
            )
        self.num_prototypes = check_integer(
            "num_prototypes", num_prototypes, minimum=2
        )
        self.headness = headness
        self.spread = check_number("spread", spread, above=-1, below=1)
        self.weight_power = check_number(
            "weight_power", weight_power, minimum=0
        )
        self.weight_limit = check_number(
            "weight_limit", weight_limit, minimum=1
        )
        self.weights_from = check_choice(
            "weights_from", weights_from, ("share", "headness")
        )
        self.scale_by_reliability = check_boolean(
            "scale_by_reliability", scale_by_reliability
        )
        if scale_by_reliability:
            self.metric_names += ("headness_reliability",)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.warmup_steps = check_integer(
            "warmup_steps", warmup_steps, minimum=0
        )
        self.chunk_size = check_integer_or_none(
            "chunk_size", chunk_size, minimum=1
        )

    @property
    def requirements(self) -> Requirements:
        return super().requirements | Requirements(state=True)

    def state_layers(self) -> dict[str, keras.layers.Layer]:
        if isinstance(self.headness, Headness):
            config = self.headness.get_config()
            headness: Headness = type(self.headness).from_config(config)
        else:
            headness = _HEADNESS[self.headness]()
        layers: dict[str, keras.layers.Layer] = {
            "prototypes": Prototypes(self.num_prototypes, self.momentum),
            "headness": headness,
        }
        if self.scale_by_reliability:
            layers["reliability"] = Reliability(self.momentum)
        return layers

    def assess(
        self,
        z: Tensor,
        temperature: float | Tensor,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Assignment]:
        """Returns temperatures and weights of a batch; the state stays as is.

        Args:
            z: Projections, `(batch, 2, dim)`.
            temperature: τ_0.
            ids: Sample ids for a headness that reads them. Defaults to `None`.

        Returns:
            The temperature and the weight of each sample, `(batch,)`, and the
            assignment to prototypes that they come from.
        """
        step = Step(ids, z, temperature, self.own_state())
        return self._assess(step)

    def _assess(self, step: Step) -> tuple[Tensor, Tensor, Assignment]:
        prototypes = step.layer("prototypes", Prototypes)
        headness = step.layer("headness", Headness)
        views = ops.stop_gradient(step.units)
        both = ops.cast(ops.sum(views, axis=1), "float32")
        # Zero where views are opposite; no other sum is that short.
        length = at_least(ops.norm(both, axis=-1, keepdims=True), 1e-15)
        units = both / length
        assignment = prototypes.assign(units, step.ids)

        # 0 during warm-up: then every sample has τ_0 and weight 1.
        is_warm = ops.convert_to_tensor(step.state.step) >= self.warmup_steps
        spread = number_where(is_warm, self.spread)
        exponent = number_where(is_warm, -self.weight_power)
        if self.scale_by_reliability:
            reliability = step.layer("reliability", Reliability).read()
            spread, exponent = spread * reliability, exponent * reliability
        estimate = headness.estimate(assignment)
        temperatures = sample_temperatures(estimate, step.temperature, spread)
        if self.weights_from == "headness":
            weights = headness_weights(estimate, exponent, self.weight_limit)
        else:
            weights = share_weights(
                assignment.shares,
                assignment.labels,
                exponent,
                self.weight_limit,
            )
        return temperatures, weights, assignment

    def _observe(self, step: Step, assignment: Assignment) -> None:
        prototypes = step.layer("prototypes", Prototypes)
        headness = step.layer("headness", Headness)
        if self.scale_by_reliability:
            views = ops.cast(ops.stop_gradient(step.units), "float32")
            one, other = (
                headness.estimate(prototypes.assign(views[:, i], step.ids))
                for i in (0, 1)
            )
            step.layer("reliability", Reliability).update(one, other)
        prototypes.update(assignment)
        headness.update(assignment)

    def per_sample(self, step: Step) -> Tensor:
        temperatures, weights, assignment = self._assess(step)
        contrast = step.contrast(temperatures, self.chunk_size)
        prototypes = step.layer("prototypes", Prototypes)
        if step.training:
            self._observe(step, assignment)
        if self.scale_by_reliability:
            reliability = step.layer("reliability", Reliability)
            step.log(headness_reliability=reliability.read())
        mean, deviation = mean_and_deviation(temperatures)
        step.log(
            temperature=mean,
            temperature_std=deviation,
            share_entropy=prototypes.share_entropy(),
            empty_prototypes=count_where(prototypes.is_empty()),
        )
        losses = contrast.sample_losses
        return losses * ops.cast(weights, losses.dtype)

    def get_config(self) -> dict[str, Any]:
        headness: Any = self.headness
        if isinstance(headness, Headness):
            headness = keras.saving.serialize_keras_object(headness)
        return {
            **super().get_config(),
            "num_prototypes": self.num_prototypes,
            "headness": headness,
            "spread": self.spread,
            "weight_power": self.weight_power,
            "weight_limit": self.weight_limit,
            "weights_from": self.weights_from,
            "scale_by_reliability": self.scale_by_reliability,
            "momentum": self.momentum,
            "warmup_steps": self.warmup_steps,
            "chunk_size": self.chunk_size,
        }
