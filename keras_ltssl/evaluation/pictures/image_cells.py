"""Small images side by side, each in a cell of one unit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_pixels(image: Any, name: str) -> NDArray[np.uint8]:
    """An image that matplotlib draws: `(h, w)` or `(h, w, 3)`."""
    pixels = np.asarray(image)
    if (
        pixels.dtype != np.uint8
        or pixels.ndim != 3
        or pixels.shape[-1] not in (1, 3)
    ):
        raise ValueError(
            f"`{name}` must be uint8 images of shape (height, width, 1) or "
            f"(height, width, 3). Received: dtype={pixels.dtype}, "
            f"shape={pixels.shape}"
        )
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def draw_cell(
    axes: Any,
    pixels: NDArray[np.uint8],
    column: int,
    row: int,
    fill: float,
) -> None:
    """Draws an image whose longer side is `fill` of its cell's."""
    height, width = pixels.shape[:2]
    x = fill / 2 * width / max(height, width)
    y = fill / 2 * height / max(height, width)
    axes.imshow(
        pixels,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(
            column + 0.5 - x,
            column + 0.5 + x,
            row + 0.5 + y,
            row + 0.5 - y,
        ),
        aspect="auto",
    )
