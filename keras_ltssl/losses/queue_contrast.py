"""Queries against their own key and a queue of earlier keys (MoCo)."""

import math
from typing import Any

from keras import ops

from keras_ltssl.layers.key_queue import KeyQueue
from keras_ltssl.losses.blocks import in_blocks
from keras_ltssl.losses.unit_views import unit_views
from keras_ltssl.typing import Tensor


def _log_sum_exp(logits: Tensor, keep: Tensor) -> Tensor:
    """Returns log Σ exp over the kept columns; -inf where none is kept."""
    masked = ops.where(keep, logits, -math.inf)
    largest = ops.max(masked, axis=-1, keepdims=True)
    largest = ops.where(largest == -math.inf, 0.0, largest)
    total = ops.sum(ops.exp(masked - largest), axis=-1)
    return ops.log(total) + largest[:, 0]


def queue_nt_xent(
    z: Tensor,
    keys: Tensor,
    is_filled: Tensor,
    temperature: float | Tensor = 0.2,
    chunk_size: int | None = None,
) -> Tensor:
    """Computes the contrastive loss of queries against a queue of keys.

        l_i = -log( exp(q_i·k_i/τ) / (exp(q_i·k_i/τ) + Σ_n exp(q_i·n/τ)) )

    where the query q_i is the first view of a sample, its key k_i the second,
    and n runs over the keys of the queue. Keys of the batch itself are not
    negatives. While the queue is empty, the loss is 0. The gradient flows to
    the queries alone.

    Args:
        z: Projections, `(batch, 2, dim)`: queries and keys, any scale.
        keys: Unit vectors of earlier samples, `(size, dim)`.
        is_filled: Which of them are there, `(size,)`.
        temperature: τ > 0, a scalar, or one per sample, `(batch,)`. Defaults
            to `0.2`.
        chunk_size: Queries whose similarities are held at a time. Defaults to
            `None`, all of them.

    Returns:
        The loss of each sample, `(batch,)`.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> same = np.ones((4, 2, 8), "float32")
    >>> keys = np.ones((15, 8), "float32") / np.sqrt(8)
    >>> loss = lt.losses.queue_nt_xent(same, keys, np.arange(15) < 10)
    >>> bool(np.allclose(loss, np.log(11), atol=1e-5))
    True

    Reference:
        He, Fan, Wu, Xie, Girshick. Momentum Contrast for Unsupervised Visual
        Representation Learning. CVPR 2020, arXiv:1911.05722.
    """
    units = unit_views(z)
    queries, own = units[:, 0], ops.stop_gradient(units[:, 1])
    keys = ops.stop_gradient(ops.cast(keys, units.dtype))
    is_filled = ops.convert_to_tensor(is_filled)[None, :]
    tau = ops.stop_gradient(ops.cast(temperature, units.dtype))
    tau = ops.broadcast_to(tau, (ops.shape(units)[0],))

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def losses_of(queries: Tensor) -> tuple[Tensor, Any]:
        positive = ops.sum(queries * own, axis=-1) / tau

        def negatives(block: tuple[Tensor, ...]) -> Tensor:
            rows, tau_rows = block
            cosine = ops.matmul(rows, ops.transpose(keys))
            return _log_sum_exp(cosine / tau_rows[:, None], is_filled)

        everything = (queries, tau)
        if chunk_size is None:
            log_negatives = negatives(everything)
        else:
            log_negatives = in_blocks(negatives, everything, chunk_size)
        losses = ops.softplus(log_negatives - positive)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Any:
            if upstream is None:
                (upstream,) = args
            log_all = losses + positive

            def push(block: tuple[Tensor, ...]) -> Tensor:
                rows, tau_rows, log_all_rows = block
                cosine = ops.matmul(rows, ops.transpose(keys))
                shares = ops.exp(
                    cosine / tau_rows[:, None] - log_all_rows[:, None]
                )
                return ops.matmul(ops.where(is_filled, shares, 0.0), keys)

            everything = (queries, tau, log_all)
            if chunk_size is None:
                pushed = push(everything)
            else:
                pushed = in_blocks(push, everything, chunk_size)
            miss = ops.sigmoid(log_negatives - positive)
            return (upstream / tau)[:, None] * (pushed - miss[:, None] * own)

        return losses, gradient

    return losses_of(queries)


class QueueContrast:
    """The first view of every sample against its key and a queue (MoCo).

    Args:
        z: Queries and keys, `(batch, 2, dim)`.
        queue: Keys of earlier samples.
        temperature: τ, a scalar or `(batch,)`.
        chunk_size: Queries held at a time, or `None` for all.
    """

    def __init__(
        self,
        z: Tensor,
        queue: KeyQueue,
        temperature: float | Tensor,
        chunk_size: int | None,
    ) -> None:
        # Copies: PyTorch would see the queue change before it goes backward.
        self._keys = ops.copy(ops.convert_to_tensor(queue.keys))
        self._key_is_ood = ops.copy(ops.convert_to_tensor(queue.is_ood))
        self._is_filled = queue.is_filled()
        self._units = unit_views(z)
        tau = ops.stop_gradient(ops.cast(temperature, self._units.dtype))
        self._tau = ops.broadcast_to(tau, (ops.shape(self._units)[0],))
        losses = queue_nt_xent(
            z, self._keys, self._is_filled, self._tau, chunk_size
        )
        self.losses = losses[:, None]
        queries, own = self._units[:, 0], ops.stop_gradient(self._units[:, 1])
        self._positive = ops.sum(queries * own, axis=-1)
        self._log_partition = losses + self._positive / self._tau

    def supcon(self, is_ood: Tensor) -> Tensor:
        """Returns COLT's distribution term of each query, `(batch,)`.

        Positives are the query's own key and the keys of its domain in the
        queue. Zero while neither batch nor queue has an OOD sample.
        """
        is_ood = ops.cast(is_ood, "bool")
        queries = self._units[:, 0]

        def mean_cosine(is_member: Tensor) -> Tensor:
            member = ops.logical_and(is_member, self._is_filled)
            member = ops.cast(member, queries.dtype)
            total = ops.sum(self._keys * member[:, None], axis=0)
            cosines = self._positive + ops.sum(queries * total, axis=-1)
            return cosines / (1.0 + ops.sum(member))

        same = ops.where(
            is_ood,
            mean_cosine(self._key_is_ood),
            mean_cosine(ops.logical_not(self._key_is_ood)),
        )
        losses = self._log_partition - same / self._tau
        earlier = ops.logical_and(self._key_is_ood, self._is_filled)
        any_ood = ops.logical_or(ops.any(is_ood), ops.any(earlier))
        return ops.where(any_ood, losses, ops.zeros_like(losses))

    def tail_scores(self, top_k: int) -> Tensor:
        """Returns the sum of each query's k largest probabilities of keys."""
        queries = ops.stop_gradient(self._units[:, 0])
        logits = ops.matmul(queries, ops.transpose(self._keys))
        log_partition = ops.stop_gradient(self._log_partition)
        shares = ops.exp(logits / self._tau[:, None] - log_partition[:, None])
        shares = ops.where(self._is_filled[None, :], shares, 0.0)
        top_k = min(top_k, int(self._keys.shape[0]))
        return ops.sum(ops.top_k(shares, top_k)[0], axis=-1)
