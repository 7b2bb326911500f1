"""Queries against their own key and a queue of earlier keys (MoCo)."""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_ltssl.backend.replicas import WHOLE, Part
from keras_ltssl.losses.kernels.anchors import (
    check_one_a_sample,
    check_temperatures,
    check_views,
)
from keras_ltssl.losses.kernels.chunks import in_blocks
from keras_ltssl.losses.kernels.margins import NegativeMeans
from keras_ltssl.losses.kernels.negatives import Softmax, lowest, softmax_over
from keras_ltssl.losses.kernels.unit_views import unit_views
from keras_ltssl.state.key_queue import KeyQueue
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor, check_integer_or_none


class _Queries(NamedTuple):
    """The losses of queries, and what they were computed from."""

    losses: Tensor
    """`(batch,)`; only these have a gradient."""
    miss: Tensor
    """Softmax probability of the queue, `(batch,)`."""
    shares: Softmax | None
    """The softmax over the queue, if it was held as a whole."""
    log_sums: Tensor
    """The log of the sum of exp(logit) over the queue, `(batch,)`."""
    means: Tensor
    """The mean key by that softmax, `(batch, dim)`."""


def _softmax_of(
    queries: Tensor, tau: Tensor, keys: Tensor, is_filled: Tensor
) -> Softmax:
    """Returns the softmax of queries over the queue, `(queries, size)`."""
    logits = (queries / tau[:, None]) @ ops.transpose(keys)
    return softmax_over(ops.where(is_filled, logits, lowest(logits)))


