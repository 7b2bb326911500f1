"""Decodes image files to arrays of one size."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.image_decoding import decode, decode_crops
from keras_ltssl.datasets.random_crops import RandomCrops
from keras_ltssl.validation import (
    check_boolean,
    check_choice,
    check_path,
    check_sizes,
)

# Number of channels of each `color_mode`.
CHANNELS = {"rgb": 3, "grayscale": 1}


def read_images(
    paths: Sequence[str | os.PathLike[str]],
    image_size: tuple[int, int],
    color_mode: str = "rgb",
    crop_to_aspect_ratio: bool = True,
) -> npt.NDArray[np.uint8]:
    """Decodes image files to RGB, cropped and resized to one size.

    Each image is cropped at its center to the aspect ratio of `image_size`,
    then resized (bilinear, antialiased). This needs the package `pillow`, which
    the extra `images` installs.

    - An image that is rotated by its EXIF orientation is turned upright.
    - 16-bit gray values are scaled to 8 bits: 65,535 becomes 255. 32-bit
      integers and floats are refused, since their range is not known.
    - Gray images, palettes and CMYK become RGB.
    - Transparency is dropped: a transparent pixel has the color that the file
      stores for it, often black or white.
    - Only the first image of an animation or of several pages is read.

    Args:
        paths: Paths of image files in any format that Pillow reads.
        image_size: Tuple of integers `(height, width)`, in pixels.
        color_mode: `"rgb"`, or `"grayscale"` for one channel, the luminance.
            Defaults to `"rgb"`.
        crop_to_aspect_ratio: Boolean. If `False`, the whole image is resized,
            and distorted if its aspect ratio is another. Defaults to `True`.

    Returns:
        `uint8` array of shape `(len(paths), height, width, channels)`.

    Raises:
        ImportError: If `pillow` is not installed.
        ValueError: If a file is missing, damaged or not an image, or has
            values of an unknown range. The message names the file.

    Example:

    >>> import os, tempfile
    >>> import keras
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "black.png")
    ...     keras.utils.save_img(path, [[[0, 0, 0]] * 30] * 20)
    ...     read_images([path], image_size=(16, 16)).shape
    (1, 16, 16, 3)
    """
    check_pillow()
    if isinstance(paths, str) or not isinstance(paths, Sequence | np.ndarray):
        raise ValueError(
            f"`paths` must be a sequence of paths. Received: paths={paths!r}"
        )
    for path in paths:
        check_path("paths", path)
    height, width = check_sizes("image_size", image_size, ("height", "width"))
    check_choice("color_mode", color_mode, tuple(CHANNELS))
    check_boolean("crop_to_aspect_ratio", crop_to_aspect_ratio)
    images = np.empty(
        (len(paths), height, width, CHANNELS[color_mode]), dtype=np.uint8
    )
    read_into(images, paths, color_mode, crop_to_aspect_ratio)
    return images


def read_into(
    images: npt.NDArray[np.uint8],
    paths: Sequence[str | os.PathLike[str]],
    color_mode: str,
    crop_to_aspect_ratio: bool,
    crops: RandomCrops | None = None,
) -> None:
    """Decodes image files as `read_images` does, to an array that is there.

    Args:
        images: `uint8` array of shape `(len(paths), height, width, channels)`,
            or `(len(paths), 2, height, width, channels)` with `crops`.
        paths: Paths of image files.
        color_mode: `"rgb"` or `"grayscale"`.
        crop_to_aspect_ratio: Whether to crop rather than to distort.
        crops: Random crops of each image. Defaults to `None`.

    Raises:
        ValueError: If a file cannot be read. The message names it.
    """
    height, width = images.shape[-3:-1]
    for row, path in enumerate(paths):
        try:
            images[row] = read_image(
                path,
                (height, width),
                color_mode,
                crop_to_aspect_ratio,
                None if crops is None else crops[row],
            )
        except ValueError as error:
            raise ValueError(
                f"Cannot read the image {os.fspath(path)!r}: {error}"
            ) from error


def check_pillow() -> None:
    """Raises if Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Reading image files needs the package `pillow`, which is not "
            "installed. Install the extra `images`: "
            'pip install "keras-ltssl[images]"'
        ) from error


def read_image(
    path: str | os.PathLike[str],
    image_size: tuple[int, int],
    color_mode: str,
    crop_to_aspect_ratio: bool,
    crops: RandomCrops | None = None,
) -> npt.NDArray[np.uint8]:
    """Returns one image, as `read_images` does; raises with the reason alone.

    Args:
        path: Path of the file.
        image_size: Tuple of integers `(height, width)`, in pixels.
        color_mode: `"rgb"` or `"grayscale"`.
        crop_to_aspect_ratio: Whether to crop rather than to distort.
        crops: Random crops of the image. Defaults to `None`, the image.

    Returns:
        `uint8` array of shape `(height, width, channels)`, or
        `(2, height, width, channels)` with `crops`.

    Raises:
        ValueError: If the file cannot be read. The message does not name it.
    """
    from PIL import Image

    try:
        # Given a path, Pillow maps some files into memory, and then mixes up
        # the rows of a rotated TIFF. So open the file here.
        with open(path, "rb") as stream, Image.open(stream) as file:
            if crops is not None:
                views = decode_crops(file, *image_size, crops)
                return np.stack(
                    [_as_array(view, image_size, color_mode) for view in views]
                )
            image = decode(file, *image_size, crop_to_aspect_ratio)
            return _as_array(image, image_size, color_mode)
    # Of a damaged file Pillow may raise anything: a RuntimeError for AVIF, a
    # SyntaxError for PNG, a MemoryError for JPEG 2000.
    except Exception as error:
        raise ValueError(_reason(error)) from error


def _as_array(
    image: Any, image_size: tuple[int, int], color_mode: str
) -> npt.NDArray[np.uint8]:
    if color_mode == "grayscale":
        image = image.convert("L")
    return np.asarray(image).reshape(*image_size, CHANNELS[color_mode])


def _reason(error: Exception) -> str:
    """Returns why a file cannot be read, in words that do not name it."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or of a format that Pillow cannot read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
