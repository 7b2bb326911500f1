"""Fixed targets of Geometric Harmonization and how many samples use each."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.fused_operations import at_least
from keras_ltssl.initializers.simplex_etf import SimplexETF
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    check_array_of_numbers,
    check_integer,
    check_number,
)


@keras.saving.register_keras_serializable(package="keras_ltssl")
class GeometricTargets(keras.layers.Layer):
    """Keeps K fixed unit vectors, as far apart as can be, and their prior.

    The vectors are those of `initializers.SimplexETF` and never trained. The
    prior π, Σπ = 1, says which share of the population belongs to each target.
    It is uniform until `set_prior` changes it, from time to time. For data
    without sample ids the layer also follows the population by itself, by a
    moving average over batches of B samples with scores t:

        shares_k ← m shares_k + (1-m) · |{i: argmax t_i = k}| / B

    (the first batch sets them). This moving average is this package's own
    design; the published prior comes from one momentum vector per sample.

    Args:
        num_targets: K, integer >= 2.
        momentum: m in [0, 1). Defaults to `0.99`.
        seed: Seed of the vectors' rotation, integer. Defaults to `0`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> targets = lt.layers.GeometricTargets(num_targets=3)
    >>> targets.build((None, 8))
    >>> vectors = np.asarray(targets.vectors)
    >>> bool(np.allclose(vectors @ vectors.T, 1.5 * np.eye(3) - 0.5, atol=1e-6))
    True
    >>> targets.set_prior([0.5, 0.25, 0.25])
    >>> round(float(targets.prior_entropy()), 3)
    0.946

    Reference:
        - [Combating Representation Learning Disparity with Geometric
          Harmonization](https://arxiv.org/abs/2310.17622), Zhou et al.,
          NeurIPS 2023
    """

    def __init__(
        self,
        num_targets: int,
        momentum: float = 0.99,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_targets = check_integer("num_targets", num_targets, minimum=2)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.seed = check_integer("seed", seed, minimum=0)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.vectors = self.add_weight(
            shape=(self.num_targets, input_shape[-1]),
            initializer=SimplexETF(seed=self.seed),
            trainable=False,
            name="vectors",
        )
        self.prior = self.add_weight(
            shape=(self.num_targets,),
            initializer=keras.initializers.Constant(1 / self.num_targets),
            trainable=False,
            name="prior",
        )
        self.shares = self.add_weight(
            shape=(self.num_targets,),
            initializer="zeros",
            trainable=False,
            name="shares",
        )

    def follow(self, scores: Tensor, is_counted: Tensor) -> None:
        """Moves the shares by one batch.

        Args:
            scores: How close each sample is to each target, `(batch, K)`.
            is_counted: Which samples belong to the population, `(batch,)`.
        """
        counted = ops.cast(is_counted, "float32")
        total = ops.sum(counted)
        # PyTorch's `one_hot` would read the largest row to the host.
        nearest = ops.argmax(scores, axis=-1)[:, None]
        members = nearest == ops.arange(self.num_targets, dtype=nearest.dtype)
        members = ops.matmul(counted, ops.cast(members, "float32"))
        batch = members / at_least(total, 1.0)
        before = ops.convert_to_tensor(self.shares)
        moved = self.momentum * before + (1.0 - self.momentum) * batch
        moved = ops.where(ops.sum(before) > 0, moved, batch)
        self.shares.assign(ops.where(total > 0, moved, before))

    def set_prior(self, prior: Any) -> None:
        """Sets the share of the population that belongs to each target.

        Args:
            prior: Numbers >= 0, normalized here, `(num_targets,)`.

        Raises:
            ValueError: If they are of another number, negative, not finite or
                all zero.
        """
        check_array_of_numbers("prior", prior)
        values = np.asarray(prior, "float64")
        if (
            values.shape != (self.num_targets,)
            or not np.isfinite(values).all()
            or (values < 0).any()
            or not values.sum() > 0
        ):
            raise ValueError(
                f"`prior` must hold {self.num_targets} finite numbers >= 0, "
                f"not all 0. Received: prior={prior!r}"
            )
        self.prior.assign((values / values.sum()).astype("float32"))

    def prior_entropy(self) -> Tensor:
        """Returns -Σ π log π / log K: 1 for equal shares, 0 for one target."""
        prior = ops.convert_to_tensor(self.prior)
        logs = ops.log(at_least(prior, 1e-30))
        return ops.sum(prior * logs) / -np.log(self.num_targets)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_targets": self.num_targets,
            "momentum": self.momentum,
            "seed": self.seed,
        }
