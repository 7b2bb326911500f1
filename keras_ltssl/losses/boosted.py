"""BCL: which samples are hard to remember, told by their own losses."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.fused_arithmetic import minus_quotient
from keras_ltssl.backend.fused_operations import (
    at_least,
    count_where,
    fill_where,
    rows_of,
)
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.ids import as_ids
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.wrapping_loss import WrappingLoss
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor, check_integer, check_number

# Where all losses are equal, 0 is divided by it.
_TINY = float(np.finfo("float32").tiny)


def boosted_weights(
    momentum_losses: Tensor, seen: Tensor | None = None
) -> Tensor:
    """Scales the remembered losses of a population to weights in [0, 1].

        s_i = (m_i - mean(m)) / std(m)
        w_i = s_i / (2 max_j |s_j|) + 1/2

    The standard deviation cancels, whichever is meant. The mean weight is 1/2,
    and the sample farthest from the mean has 0 or 1. Where all losses are
    equal, all weights are 1/2. Samples without a loss so far have weight 0 and
    do not count for the others, as in the published code, whose weights are
    0 throughout the first epoch. No gradient flows through.

    Args:
        momentum_losses: m, moving averages of the losses, `(samples,)`.
        seen: Booleans, which samples have one, `(samples,)`. Defaults to
            `None`, all.

    Returns:
        Weights, `(samples,)`, float32 (float64 stays float64).

    Raises:
        ValueError: If `momentum_losses` is not `(samples,)` or `seen` has
            another shape.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> losses = np.array([1.0, 2.0, 6.0, 0.0], "float32")
    >>> seen = np.array([True, True, True, False])
    >>> weights = lt.losses.boosted_weights(losses, seen)
    >>> ops.convert_to_numpy(weights).round(3).tolist()
    [0.16699999570846558, 0.3330000042915344, 1.0, 0.0]

    Reference:
        - [Contrastive Learning with Boosted
          Memorization](https://arxiv.org/abs/2205.12693), Zhou et al., ICML
          2022
    """
    values = as_tensor("momentum_losses", momentum_losses)
    if len(values.shape) != 1:
        raise ValueError(
            "`momentum_losses` must have shape (samples,). "
            f"Received: momentum_losses.shape={tuple(values.shape)}"
        )
    if keras.backend.standardize_dtype(values.dtype) != "float64":
        values = ops.cast(values, "float32")
    if seen is None:
        seen = ops.ones_like(values, dtype="bool")
    else:
        seen = ops.cast(as_tensor("seen", seen), "bool")
        if tuple(seen.shape) != tuple(values.shape):
            raise ValueError(
                f"`seen` must have shape {tuple(values.shape)}. "
                f"Received: seen.shape={tuple(seen.shape)}"
            )
    apart, unseen, _ = _apart(ops.stop_gradient(values), seen)
    return _weights(apart, unseen)


def _apart(values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns w - 1/2, 0 where unseen; what is unseen; and how much is seen.

    The count is 1 where nothing is.
    """
    unseen = ops.logical_not(seen)
    # Equal losses must come out as exactly equal, which a rounded mean would
    # spoil; so all are counted from the lowest.
    lowest = ops.amin(fill_where(unseen, values, math.inf))
    values = fill_where(unseen, values - lowest, 0.0)
    dtype = keras.backend.standardize_dtype(values.dtype)
    count = at_least(count_where(seen, dtype), 1.0)
    apart = minus_quotient(values, ops.sum(values), count)
    apart = fill_where(unseen, apart, 0.0)
    largest = at_least(ops.amax(ops.abs(apart)), _TINY)
    return apart / (2.0 * largest), unseen, count


def _weights(apart: Tensor, unseen: Tensor) -> Tensor:
    return fill_where(unseen, 0.5 + apart, 0.0)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class BoostedLoss(WrappingLoss):
    """Remembers how well each sample is learned, for views that boost the rest.

        m_i ← β m_i + (1-β) L_base,i          (first: L_base,i)

    The value is that of the base loss. `weights_of(ids)` returns the
    `boosted_weights` of the remembered losses. Samples that the network is slow
    to learn have large weights; samples of the tail are among them.

    With `layers.BoostedViews` as its augmenter, a `ContrastiveModel` of any
    framework gives these samples stronger views. In a model of your own, pass
    `weights_of(ids)` to the views. The loss by itself changes nothing in
    training.

    Weights follow the memory step by step; the published code takes them once
    an epoch. As a sample comes once an epoch, its own m_i is the same; only
    the mean and the range that it is compared with are more recent. In the
    first epoch all weights are 0, as published. Samples with id -1, out of
    distribution, are not remembered and have weight 0.

    Logged beside what the base loss logs: `boosted_weight`, mean over the batch
    before it is remembered, that is, as its views were made with; and
    `boosted_weight_std`, over all samples seen (their mean is 1/2).

    Args:
        base_loss: Any loss of this package.
        num_samples: In-distribution samples, integer >= 1; sample ids are 0 to
            `num_samples - 1`.
        momentum: β in [0, 1), per epoch. Defaults to `0.97`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"boosted_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If an argument is out of range, or it is called without
            sample ids or outside a model.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> views = lt.layers.TwoViews(lt.layers.RandomResizedCrop(8, 8, seed=0))
    >>> model = lt.models.ContrastiveModel(
    ...     lt.models.small_convnet((8, 8, 3), width=4),
    ...     augmenter=lt.layers.BoostedViews(views, seed=0),
    ... )
    >>> loss = lt.losses.BoostedLoss(lt.losses.NTXentLoss(), num_samples=65)
    >>> model.compile("sgd", loss=loss)
    >>> images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3))
    >>> ids = np.arange(64)
    >>> history = model.fit(images.astype("uint8"), ids, verbose=0).history
    >>> history["boosted_weight"]
    [0.0]
    >>> weights = loss.weights_of(np.append(ids, [64, -1]))
    >>> weights = ops.convert_to_numpy(weights)
    >>> bool(np.isclose(weights[:64].mean(), 0.5)), weights[64:].tolist()
    (True, [0.0, 0.0])

    Reference:
        - [Contrastive Learning with Boosted
          Memorization](https://arxiv.org/abs/2205.12693), Zhou et al., ICML
          2022
    """

    def __init__(
        self,
        base_loss: ContrastiveLoss,
        num_samples: int,
        momentum: float = 0.97,
        reduction: str | None = "sum_over_batch_size",
        name: str = "boosted_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(base_loss, reduction, name, dtype)
        self.num_samples = check_integer("num_samples", num_samples, minimum=1)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)

    @property
    def requirements(self) -> Requirements:
        return super().requirements | Requirements(ids=True, state=True)

    def own_layers(self) -> dict[str, keras.layers.Layer]:
        return {"losses": SampleMemory(self.num_samples, None, self.momentum)}

    def own_metric_names(self) -> tuple[str, ...]:
        return ("boosted_weight", "boosted_weight_std")

    def check_augmenter(self, augmenter: keras.layers.Layer | None) -> None:
        super().check_augmenter(augmenter)
        # No import of BoostedViews: a view layer of the user's own may do.
        if not hasattr(augmenter, "attach"):
            raise ValueError(
                "BoostedLoss remembers which samples are hard, and an "
                "augmenter makes their views stronger: one does nothing "
                "without the other. Use both, `augmenter=BoostedViews(...)` "
                "and `loss=BoostedLoss(...)`, or neither. Received: "
                f"augmenter={augmenter!r}, loss={self!r}"
            )

    def weights_of(self, ids: Tensor) -> Tensor:
        """Returns the weight of each sample named, for its next views.

        Args:
            ids: Sample ids, integers `(batch,)`.

        Returns:
            float32 weights in [0, 1], `(batch,)`: 0 for samples without a loss
            so far, and for ids that name none of them.

        Raises:
            ValueError: If the loss is not part of a model.
        """
        memory = self.own_state().layer("losses", SampleMemory)
        if not memory.built:  # Views are made before the first loss is known.
            memory.build()
        apart, unseen, _ = _population(memory)
        return rows_of(_weights(apart, unseen), memory.rows(as_ids(ids)))

    def per_sample(self, step: Step) -> Tensor:
        losses = self.base_loss.per_sample(step)
        memory = step.layer("losses", SampleMemory)
        apart, unseen, count = _population(memory)
        rows = memory.rows(step.ids)
        weights = rows_of(_weights(apart, unseen), rows)
        step.log(
            boosted_weight=ops.mean(weights),
            boosted_weight_std=ops.norm(apart) / ops.sqrt(count),
        )
        if step.training:
            memory.update(step.ids, losses, rows=rows)
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_samples": self.num_samples,
            "momentum": self.momentum,
        }


def _population(memory: SampleMemory) -> tuple[Tensor, Tensor, Tensor]:
    """Returns w - 1/2 of all samples, which lack a loss, and how many have one.

    The last row is for what belongs to no sample, and has no loss either.
    """
    values = ops.convert_to_tensor(memory.values)
    return _apart(values, memory.is_known(values))
