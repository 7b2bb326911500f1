"""ConMix: the contrast of means of random samples."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.kernels.anchors import check_temperatures, check_views
from keras_ltssl.losses.kernels.negatives import lowest
from keras_ltssl.losses.kernels.unit_views import unit_views
from keras_ltssl.losses.nt_xent import NTXentLoss
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.wrapping_loss import WrappingLoss
from keras_ltssl.state.random_tags import RandomTags
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    LARGEST_KERAS_SEED,
    as_tensor,
    check_integer,
    check_number,
)


def con_mix(
    z: Tensor, tags: Tensor, num_tags: int, temperature: float | Tensor = 0.2
) -> Tensor:
    """Computes NT-Xent between the two views of mixed samples.

        m_tv = unit( Σ_{i with tag t} unit(z_iv) )
        l_t  = NT-Xent of the mixed samples m_t, at the temperature τ
        L_i  = l_t batch / (T' n_t)             for the tag t of sample i

    where n_t samples have the tag t, and T' tags have samples. A tag without
    samples is neither an anchor nor a negative. The mean of L over the batch is
    the mean of l over the mixed samples. With a single mixed sample the loss
    is 0.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        tags: Tag of each sample, integers in 0 to `num_tags - 1`, `(batch,)`.
        num_tags: How many tags there are, integer >= 1.
        temperature: τ > 0, a scalar. Defaults to `0.2`.

    Returns:
        The loss of each sample, `(batch,)`.

    Raises:
        ValueError: If `z` is not `(batch, 2, dim)`, `tags` is not `(batch,)`,
            or another argument is out of range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> same = np.ones((6, 2, 4), "float32")
    >>> loss = lt.losses.con_mix(same, np.array([0, 0, 1, 1, 3, 3]), 4)
    >>> bool(np.allclose(ops.convert_to_numpy(loss), np.log(5)))
    True

    Reference:
        - [ConMix: Contrastive Mixup at Representation Level for Long-tailed
          Deep Clustering](https://openreview.net/forum?id=3lH8WT0fhu), Li and
          Jia, ICLR 2025
    """
    z = as_tensor("z", z)
    check_views(z)
    count = check_integer("num_tags", num_tags, minimum=1)
    tags = as_tensor("tags", tags)
    kind = keras.backend.standardize_dtype(tags.dtype)
    if len(tags.shape) != 1 or "int" not in kind:
        raise ValueError(
            "`tags` must be integers of shape (batch,). Received: "
            f"tags.shape={tuple(tags.shape)}, dtype={kind}"
        )
    if None not in (tags.shape[0], z.shape[0]) and tags.shape[0] != z.shape[0]:
        raise ValueError(
            "`tags` must hold one tag for each sample of `z`. Received: "
            f"{tags.shape[0]} tags for {z.shape[0]} samples"
        )
    check_temperatures(temperature)
    units = unit_views(z)
    tau = ops.stop_gradient(ops.cast(temperature, units.dtype))
    if len(tau.shape) > 0:
        raise ValueError(
            "`temperature` must be a scalar, since a mixed sample is of "
            f"several samples. Received: temperature.shape={tuple(tau.shape)}"
        )
    # PyTorch's `one_hot` would read the largest tag to the host.
    every = ops.arange(count, dtype=kind)
    members = ops.cast(ops.expand_dims(tags, 1) == every, units.dtype)
    sizes = ops.sum(members, axis=0)
    is_there = sizes > 0
    mixed = unit_views(ops.tensordot(ops.transpose(members), units, axes=1))
    losses = _nt_xent_of(mixed, is_there, tau)
    mixed_samples = ops.sum(ops.cast(is_there, units.dtype))
    of_tags = losses / (ops.maximum(sizes, 1.0) * mixed_samples)
    batch = ops.cast(ops.shape(z)[0], units.dtype)
    return batch * ops.matmul(members, of_tags)


def _nt_xent_of(units: Tensor, is_there: Tensor, tau: Tensor) -> Tensor:
    """Returns NT-Xent of some unit vectors among those that are there.

    Args:
        units: `(tags, 2, dim)`.
        is_there: Which tags count, `(tags,)`.
        tau: τ, a scalar.

    Returns:
        The mean over both views, `(tags,)`, 0 for tags that do not count.
    """
    anchors = ops.concatenate([units[:, 0], units[:, 1]])
    logits = ops.matmul(anchors, ops.transpose(anchors)) / tau
    tags = ops.arange(units.shape[0], dtype="int32")
    tags = ops.concatenate([tags, tags])
    is_negative = ops.logical_and(
        tags[:, None] != tags[None, :],
        ops.concatenate([is_there, is_there])[None, :],
    )
    logits = ops.where(is_negative, logits, lowest(logits))
    positive = ops.sum(units[:, 0] * units[:, 1], axis=-1) / tau
    log_sums = ops.reshape(ops.logsumexp(logits, axis=-1), (2, -1))
    losses = ops.mean(ops.softplus(log_sums - positive), axis=0)
    return ops.where(is_there, losses, ops.zeros_like(losses))


@keras.saving.register_keras_serializable(package="keras_ltssl")
class ConMixLoss(WrappingLoss):
    """NT-Xent between means of random samples (ConMix).

    In each step every sample gets one of `num_tags` tags at random, and
    `con_mix` compares the means of the samples of a tag. In the theory of its
    authors, mixing re-balances rare classes.

        L_i = con_mix_i + base_weight · L_base,i

    As published, mixed samples alone are trained on: `base_weight=0`. Only the
    temperature of the base loss is used then. The published training begins
    with 200 of 1000 epochs of SDCLR; to do so, train the encoder first by
    `models.SelfDamagingContrast`.

    A mixed sample should have several samples, about five as published. In
    small batches, take a fifth of the batch as `num_tags`. With more tags than
    samples, nearly all mixed samples are single samples, and the loss is nearly
    NT-Xent.

    With `models.MomentumContrast`, mixed queries are compared with the mixed
    keys of the batch, and not with the queue, whose keys are of single samples.
    This is this package's own design.

    Logged beside what the base loss logs, if that is trained on, too:
    `mixed_loss`, the mean of `con_mix`.

    Args:
        base_loss: A loss of this package with a temperature; `NTXentLoss` if
            `base_weight` is 0.
        num_tags: T, integer >= 1. Defaults to `100`, as published for batches
            of 512.
        base_weight: Weight of the base loss, >= 0. Defaults to `0.0`.
        seed: Of the tags, integer >= 0. Defaults to `0`.
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"con_mix_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Raises:
        ValueError: If an argument is out of range, the base loss has no
            temperature, or it would not be trained on and is no `NTXentLoss`.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> loss = lt.losses.ConMixLoss(lt.losses.NTXentLoss(0.2), num_tags=12)
    >>> model.compile("sgd", loss=loss)
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> history = model.fit(views.astype("float32"), verbose=0).history
    >>> round(history["temperature"][0], 3)
    0.2

    Reference:
        - [ConMix: Contrastive Mixup at Representation Level for Long-tailed
          Deep Clustering](https://openreview.net/forum?id=3lH8WT0fhu), Li and
          Jia, ICLR 2025
    """

    def __init__(
        self,
        base_loss: ContrastiveLoss,
        num_tags: int = 100,
        base_weight: float = 0.0,
        seed: int = 0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "con_mix_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(base_loss, reduction, name, dtype)
        self.num_tags = check_integer("num_tags", num_tags, minimum=1)
        self.base_weight = check_number("base_weight", base_weight, minimum=0)
        self.seed = check_integer("seed", seed, 0, LARGEST_KERAS_SEED)
        if not self.base_loss.has_temperature:
            raise ValueError(
                "`base_loss` must have a temperature, at which ConMixLoss "
                "compares mixed samples; BYOL has no negatives and no "
                f"temperature. Received: base_loss={base_loss!r}"
            )
        if not self.base_weight and type(self.base_loss) is not NTXentLoss:
            raise ValueError(
                "`base_loss` must be an NTXentLoss unless `base_weight` is "
                "above 0: without a weight only its temperature is used. "
                f"Received: base_loss={base_loss!r}"
            )

    @property
    def requirements(self) -> Requirements:
        # PyTorch's compiler would split a step where random numbers are drawn.
        return super().requirements | Requirements(state=True, loops=True)

    def own_layers(self) -> dict[str, keras.layers.Layer]:
        return {"tags": RandomTags(self.num_tags, self.seed)}

    def own_metric_names(self) -> tuple[str, ...]:
        return ("mixed_loss",) if self.base_weight else ()

    def per_sample(self, step: Step) -> Tensor:
        layer = step.layer("tags", RandomTags)
        tags = layer.draw(ops.shape(step.z)[0])
        mixed = con_mix(step.z, tags, self.num_tags, step.temperature)
        if not self.base_weight:
            step.log(temperature=step.temperature)
            return mixed
        losses = self.base_loss.per_sample(step)
        step.log(mixed_loss=ops.mean(mixed))
        return ops.cast(mixed, losses.dtype) + self.base_weight * losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_tags": self.num_tags,
            "base_weight": self.base_weight,
            "seed": self.seed,
        }
