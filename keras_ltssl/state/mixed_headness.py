"""Headness from size and typicality together."""

from typing import Any

import keras

from keras_ltssl.backend.fused_arithmetic import interpolate
from keras_ltssl.state.headness import Assignment, Headness
from keras_ltssl.state.share_headness import ShareHeadness
from keras_ltssl.state.typicality_headness import TypicalityHeadness
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


@keras.saving.register_keras_serializable(package="keras_ltssl")
class MixedHeadness(Headness):
    """Share and typicality together.

        h_i = (1 - c) · share_i + c · typicality_i

    This package's own design.

    Args:
        typicality: The coefficient c in [0, 1]. Defaults to `0.5`.
        momentum: Of typicality's quantiles, in [0, 1). Defaults to `0.5`.
    """

    def __init__(
        self, typicality: float = 0.5, momentum: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.typicality = check_number(
            "typicality", typicality, minimum=0, maximum=1
        )
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.by_share = ShareHeadness()
        self.by_typicality = TypicalityHeadness(momentum)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.by_share.build(input_shape)
        self.by_typicality.build(input_shape)

    def estimate(self, assignment: Assignment) -> Tensor:
        share = self.by_share.estimate(assignment)
        typicality = self.by_typicality.estimate(assignment)
        return interpolate(share, typicality, self.typicality)

    def update(self, assignment: Assignment) -> None:
        self.by_typicality.update(assignment)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "typicality": self.typicality,
            "momentum": self.momentum,
        }
