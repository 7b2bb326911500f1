"""What the anchors of a batch are compared with: each other, or a queue."""

from typing import TypeAlias

from keras import ops

from keras_ltssl.backend.replicas import WHOLE, Part
from keras_ltssl.losses.kernels.anchors import compare_anchors
from keras_ltssl.losses.kernels.margins import (
    NegativeMeans,
    means_over_batch,
)
from keras_ltssl.losses.kernels.queue import QueueContrast
from keras_ltssl.types import Tensor


class BatchContrast:
    """Both views of every sample against all others of the batch (SimCLR).

    Args:
        units: What `unit_views` returned, `(batch, 2, dim)`.
        temperature: τ, a scalar or `(batch,)`.
        chunk_size: Anchors held at a time, or `None` for all.
        part: The samples whose anchors this replica computes. Defaults to all.

    Attributes:
        losses: The loss of each anchor, `(batch, 2)`, gathered from all
            replicas.
        anchors: What `compare_anchors` returned, of the own samples.
    """

    def __init__(
        self,
        units: Tensor,
        temperature: float | Tensor,
        chunk_size: int | None,
        part: Part = WHOLE,
    ) -> None:
        self.anchors = compare_anchors(
            units, temperature, chunk_size, part=part
        )
        self.losses = part.gather(self.anchors.losses)
        self._sample_losses: Tensor | None = None
        self.temperature = temperature
        self.chunk_size = chunk_size

    @property
    def sample_losses(self) -> Tensor:
        """The loss of each sample, the mean of its two anchors, `(batch,)`."""
        # No `cached_property`: its lock stops the compiler of PyTorch.
        if self._sample_losses is None:
            self._sample_losses = ops.mean(self.losses, axis=-1)
        return self._sample_losses

    def negative_means(self) -> NegativeMeans:
        """Returns means over the negatives of each anchor."""
        return means_over_batch(self.anchors)


Contrast: TypeAlias = BatchContrast | QueueContrast
