"""Compares pixel values with the `value_range` of the views."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_ltssl.datasets.epoch_batches import EpochBatches

# Enough images to estimate a range, and few enough to read quickly.
_ROWS = 64


def check_value_range(images: Any, augmenter: Any) -> None:
    """Raises if pixel values do not fit the augmenter's `value_range`.

    Views clip to their `value_range`. Images in [0, 1] become nearly black in
    views made for 0 to 255, and images in 0 to 255 become nearly white in
    views made for [0, 1]. Up to 64 images are read.

    Args:
        images: Argument `x` of `fit`: an array, a dataset of this package, or
            a `tf.data.Dataset`. Generators and loaders are not checked, since
            reading them would take samples out.
        augmenter: Layer that makes the views, or `None`.

    Raises:
        ValueError: If values lie far outside of `value_range`, or if it is 0
            to 255 and all values are floats of at most 4, as in [0, 1] or
            standardized images. Images of zeros alone are accepted.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> from keras_ltssl.models.value_range import check_value_range
    >>> images = np.random.default_rng(0).uniform(size=(4, 8, 8, 3))
    >>> check_value_range(images, lt.layers.simclr_views(8, value_range=(0, 1)))
    >>> try:
    ...     check_value_range(images, lt.layers.simclr_views(8))
    ... except ValueError as error:
    ...     print(str(error)[:48])
    The values of the images do not fit `value_range
    """
    ranges = sorted(set(_ranges_of(augmenter)))
    if not ranges:
        return
    sample = _first_images(images)
    if sample is None or not sample.size or sample.dtype.kind not in "fiub":
        return
    low, high = float(sample.min()), float(sample.max())
    is_float = sample.dtype.kind == "f"
    for black, white in ranges:
        seen = (
            f"Received: value_range=({black:g}, {white:g}), and images of "
            f"{sample.dtype.name} with values from {low:g} to {high:g}"
        )
        width = white - black
        # Interpolation may overshoot the range a little; views clip that.
        outside = low < black - 0.5 * width or high > white + 0.5 * width
        # Images in [0, 1], in [-1, 1], or standardized stay far below 255.
        largest = max(high, -low)
        unscaled = (black, white) == (0.0, 255.0) and largest > 0
        if outside or (unscaled and is_float and largest <= 4):
            raise ValueError(
                "The values of the images do not fit `value_range` of the "
                "views, which would come out nearly black or white. Pass an "
                "`augmenter` made for them, such as `simclr_views(..., "
                f"value_range=({_guess(low, high)}))`, with an encoder of the "
                "same `value_range`; or scale the images to the range of the "
                f"views. {seen}"
            )
        if unscaled and largest <= 1:
            warnings.warn(
                "The images hold only 0 and 1, nearly black for the "
                "`value_range` of the views. If 1 is white, multiply them by "
                f"255, or pass an `augmenter` with value_range=(0, 1). {seen}",
                stacklevel=3,
            )


def _guess(low: float, high: float) -> str:
    if low < 0:
        return "-1, 1" if low >= -1 and high <= 1 else f"{low:g}, {high:g}"
    return "0, 1" if high <= 1 else "0, 255" if high <= 255 else "0, 65535"


def _ranges_of(layer: Any) -> Iterator[tuple[float, float]]:
    """Yields the `value_range` of a layer and of the layers inside it."""
    found = getattr(layer, "value_range", None)
    if found is not None:
        black, white = found
        yield float(black), float(white)
        return
    for name in ("pipeline", "layers", "views", "rand_augment"):
        inner = getattr(layer, name, None) or ()
        for part in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from _ranges_of(part)


def _first_images(images: Any) -> Any:
    """Returns a few images as an array, or `None` if reading has a cost."""
    if isinstance(images, np.ndarray):
        return images[:_ROWS]
    if isinstance(images, EpochBatches):
        return images.first_samples(_ROWS)
    if hasattr(images, "element_spec") and hasattr(images, "take"):
        # `fit` iterates from the start again, so no batch is lost.
        for batch in images.take(1):
            first = batch[0] if isinstance(batch, (tuple, list)) else batch
            return (
                np.asarray(first)[:_ROWS] if hasattr(first, "shape") else None
            )
    return None
