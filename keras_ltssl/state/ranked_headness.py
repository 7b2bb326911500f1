"""Base class of the headness that ranks a score in the population."""

from typing import Any

from keras import ops

from keras_ltssl.backend.fused_operations import rows_of
from keras_ltssl.backend.in_place_operations import add_to
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
        return 0.5 + 0.5 * ops.mean(ops.sign(score - quantiles), axis=-1)

    def update(self, assignment: Assignment) -> None:
        scores = ops.sort(self.score(assignment))
        # The middles of 64 equal parts, so that ranks average to 0.5.
        middles = ops.arange(0.5, self.num_quantiles, dtype="float32")
        last = ops.shape(scores)[0] - 1
        if not isinstance(last, int):  # A number of the host needs no tensor.
            last = ops.cast(last, "float32")
        place = middles * (last / self.num_quantiles)
        low = ops.floor(place)
        below = rows_of(scores, ops.cast(low, "int32"))
        above = rows_of(scores, ops.cast(ops.ceil(place), "int32"))
        batch_quantiles = below + (place - low) * (above - below)
        quantiles = ops.convert_to_tensor(self.quantiles)
        keep = self.momentum * ops.cast(self.updates.value > 0, "float32")
        moved = batch_quantiles + keep * (quantiles - batch_quantiles)
        self.quantiles.assign(moved)
        add_to(self.updates, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}