def _compare(
    units: Tensor,
    keys: Tensor,
    is_filled: Tensor,
    tau: Tensor,
    chunk_size: int | None,
) -> _Queries:
    """Returns what `queue_nt_xent` is made of.

    With P_in, the softmax over the queue, the gradient to a query is

        (1 - p_i)/τ_i · (Σ_n P_in n - k_i)

    where p_i is the probability of its own key. No key of the queue gets a
    gradient, so all of this is known when the loss is: the loss is returned as
    a linear function of the queries with these coefficients.

    Args:
        units: What `unit_views` returned, `(batch, 2, dim)`.
        keys: `(size, dim)`.
        is_filled: `(size,)`.
        tau: `(batch,)`.
        chunk_size: Queries at a time, or `None` for all.
    """
    fixed = ops.stop_gradient(units)
    queries, own = fixed[:, 0], fixed[:, 1]

    def means_of(shares: Softmax) -> Tensor:
        return shares.exponentials @ keys / shares.sums[:, None]

    def log_sums_and_means(block: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        rows, tau_rows = block
        shares = _softmax_of(rows, tau_rows, keys, is_filled)
        return shares.log_sums, means_of(shares)

    shares = None
    if chunk_size is None:
        shares = _softmax_of(queries, tau, keys, is_filled)
        log_sums, means = shares.log_sums, means_of(shares)
    else:
        log_sums, means = in_blocks(
            log_sums_and_means, (queries, tau), chunk_size
        )
    positive = ops.sum(queries * own, axis=-1)
    excess = log_sums - positive / tau
    miss = ops.sigmoid(excess)
    slope = (miss / tau)[:, None] * (means - own)
    at_queries = ops.sum(slope * (units[:, 0] - queries), axis=-1)
    losses = ops.softplus(excess) + at_queries
    return _Queries(losses, miss, shares, log_sums, means)


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

    Raises:
        ValueError: As `nt_xent`, and if `keys` is not `(size, dim)` or
            `is_filled` not `(size,)`.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> same = np.ones((4, 2, 8), "float32")
    >>> keys = np.ones((15, 8), "float32") / np.sqrt(8)
    >>> loss = lt.losses.queue_nt_xent(same, keys, np.arange(15) < 10)
    >>> bool(np.allclose(ops.convert_to_numpy(loss), np.log(11), atol=1e-5))
    True

    Reference:
        - [Momentum Contrast for Unsupervised Visual Representation
          Learning](https://arxiv.org/abs/1911.05722), He et al., CVPR 2020
    """
    z = as_tensor("z", z)
    keys = as_tensor("keys", keys)
    is_filled = as_tensor("is_filled", is_filled)
    check_views(z)
    check_temperatures(temperature)
    check_integer_or_none("chunk_size", chunk_size, minimum=1)
    if len(keys.shape) != 2 or keys.shape[1] != z.shape[2]:
        raise ValueError(
            f"`keys` must have shape (size, dim) = (size, {z.shape[2]}). "
            f"Received: keys.shape={tuple(keys.shape)}"
        )
    if tuple(is_filled.shape) != (keys.shape[0],):
        raise ValueError(
            "`is_filled` must hold one value for each key, shape (size,) = "
            f"({keys.shape[0]},). Received: is_filled.shape="
            f"{tuple(is_filled.shape)}"
        )
    units = unit_views(z)
    keys = ops.stop_gradient(ops.cast(keys, units.dtype))
    is_filled = ops.cast(is_filled, "bool")
    tau = ops.stop_gradient(ops.cast(temperature, units.dtype))
    check_one_a_sample("temperature", tau, z)
    tau = ops.broadcast_to(tau, (ops.shape(units)[0],))
    return _compare(units, keys, is_filled, tau, chunk_size).losses


class QueueContrast:
    """The first view of every sample against its key and a queue (MoCo).

    Each replica compares the queries of its own samples; the results of all
    replicas are gathered.

    Args:
        z: Queries and keys, `(batch, 2, dim)`.
        queue: Keys of earlier samples.
        temperature: τ, a scalar or `(batch,)`.
        chunk_size: Queries held at a time, or `None` for all.
        part: The samples of this replica. Defaults to all of them.

    Attributes:
        losses: The loss of each query, `(batch, 1)`.
        sample_losses: The same, `(batch,)`.
    """

    def __init__(
        self,
        z: Tensor,
        queue: KeyQueue,
        temperature: float | Tensor,
        chunk_size: int | None,
        part: Part = WHOLE,
    ) -> None:
        # Copies: PyTorch would see the queue change before it goes backward.
        keys = ops.copy(ops.convert_to_tensor(queue.keys))
        self.key_is_ood = ops.copy(ops.convert_to_tensor(queue.is_ood))
        self.is_filled = queue.is_filled()
        self.units = unit_views(z)
        self.keys = ops.cast(keys, self.units.dtype)
        tau = ops.stop_gradient(ops.cast(temperature, self.units.dtype))
        self.tau = ops.broadcast_to(tau, (ops.shape(self.units)[0],))
        self.chunk_size = chunk_size
        self._part = part
        self._own = part.own(self.units)
        self._own_tau = part.own(self.tau)
        self._queries = _compare(
            self._own, self.keys, self.is_filled, self._own_tau, chunk_size
        )
        self.sample_losses = part.gather(self._queries.losses)
        self.losses = self.sample_losses[:, None]

    def over_queue(self, function: Callable[[Softmax], Tensor]) -> Tensor:
        """Returns a function of the softmax of each query over the queue.

        Args:
            function: From the softmax of some queries to a value of each.

        Returns:
            The values times the probability of the queue, `(batch,)`. No
            gradient flows.
        """

        def values_of(block: tuple[Tensor, ...]) -> Tensor:
            rows, tau_rows = block
            return function(
                _softmax_of(rows, tau_rows, self.keys, self.is_filled)
            )

        if self._queries.shares is not None:
            values = function(self._queries.shares)
        else:
            queries = ops.stop_gradient(self._own[:, 0])
            values = in_blocks(
                values_of, (queries, self._own_tau), self.chunk_size
            )
        return self._part.gather(self._queries.miss * values)

    def negative_means(self) -> NegativeMeans:
        """Returns means over the queue for each query."""
        fixed, part = ops.stop_gradient(self._own), self._part
        queries, own = fixed[:, 0], fixed[:, 1]
        means, dtype = self._queries.means, fixed.dtype
        cosines = ops.sum(queries * means, axis=-1, keepdims=True)
        positive = ops.sum(queries * own, axis=-1, keepdims=True)
        count = ops.sum(ops.cast(self.is_filled, dtype))

        def margins(factors: Tensor) -> Tensor:
            # Linear in the queries, as the losses are: no key has a gradient.
            factors = part.own(factors)
            slope = factors * means - own
            moved = self._own[:, 0] - queries
            at_queries = ops.sum(slope * moved, axis=-1, keepdims=True)
            return part.gather(factors * cosines - positive + at_queries)

        log_sums = self._queries.log_sums - ops.log(ops.maximum(count, 1.0))
        return NegativeMeans(
            part.gather(log_sums)[:, None],
            part.gather(cosines),
            ops.cast(count > 0, dtype),
            margins,
        )
