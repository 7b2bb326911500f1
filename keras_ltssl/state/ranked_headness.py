"""Base class of the headness that ranks a score in the population."""

from typing import Any

from keras import ops

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
        below = ops.cast(quantiles < score, "float32")
        not_above = ops.cast(quantiles <= score, "float32")
        below = ops.sum(below + not_above, axis=-1)
        return below / (2.0 * self.num_quantiles)

    def update(self, assignment: Assignment) -> None:
        scores = ops.sort(self.score(assignment))
        last = ops.cast(ops.shape(scores)[0] - 1, "float32")
        # The middles of 64 equal parts, so that ranks average to 0.5.
        middles = ops.arange(0.5, self.num_quantiles, dtype="float32")
        place = middles * (last / self.num_quantiles)
        low, high = ops.floor(place), ops.ceil(place)
        part = place - low

        def scores_at(places: Tensor) -> Tensor:
            return ops.take(scores, ops.cast(places, "int32"))

        batch_quantiles = (1.0 - part) * scores_at(low) + part * scores_at(high)
        updates = ops.convert_to_tensor(self.updates)
        keep = self.momentum * ops.cast(updates > 0, "float32")
        self.quantiles.assign(
            keep * self.quantiles + (1.0 - keep) * batch_quantiles
        )
        self.updates.assign(updates + 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}
