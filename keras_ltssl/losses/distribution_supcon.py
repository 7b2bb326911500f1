"""COLT's distribution term, which separates in- from out-of-distribution."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.constants import constant
from keras_ltssl.backend.fused_arithmetic import (
    affine,
    minus_quotient,
    plus_matmul,
)
from keras_ltssl.backend.fused_operations import at_least, at_most
from keras_ltssl.losses.contrast import BatchContrast, Contrast
from keras_ltssl.losses.kernels.anchors import Anchors, checked_units
from keras_ltssl.losses.kernels.queue import QueueContrast
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

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> z = np.random.default_rng(0).normal(size=(4, 2, 8)).astype("float32")
    >>> none = lt.losses.distribution_supcon(z, np.array([False] * 4))
    >>> ops.convert_to_numpy(none).tolist()
    [0.0, 0.0, 0.0, 0.0]
    >>> apart = np.zeros((4, 2, 2), "float32")
    >>> apart[:2, :, 0] = apart[2:, :, 1] = 1.0  # Each domain in one place.
    >>> is_ood = np.array([False, False, True, True])
    >>> loss = lt.losses.distribution_supcon(apart, is_ood, temperature=0.02)
    >>> expected = np.log(3)  # 3 others, all alike.
    >>> bool(np.allclose(ops.convert_to_numpy(loss), expected, atol=1e-4))
    True

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """
    units = checked_units(z, temperature, chunk_size)
    contrast = BatchContrast(units, temperature, chunk_size)
    is_ood = as_tensor("is_ood", is_ood)
    samples = units.shape[0]
    if len(is_ood.shape) != 1 or (
        None not in (is_ood.shape[0], samples) and is_ood.shape[0] != samples
    ):
        raise ValueError(
            "`is_ood` must hold one value for each sample, shape (batch,) = "
            f"({samples},). Received: is_ood.shape={tuple(is_ood.shape)}"
        )
    is_ood = ops.cast(is_ood, "bool")
    return supcon_of(contrast, domains_of(is_ood, units.dtype))


class Domains(NamedTuple):
    """Which samples of a batch are out of distribution, and which are not."""

    is_ood: Tensor
    """Booleans, `(batch,)`."""
    members: Tensor
    """1 where a sample is out of, or in distribution, `(batch, 2)`."""
    sizes: Tensor
    """How many samples are out of, and in distribution, `(2,)`."""


def domains_of(is_ood: Tensor, dtype: Any) -> Domains:
    """Returns the two domains of a batch.

    Args:
        is_ood: Booleans, `(batch,)`.
        dtype: Dtype of the numbers.
    """
    other = constant(np.array, (False, True), beside=is_ood)
    members = ops.cast(
        is_ood[:, None] != other, keras.backend.standardize_dtype(dtype)
    )
    return Domains(is_ood, members, ops.sum(members, axis=0))


def _positive_above_domain(anchors: Anchors, domains: Domains) -> Tensor:
    """Returns how much closer the positive is than the rest of the domain.

    That is s_ap/τ less the mean of s_ab/τ over the anchors b of its domain but
    itself, and over both anchors of a sample, `(batch,)`. A mean of cosines is
    a cosine with a mean: two domains, two vectors.

    Args:
        anchors: What `compare_anchors` returned. The gradient goes to its unit
            vectors.
        domains: The domains of the samples.
    """
    _, member, sizes = domains
    units, part = ops.stop_gradient(anchors.units), anchors.part
    tau = part.gather(anchors.tau)
    both = ops.sum(units, axis=1)
    # Over both anchors, and over all others of the domain, if there are any.
    pairs = at_least(affine(sizes, 4.0, -2.0), 2.0)
    shares = member / pairs
    means = shares @ (ops.transpose(member) @ both)
    # The domain includes the anchor itself, whose cosine is constant.
    itself = ops.sum(units * units, axis=(1, 2)) * ops.sum(shares, axis=1)
    same = ops.sum(both * means, axis=1) - itself
    positive = part.gather(anchors.positive)[:, 0]
    above = minus_quotient(positive, same, tau)

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def with_gradient(
        units: Tensor, above: Tensor, *held: Tensor
    ) -> tuple[Tensor, Any]:
        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Any:
            if upstream is None:
                (upstream,) = args
            tau, both, means, member, shares = held
            weights = (upstream / tau)[:, None]
            # The other view is `both` less the anchor, along which no gradient
            # passes `unit_views`.
            pulled = weights * both
            by_others = ops.transpose(shares) @ pulled
            pushed = plus_matmul(weights * means, member, by_others)
            to_units = (pulled - pushed)[:, None]
            to_both = ops.broadcast_to(to_units, ops.shape(units))
            return to_both, *[None] * 6

        return above, gradient

    return with_gradient(anchors.units, above, tau, both, means, member, shares)


def supcon_of(contrast: Contrast, domains: Domains) -> Tensor:
    """Returns the distribution term of anchors that are compared already.

    Args:
        contrast: What `Step.contrast` returns.
        domains: The domains of the samples.
    """
    if not isinstance(contrast, BatchContrast):
        return _supcon_of_queries(contrast, domains.is_ood)
    above = _positive_above_domain(contrast.anchors, domains)
    losses = contrast.sample_losses + above
    # Without the other domain, no term.
    return losses * at_most(domains.sizes[0], 1)


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
