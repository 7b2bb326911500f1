"""Prototypes of the population and how much of it each one stands for."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.constants import constant
from keras_ltssl.backend.fused_arithmetic import (
    affine,
    entropy_of,
    plus_matmul,
    plus_multiple,
)
from keras_ltssl.backend.fused_operations import (
    at_least,
    at_most,
    fill_where,
    order_of,
    rows_of,
)
from keras_ltssl.backend.in_place_operations import assign_where
from keras_ltssl.state.headness import Assignment
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_integer, check_number

_TINY = float(np.finfo("float32").tiny)

# What each prototype keeps of itself, in case all that it learns cancels out.
# Next to any share it is nothing.
_INERTIA = 1e-12


@keras.saving.register_keras_serializable(package="keras_ltssl")
class Prototypes(keras.layers.Layer):
    """Keeps K unit vectors μ_k and their population shares π_k, Σπ = 1.

    The nearest prototype of a sample is its pseudo-label. A training step moves
    both by an exponential moving average over its batch of B unit vectors:

        n_k = number of samples whose nearest prototype is k
        μ_k ← normalize( m π_k μ_k + (1-m)/B · Σ_{i: k(i)=k} ẑ_i )
        π_k ← m π_k + (1-m) n_k / B

    so it needs no sample ids and works on endless streams. A prototype whose
    share falls below `empty_share / K` stands for nothing: it is moved onto one
    of the samples that the others represent worst, with share 1/K. The first
    step seeds all of them that way. No gradient flows in or out. This package's
    own design.

    Args:
        num_prototypes: K, integer >= 2. More than the classes one expects:
            k-means makes clusters of similar size, so that with few of them a
            frequent class and several rare ones share a prototype. Defaults to
            `50`.
        momentum: m in [0, 1). Defaults to `0.95`.
        empty_share: Share, as a part of 1/K, below which a prototype counts as
            empty, in [0, 1). Defaults to `0.1`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> prototypes = lt.layers.Prototypes(num_prototypes=2)
    >>> prototypes.build((None, 2))
    >>> units = np.eye(2, dtype="float32")
    >>> prototypes.update(prototypes.assign(units))
    >>> np.asarray(prototypes.shares).tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        num_prototypes: int = 50,
        momentum: float = 0.95,
        empty_share: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_prototypes = check_integer(
            "num_prototypes", num_prototypes, minimum=2
        )
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.empty_share = check_number(
            "empty_share", empty_share, minimum=0, below=1
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.vectors = self.add_weight(
            shape=(self.num_prototypes, input_shape[-1]),
            initializer="zeros",
            trainable=False,
            name="vectors",
        )
        self.shares = self.add_weight(
            shape=(self.num_prototypes,),
            initializer="zeros",
            trainable=False,
            name="shares",
        )
        self.streaming = self.add_weight(
            shape=(),
            initializer="ones",
            trainable=False,
            name="streaming",
        )

    def assign(self, units: Tensor, ids: Tensor | None = None) -> Assignment:
        """Returns which prototypes samples belong to, and how closely.

        The cosine with a prototype that has not been seeded yet counts as -1.

        Args:
            units: Unit vectors of the batch, `(batch, dim)`.
            ids: Sample ids, `(batch,)`. Defaults to `None`.
        """
        units = ops.stop_gradient(ops.convert_to_tensor(units))
        shares = ops.convert_to_tensor(self.shares)
        cosines = units @ ops.transpose(ops.convert_to_tensor(self.vectors))
        similarities = fill_where(shares <= 0, cosines, -1.0)
        return Assignment(ids, units, similarities, shares)

    def is_empty(self) -> Tensor:
        """Returns for each prototype whether it stands for nothing, `(K,)`."""
        return self._is_empty(ops.convert_to_tensor(self.shares))

    def _is_empty(self, shares: Tensor) -> Tensor:
        # Not above zero, so that fresh prototypes count with any setting.
        return shares <= self.empty_share / self.num_prototypes

    def share_entropy(self) -> Tensor:
        """Returns -Σ π log π / log K: 1 for equal shares, 0 for one."""
        entropy = entropy_of(ops.convert_to_tensor(self.shares))
        return entropy / np.log(self.num_prototypes)

    def update(self, assignment: Assignment) -> None:
        """Moves prototypes and shares by one batch.

        Args:
            assignment: What `assign` returned.
        """
        units, shares = assignment.units, assignment.shares
        batch = ops.shape(units)[0]
        vectors = ops.convert_to_tensor(self.vectors)

        prototypes = constant(
            np.arange, self.num_prototypes, beside=assignment.labels
        )
        is_member = assignment.labels[:, None] == ops.cast(
            prototypes, assignment.labels.dtype
        )
        # What is not seeded yet learns nothing.
        rate = 1.0 - self.momentum
        learn = ops.sign(shares) * (
            rate / batch if isinstance(batch, int) else ops.divide(rate, batch)
        )
        learned = ops.multiply(is_member, learn)
        new_shares = plus_multiple(
            ops.sum(learned, axis=0), shares, self.momentum
        )
        keep = affine(shares, self.momentum, _INERTIA)
        moved = plus_matmul(
            keep[:, None] * vectors, ops.transpose(learned), units
        )
        length = ops.norm(moved, axis=-1, keepdims=True)
        moved = moved / at_least(length, _TINY)

        # The r-th emptiest prototype takes the r-th worst represented sample,
        # as long as there are samples.
        rank = order_of(order_of(new_shares))
        reseed = self._is_empty(new_shares)
        if not isinstance(batch, int) or batch < self.num_prototypes:
            reseed = reseed & (rank < batch)
            rank = at_most(rank, batch - 1)
        worst = assignment.by_closeness()[1]
        candidate = rows_of(units, rows_of(worst, rank))
        new_vectors = ops.where(reseed[:, None], candidate, moved)
        new_shares = fill_where(reseed, new_shares, 1.0 / self.num_prototypes)
        new_shares = new_shares / ops.sum(new_shares)

        streaming = ops.convert_to_tensor(self.streaming) > 0
        assign_where(self.vectors, streaming, new_vectors)
        assign_where(self.shares, streaming, new_shares)

    def set_population(
        self,
        vectors: np.ndarray[Any, Any],
        shares: np.ndarray[Any, Any],
        streaming: bool = True,
    ) -> None:
        """Sets what a fit to the whole population found.

        Args:
            vectors: Unit rows, `(K, dim)`.
            shares: Shares that sum to 1, `(K,)`.
            streaming: Whether training steps go on moving them. Defaults to
                `True`.
        """
        self.vectors.assign(vectors)
        self.shares.assign(shares)
        self.streaming.assign(float(streaming))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_prototypes": self.num_prototypes,
            "momentum": self.momentum,
            "empty_share": self.empty_share,
        }
