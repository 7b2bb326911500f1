"""Base class of the headness that ranks a score in the population."""

from typing import Any

import numpy as np
from keras import ops

from keras_ltssl.backend.constants import constant
from keras_ltssl.backend.fused_arithmetic import affine, interpolate
from keras_ltssl.backend.fused_operations import number_where, rows_of
from keras_ltssl.backend.in_place_operations import add_to, move_towards
from keras_ltssl.state.headness import Assignment, Headness
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


class RankedHeadness(Headness):
    """Base class: the rank of a sample's score in the population.

        h_i = share of the population whose score is below that of sample i

    A subclass implements `score(assignment)`. The population's distribution is
    kept as 64 quantiles, an exponential moving average of the quantiles of each
    batch. It has to forget quickly: similarities rise while training, and ranks
    against an outdated distribution would all be high. This package's own
    design.

    Args:
        momentum: Of the moving average, in [0, 1). Defaults to `0.5`.
    """

    num_quantiles = 64

    def __init__(self, momentum: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.quantiles = self.add_weight(
            shape=(self.num_quantiles,),
            initializer="zeros",
            trainable=False,
            name="quantiles",
        )
        self.updates = self.add_weight(
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            name="updates",
        )

    def score(self, assignment: Assignment) -> Tensor:
        """Returns what is ranked, larger in the head, `(batch,)`."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `score(assignment)`."
        )

    def estimate(self, assignment: Assignment) -> Tensor:
        score = self.score(assignment)[:, None]
        quantiles = ops.convert_to_tensor(self.quantiles)
        # The mean of 1 for a lower quantile, and of a half for an equal one.
        return affine(ops.mean(ops.sign(score - quantiles), axis=-1), 0.5, 0.5)

    def sorted_scores(self, assignment: Assignment) -> Tensor:
        """Returns what is ranked in ascending order, `(batch,)`."""
        return ops.sort(self.score(assignment))

    def update(self, assignment: Assignment) -> None:
        scores = self.sorted_scores(assignment)
        batch = ops.shape(scores)[0]
        if isinstance(batch, int):
            shape = (batch, self.num_quantiles)
            low, high, share = (
                constant(part, *shape, beside=scores)
                for part in (_low, _high, _share)
            )
        else:  # TensorFlow does not know it while it traces a step.
            middles = ops.arange(0.5, self.num_quantiles, dtype="float32")
            last = ops.cast(batch - 1, "float32")
            place = middles * (last / self.num_quantiles)
            floor = ops.floor(place)
            low, share = ops.cast(floor, "int32"), place - floor
            high = ops.cast(ops.ceil(place), "int32")
        batch_quantiles = interpolate(
            rows_of(scores, low), rows_of(scores, high), share
        )
        keep = number_where(self.updates.value > 0, self.momentum)
        move_towards(self.quantiles, batch_quantiles, keep)
        add_to(self.updates, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}


# Quantiles lie between two of the sorted scores of a batch.


def _places(batch: int, count: int) -> np.ndarray[Any, Any]:
    # The middles of equal parts, so that ranks average to 0.5.
    return (np.arange(count) + 0.5) * ((batch - 1) / count)


def _low(batch: int, count: int) -> np.ndarray[Any, Any]:
    low: np.ndarray[Any, Any] = np.floor(_places(batch, count))
    return low.astype("int32")


def _high(batch: int, count: int) -> np.ndarray[Any, Any]:
    high: np.ndarray[Any, Any] = np.ceil(_places(batch, count))
    return high.astype("int32")


def _share(batch: int, count: int) -> np.ndarray[Any, Any]:
    places = _places(batch, count)
    share: np.ndarray[Any, Any] = places - np.floor(places)
    return share.astype("float32")
