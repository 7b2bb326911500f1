"""What the anchors of a batch are compared with: each other, or a queue."""

from typing import Protocol

from keras_ltssl.losses.distribution_supcon import supcon_of_anchors
from keras_ltssl.losses.kernels.anchors import (
    compare_anchors,
    with_gradient_to,
)
from keras_ltssl.losses.kernels.unit_views import as_floats
from keras_ltssl.losses.tail_score import (
    tail_score_in_chunks,
    tail_score_of_shares,
)
from keras_ltssl.types import Tensor


class Contrast(Protocol):
    """The NT-Xent losses of anchors, and what else follows from them.

    Attributes:
        losses: The loss of each anchor, `(batch, anchors)`, with one anchor a
            view where both are compared, or one a sample.
    """

    losses: Tensor

    def supcon(self, is_ood: Tensor) -> Tensor:
        """Returns COLT's distribution term of each sample, `(batch,)`."""

    def tail_scores(self, top_k: int) -> Tensor:
        """Returns COLT's tailness of each sample, `(batch,)`."""


class BatchContrast:
    """Both views of every sample against all others of the batch (SimCLR).

    Args:
        z: Projections, `(batch, 2, dim)`.
        temperature: τ, a scalar or `(batch,)`.
        chunk_size: Anchors held at a time, or `None` for all.
        views: `unit_anchors(z)`, from who has needed it. Defaults to `None`.
    """

    def __init__(
        self,
        z: Tensor,
        temperature: float | Tensor,
        chunk_size: int | None,
        views: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        # Once for all terms: float16 could not hold the sum of their gradients
        # where it holds each of them.
        z = as_floats(z)
        self._anchors = compare_anchors(
            z, temperature, chunk_size, normalised=views
        )
        self.losses = self._anchors.losses
        self._z = z
        self._temperature = temperature
        self._chunk_size = chunk_size

    def supcon(self, is_ood: Tensor) -> Tensor:
        """Returns `distribution_supcon` of the batch."""
        units = with_gradient_to(self._z, self._anchors.normalised)
        return supcon_of_anchors(self.losses, units, is_ood, self._temperature)

    def tail_scores(self, top_k: int) -> Tensor:
        """Returns `tail_score` of the batch."""
        if self._chunk_size is None:
            return tail_score_of_shares(self._anchors, top_k)
        return tail_score_in_chunks(
            self.losses,
            self._anchors.normalised[0],
            self._temperature,
            top_k,
            self._chunk_size,
        )
