"""Windows of random crops, drawn on the host."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

# Smallest and largest width / height of a window, as in `RandomResizedCrop`.
_RATIO = (3 / 4, 4 / 3)

VIEWS = 2
"""Crops of an image."""


@dataclasses.dataclass(frozen=True)
class RandomCrops:
    """The random numbers from which the crops of some images follow.

    Attributes:
        scale: Smallest and largest share of an image's area.
        draws: Array of shape `(images, 2, 4)` of numbers in `[0, 1)`.
    """

    scale: tuple[float, float]
    draws: npt.NDArray[np.float64]

    def __getitem__(self, images: Any) -> "RandomCrops":
        return RandomCrops(self.scale, self.draws[images])


def draw_crops(
    scale: tuple[float, float], seed: int, epoch: int, rows: npt.NDArray[Any]
) -> RandomCrops:
    """Draws the crops of some images for an epoch.

    Those of an image depend on nothing but the seed, the epoch and its row, so
    neither on its batch nor on the thread that reads it.

    Args:
        scale: Smallest and largest share of an image's area.
        seed: Integer, at least 0.
        epoch: Integer, at least 0.
        rows: Integer array of shape `(images,)`.
    """
    draws = np.empty((len(rows), VIEWS, 4))
    for place, row in enumerate(rows):
        # The 1 keeps the numbers apart from those of the order of the epoch:
        # NumPy ignores zeros at the end.
        generator = np.random.default_rng([seed, epoch, int(row), 1])
        draws[place] = generator.random((VIEWS, 4))
    return RandomCrops(scale, draws)


def windows(
    crops: RandomCrops, height: int, width: int
) -> npt.NDArray[np.float64]:
    """Returns the windows of the crops of one image.

    They are those of `RandomResizedCrop`: the area is uniform in `scale`, the
    aspect ratio log-uniform in the part of 3/4 to 4/3 that fits into the image,
    and the place uniform.

    Args:
        crops: The crops, with `draws` of shape `(2, 4)`.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        Array of shape `(2, 4)`: left, top, right and bottom in pixels.
    """
    area, shape, vertical, horizontal = crops.draws.T
    low, high = crops.scale
    area = height * width * (low + (high - low) * area)
    narrowest = np.log(area) - 2 * np.log(height)
    widest = 2 * np.log(width) - np.log(area)
    low_ratio, high_ratio = (
        np.minimum(np.maximum(narrowest, np.log(bound)), widest)
        for bound in _RATIO
    )
    ratio = np.exp(low_ratio + (high_ratio - low_ratio) * shape)
    window_height = np.minimum(np.sqrt(area / ratio), height)
    window_width = np.minimum(np.sqrt(area * ratio), width)
    top = vertical * (height - window_height)
    left = horizontal * (width - window_width)
    return np.stack(
        [left, top, left + window_width, top + window_height], axis=1
    )
