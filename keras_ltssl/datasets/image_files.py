"""Decoding of image files into arrays of one size."""

import os
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def read_images(
    paths: Sequence[str | os.PathLike[str]], image_size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Decodes image files to RGB, all cut and resized to one size.

    Each image is cut to the aspect ratio of `image_size` about its centre, then
    resized (bilinear, antialiased): nothing is distorted. Needs the package
    `pillow`, the extra `images`.

    Args:
        paths: Paths of image files in any format that Pillow reads.
        image_size: Tuple of integers `(height, width)`, in pixels.

    Returns:
        `uint8` array of shape `(len(paths), height, width, 3)`.

    Raises:
        ImportError: If `pillow` is not installed.
        ValueError: If a file is missing, damaged or no image. The message
            names the file.

    Example:

    >>> import os, tempfile
    >>> import keras
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "black.png")
    ...     keras.utils.save_img(path, [[[0, 0, 0]] * 30] * 20)
    ...     read_images([path], image_size=(16, 16)).shape
    (1, 16, 16, 3)
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            "Reading image files needs the package `pillow`, which is not "
            "installed. Install the extra `images`: "
            'pip install "keras-ltssl[images]"'
        ) from error
    height, width = image_size
    images = np.empty((len(paths), height, width, 3), dtype=np.uint8)
    for row, path in enumerate(paths):
        try:
            with Image.open(path) as file:
                # Lets a JPEG decoder skip detail that the resizing would drop:
                # it decodes to the smallest of a few sizes not below this one.
                file.draft("RGB", (width, height))
                images[row] = np.asarray(
                    ImageOps.fit(
                        file.convert("RGB"),
                        (width, height),
                        method=Image.Resampling.BILINEAR,
                    )
                )
        except (
            OSError,
            ValueError,
            EOFError,
            SyntaxError,  # what Pillow raises for a broken PNG
            struct.error,
            zlib.error,
            Image.DecompressionBombError,
        ) as error:
            raise ValueError(
                f"Cannot read the image {os.fspath(path)!r}: {error}"
            ) from error
    return images
