"""COLT's tailness: how crowded the surroundings of a sample are."""

from keras import ops

from keras_ltssl.backend.fused_arithmetic import plus_product
from keras_ltssl.backend.fused_operations import reshape
from keras_ltssl.backend.in_place_operations import (
    ProductBuffer,
    exp_in_place,
    fill_columns,
)
from keras_ltssl.losses.contrast import BatchContrast, Contrast
from keras_ltssl.losses.kernels.anchors import (
    Anchors,
    checked_units,
    compare_anchors,
)
from keras_ltssl.losses.kernels.chunks import in_blocks
from keras_ltssl.losses.kernels.negatives import Softmax
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer


def tail_score(
    z: Tensor,
    temperature: float | Tensor = 0.2,
    top_k: int = 10,
    chunk_size: int | None = None,
) -> Tensor:
    """Computes how much probability a sample gives to its nearest negatives.

        P_ib = ½ Σ_{views a of i} exp(s_ab/τ) / Σ_{c≠a} exp(s_ac/τ)
        tailness_i = sum of the k largest P_ib over the negatives b of i

    Published premise: a head sample has many near neighbors and a high value,
    a tail sample a low one. With fewer than k negatives it sums all of them. No
    gradient flows.

    Args:
        z: Projections, `(batch, 2, dim)`, any scale.
        temperature: τ > 0, a scalar, or one per sample, `(batch,)`. Defaults
            to `0.2`.
        top_k: k, integer >= 1. Defaults to `10`.
        chunk_size: Samples whose probabilities are held at a time, or `None`
            for all of them. Defaults to `None`.

    Returns:
        The tailness of each sample, in [0, 1], `(batch,)`.

    Raises:
        ValueError: As `nt_xent`, and if `top_k` is not an integer >= 1.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> same = np.ones((8, 2, 4), "float32")
    >>> score = lt.losses.tail_score(same, top_k=3)  # 3 of 15 equal others.
    >>> bool(np.allclose(ops.convert_to_numpy(score), 3 / 15))
    True

    Reference:
        - [On the Effectiveness of Out-of-Distribution Data in Self-Supervised
          Long-Tail Learning](https://arxiv.org/abs/2306.04934), Bai et al.,
          ICLR 2023
    """
    check_integer("top_k", top_k, minimum=1)
    units = ops.stop_gradient(checked_units(z, temperature, chunk_size))
    anchors = compare_anchors(units, temperature, chunk_size)
    return _of_anchors(anchors, top_k, chunk_size)


def tail_score_of(contrast: Contrast, top_k: int) -> Tensor:
    """Returns the tail scores of anchors that are compared already.

    Args:
        contrast: What `Step.contrast` returns. Compared with a queue, the score
            of a query sums its probabilities of the keys there.
        top_k: k.
    """
    if isinstance(contrast, BatchContrast):
        anchors, size = contrast.anchors, contrast.chunk_size
        return anchors.part.gather(_of_anchors(anchors, top_k, size))
    count = min(top_k, int(contrast.keys.shape[0]))

    def sums_of_largest(shares: Softmax) -> Tensor:
        # Divided last: one division a row, not one an entry.
        largest = ops.top_k(shares.exponentials, count, sorted=False)[0]
        return ops.sum(largest, axis=-1) / shares.sums

    return contrast.over_queue(sums_of_largest)


def _of_anchors(anchors: Anchors, top_k: int, chunk_size: int | None) -> Tensor:
    """Returns the tail scores of the samples of anchors, `(own,)`."""
    if anchors.shares is not None:
        return _of_shares(anchors.shares, anchors.miss, top_k)
    return _in_chunks(anchors, top_k, chunk_size or anchors.losses.shape[0])


def _of_shares(shares: Softmax, miss: Tensor, top_k: int) -> Tensor:
    """Returns `tail_score` from a softmax that is held as a whole."""
    # The softmax is over the negatives; of all others, they have this part.
    scale = miss / reshape(shares.sums, (-1, 2))
    others = ops.shape(shares.exponentials)[1]
    views = reshape(shares.exponentials, (-1, 2, others))
    first = scale[:, :1] * views[:, 0]
    both = plus_product(first, scale[:, 1:], views[:, 1])
    return 0.5 * _sum_of_largest(both, top_k)


def _in_chunks(anchors: Anchors, top_k: int, chunk_size: int) -> Tensor:
    """Returns `tail_score` from the NT-Xent loss of each anchor.

    Args:
        anchors: What `compare_anchors` returned.
        top_k: k.
        chunk_size: Samples held at a time.
    """
    losses, part = ops.stop_gradient(anchors.losses), anchors.part
    units = ops.stop_gradient(anchors.units)
    tau = anchors.tau[:, None]
    own_units = part.own(units)
    first, second = own_units[:, 0], own_units[:, 1]
    log_partition = losses + anchors.positive
    # Both views of sample i are the columns 2 * i and 2 * i + 1.
    others = ops.transpose(reshape(units, (-1, units.shape[-1])))
    sample = part.first + ops.arange(ops.shape(losses)[0], dtype="int32")
    own = ops.stack([2 * sample, 2 * sample + 1], axis=1)
    buffers = ProductBuffer(), ProductBuffer()

    def scores_of(block: tuple[Tensor, ...]) -> Tensor:
        first, second, own, tau_rows, log_rows = block

        def probability(
            views: Tensor, log_rows: Tensor, buffer: ProductBuffer
        ) -> Tensor:
            logits = buffer.multiply(views / tau_rows, others)
            logits -= log_rows[:, None]  # In place on PyTorch.
            return exp_in_place(logits)

        both = probability(first, log_rows[:, 0], buffers[0])
        both += probability(second, log_rows[:, 1], buffers[1])
        both = fill_columns(both, own, 0.0)
        return 0.5 * _sum_of_largest(both, top_k)

    blocks = (first, second, own, tau, log_partition)
    return in_blocks(scores_of, blocks, chunk_size)


def _sum_of_largest(values: Tensor, count: int) -> Tensor:
    """Returns the sum of the `count` largest of each row, all if fewer.

    Args:
        values: Not below 0, `(rows, columns)`.
        count: Integer >= 1.
    """
    columns = values.shape[1]
    missing = count if columns is None else max(0, count - columns)
    if missing:
        values = ops.pad(values, [[0, 0], [0, missing]])
    return ops.sum(ops.top_k(values, count, sorted=False)[0], axis=-1)
