"""COLT: the loss over in- and out-of-distribution samples."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.backend.fused_arithmetic import dot, plus_multiple
from keras_ltssl.backend.fused_operations import at_least
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.distribution_supcon import domains_of, supcon_of
from keras_ltssl.losses.nt_xent import NTXentLoss
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.tail_score import tail_score_of
from keras_ltssl.losses.wrapping_loss import WrappingLoss
from keras_ltssl.schedules import TemperatureSchedule
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    check_integer,
    check_integer_or_none,
    check_number,
)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class COLTLoss(WrappingLoss):
    """A loss over a mixed batch that also separates its two domains.

        L_i = L_base,i + ood_weight · distribution_supcon_i

    Samples with id -1 are out of distribution. With `num_samples`, the loss
    keeps a moving average of the `tail_score` of every in-distribution sample.
    `callbacks.OODSampler` chooses by it:

        tailness_i ← β tailness_i + (1-β) tail_score_i    (first: tail_score_i)

    Logged beside what the base loss logs: `supcon_loss` (before its weight),
    `ood_share` (of the samples) and, with `num_samples`, `tailness` (mean over
    the in-distribution samples of each batch).

    Args:
        temperature: τ, a number > 0 (which `TemperatureScheduler` may drive)
            or a `TemperatureSchedule`. Not allowed with a `base_loss`: it has
            its own. Defaults to `None`, which is `0.2`.
        ood_weight: Weight of the distribution term, >= 0. Defaults to `0.2`.
        top_k: Nearest negatives in the tailness, integer >= 1. Defaults to
            `10`.
        num_samples: In-distribution samples, integer >= 1, to remember the
            tailness of each; `None` remembers nothing. Defaults to `None`.
        momentum: β of the tailness, in [0, 1). Defaults to `0.97`.
        base_loss: Any other loss of this package over the mixed batch.
            Defaults to `None`: `NTXentLoss(temperature, chunk_size)`.
        chunk_size: Anchors held at a time, see `nt_xent`. Defaults to `None`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"colt_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If an argument is out of range, `temperature` and
            `base_loss` are both given, or it is called without sample ids.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> model.compile("sgd", loss=lt.losses.COLTLoss(num_samples=48))
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> ids = np.append(np.arange(48), [-1] * 16)
    >>> history = model.fit(views.astype("float32"), ids, verbose=0).history
    >>> {"ood_share", "supcon_loss", "tailness"} <= set(history)
    True
    >>> round(float(history["ood_share"][0]), 2)
    0.25

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """

    def __init__(
        self,
        temperature: float | TemperatureSchedule | None = None,
        ood_weight: float = 0.2,
        top_k: int = 10,
        num_samples: int | None = None,
        momentum: float = 0.97,
        base_loss: ContrastiveLoss | None = None,
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "colt_loss",
        dtype: Any = None,
    ) -> None:
        if base_loss is None:
            base_loss = NTXentLoss(
                0.2 if temperature is None else temperature, chunk_size
            )
        elif temperature is not None:
            raise ValueError(
                "`temperature` must be left to `base_loss` when that is given. "
                f"Received: temperature={temperature!r}"
            )
        super().__init__(base_loss, reduction, name, dtype)
        if self.base_loss.requirements.target_views:
            raise ValueError(
                "COLTLoss compares samples with other samples, which BYOL does "
                "not. What is left of COLT there is its choice of data: train "
                "BYOLLoss on MixedBatches with OODSampler(score=...). "
                f"Received: base_loss={base_loss!r}"
            )
        self.ood_weight = check_number("ood_weight", ood_weight, minimum=0)
        self.top_k = check_integer("top_k", top_k, minimum=1)
        self.num_samples = check_integer_or_none(
            "num_samples", num_samples, minimum=1
        )
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.chunk_size = check_integer_or_none(
            "chunk_size", chunk_size, minimum=1
        )

    @property
    def requirements(self) -> Requirements:
        return super().requirements | Requirements(
            ids=True, state=self.num_samples is not None
        )

    def own_layers(self) -> dict[str, keras.layers.Layer]:
        if self.num_samples is None:
            return {}
        return {
            "tailness": SampleMemory(self.num_samples, momentum=self.momentum)
        }

    def tailness(self) -> SampleMemory | None:
        """Returns the memory of tailness, or `None` where none is kept."""
        state = self.get_state()
        if self.num_samples is None or state is None:
            return None
        return state.layer("tailness", SampleMemory)

    def own_metric_names(self) -> tuple[str, ...]:
        names = ("supcon_loss", "ood_share")
        return names if self.num_samples is None else (*names, "tailness")

    def per_sample(self, step: Step) -> Tensor:
        losses = self.base_loss.per_sample(step)
        contrast = step.contrast(step.temperature, self.chunk_size)
        domains = domains_of(step.ids < 0, contrast.losses.dtype)
        supcon = supcon_of(contrast, domains)
        ood, known = domains.sizes[0], domains.sizes[1]
        batch = ops.shape(step.ids)[0]
        step.log(supcon_loss=ops.mean(supcon), ood_share=ops.divide(ood, batch))
        if self.num_samples is not None:
            scores = tail_score_of(contrast, self.top_k)
            if step.training:
                step.layer("tailness", SampleMemory).update(step.ids, scores)
            total = dot(ops.cast(scores, known.dtype), domains.members[:, 1])
            step.log(tailness=total / at_least(known, 1.0))
        supcon = ops.cast(supcon, losses.dtype)
        return plus_multiple(losses, supcon, self.ood_weight)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "ood_weight": self.ood_weight,
            "top_k": self.top_k,
            "num_samples": self.num_samples,
            "momentum": self.momentum,
            "chunk_size": self.chunk_size,
        }
