"""COLT's distribution term, which separates in- from out-of-distribution."""

from keras import ops

from keras_ltssl.losses.contrast import BatchContrast, Contrast
from keras_ltssl.losses.kernels.anchors import compare_anchors, with_gradient_to
from keras_ltssl.losses.kernels.queue import QueueContrast
from keras_ltssl.losses.kernels.unit_views import as_floats
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor


def distribution_supcon(
    z: Tensor,
    is_ood: Tensor,
    temperature: float | Tensor = 0.2,
    chunk_size: int | None = None,
) -> Tensor:
    """Computes a supervised contrastive loss whose labels are the domains.

        l_a = -1/|P(a)| Σ_{p∈P(a)} log( exp(s_ap/τ) / Σ_{b≠a} exp(s_ab/τ) )

    where P(a) are the anchors of the same domain (in- or out-of-distribution)
    as anchor a, without a itself. It is zero while a batch has no
    out-of-distribution sample. The sum over P(a) is the cosine with a sum of
    unit vectors, so all of it costs no more than `nt_xent`.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        is_ood: Whether each sample is out of distribution, `(batch,)`.
        temperature: τ > 0, a scalar, or one per sample, `(batch,)`. Defaults
            to `0.2`.
        chunk_size: Anchors held at a time, see `nt_xent`. Defaults to `None`.

    Returns:
        The loss of each sample, the mean of its two anchors, `(batch,)`.

    Raises:
        ValueError: As `nt_xent`, and if `is_ood` is not `(batch,)`.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> z = np.random.default_rng(0).normal(size=(4, 2, 8)).astype("float32")
    >>> none = lt.losses.distribution_supcon(z, np.array([False] * 4))
    >>> np.asarray(none).tolist()
    [0.0, 0.0, 0.0, 0.0]
    >>> apart = np.zeros((4, 2, 2), "float32")
    >>> apart[:2, :, 0] = apart[2:, :, 1] = 1.0  # Each domain in one place.
    >>> is_ood = np.array([False, False, True, True])
    >>> loss = lt.losses.distribution_supcon(apart, is_ood, temperature=0.02)
    >>> bool(np.allclose(loss, np.log(3), atol=1e-4))  # 3 others, all alike.
    True

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """
    # In floats once: float16 might not hold the sum of two gradients.
    z = as_floats(as_tensor("z", z))
    anchors = compare_anchors(z, temperature, chunk_size)
    units = with_gradient_to(z, anchors.normalized)
    return supcon_of_anchors(anchors.losses, units, is_ood, temperature)


def supcon_of_anchors(
    anchors: Tensor, units: Tensor, is_ood: Tensor, temperature: float | Tensor
) -> Tensor:
    """Returns `distribution_supcon` from the NT-Xent loss of each anchor.

    Args:
        anchors: The losses of `compare_anchors`, `(batch, 2)`.
        units: The unit vectors of all anchors, `(batch, 2, dim)`.
        is_ood: `(batch,)`.
        temperature: The τ of `anchors`.
    """
    is_ood = as_tensor("is_ood", is_ood)
    samples = anchors.shape[0]
    if len(is_ood.shape) != 1 or (
        None not in (is_ood.shape[0], samples) and is_ood.shape[0] != samples
    ):
        raise ValueError(
            "`is_ood` must hold one value for each sample, shape (batch,) = "
            f"({samples},). Received: is_ood.shape={tuple(is_ood.shape)}"
        )
    ood = ops.cast(ops.cast(is_ood, "bool"), units.dtype)
    tau = ops.stop_gradient(ops.cast(temperature, units.dtype))

    # A mean of cosines is a cosine with a mean: two domains, two vectors. Both
    # anchors of a sample have the same positives, but for each other.
    member = ops.stack([ood, 1.0 - ood], axis=1)
    both = ops.sum(units, axis=1)
    totals = ops.transpose(member) @ both
    others = ops.maximum(2.0 * ops.sum(member, axis=0) - 1.0, 1.0)
    # The members include the anchors themselves, whose cosine is constant.
    itself = ops.stop_gradient(ops.sum(units * units, axis=(1, 2)))[:, None]
    means = 0.5 * (both @ ops.transpose(totals) - itself) / others
    same = ops.sum(means * member, axis=1)
    positive = ops.sum(units[:, 0] * units[:, 1], axis=1)
    losses = ops.mean(anchors, axis=1) + (positive - same) / tau
    return losses * ops.amax(ood)  # Without the other domain, no term.


def supcon_of(contrast: Contrast, is_ood: Tensor) -> Tensor:
    """Returns the distribution term of anchors that are compared already.

    Args:
        contrast: What `Step.contrast` returns.
        is_ood: Whether each sample is out of distribution, `(batch,)`.
    """
    if isinstance(contrast, BatchContrast):
        units = with_gradient_to(contrast.z, contrast.anchors.normalized)
        return supcon_of_anchors(
            contrast.losses, units, is_ood, contrast.temperature
        )
    return _supcon_of_queries(contrast, is_ood)


def _supcon_of_queries(contrast: QueueContrast, is_ood: Tensor) -> Tensor:
    """Returns the term of queries that are compared with a queue.

    Positives are the query's own key and the keys of its domain in the queue.
    Zero while neither batch nor queue has an OOD sample.
    """
    is_ood = ops.cast(is_ood, "bool")
    # With a gradient to the queries; keys are constants.
    queries = contrast.units[:, 0]
    own = ops.stop_gradient(contrast.units[:, 1])
    positive = ops.sum(queries * own, axis=-1)

    def mean_cosine(is_member: Tensor) -> Tensor:
        member = ops.logical_and(is_member, contrast.is_filled)
        member = ops.cast(member, queries.dtype)
        total = ops.sum(contrast.keys * member[:, None], axis=0)
        cosines = positive + ops.sum(queries * total, axis=-1)
        return cosines / (1.0 + ops.sum(member))

    same = ops.where(
        is_ood,
        mean_cosine(contrast.key_is_ood),
        mean_cosine(ops.logical_not(contrast.key_is_ood)),
    )
    log_partition = contrast.losses[:, 0] + positive / contrast.tau
    losses = log_partition - same / contrast.tau
    earlier = ops.logical_and(contrast.key_is_ood, contrast.is_filled)
    any_ood = ops.logical_or(ops.any(is_ood), ops.any(earlier))
    return ops.where(any_ood, losses, ops.zeros_like(losses))
