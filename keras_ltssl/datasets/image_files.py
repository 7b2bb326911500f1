"""Decodes image files to arrays of one size."""

import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.validation import check_path, check_sizes

# Errors of Pillow for a file that is damaged or not an image.
_FAULTS = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,  # a broken PNG
    struct.error,
    zlib.error,
)

# The EXIF tag for the orientation of the camera, and its values for which
# height and width are exchanged.
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)

# The TIFF tag for the bits of a value.
_BITS_PER_SAMPLE = 0x0102

# Formats whose gray values have at most 16 bits. Some releases of Pillow open
# them as if they had 32.
_AT_MOST_16_BITS = ("PNG", "PPM")


def read_images(
    paths: Sequence[str | os.PathLike[str]], image_size: tuple[int, int]
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

    Returns:
        `uint8` array of shape `(len(paths), height, width, 3)`.

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
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Reading image files needs the package `pillow`, which is not "
            "installed. Install the extra `images`: "
            'pip install "keras-ltssl[images]"'
        ) from error
    if isinstance(paths, str) or not isinstance(paths, Sequence | np.ndarray):
        raise ValueError(
            f"`paths` must be a sequence of paths. Received: paths={paths!r}"
        )
    for path in paths:
        check_path("paths", path)
    height, width = check_sizes("image_size", image_size, ("height", "width"))
    images = np.empty((len(paths), height, width, 3), dtype=np.uint8)
    for row, path in enumerate(paths):
        try:
            # Given a path, Pillow maps some files into memory, and then mixes
            # up the rows of a rotated TIFF. So open the file here.
            with open(path, "rb") as stream, Image.open(stream) as file:
                images[row] = _decode(file, height, width)
        except (*_FAULTS, Image.DecompressionBombError) as error:
            raise ValueError(
                f"Cannot read the image {os.fspath(path)!r}: {error}"
            ) from error
    return images


def _decode(file: Any, height: int, width: int) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageOps

    # A JPEG decoder can decode to a smaller size, which is at least this one.
    # The size is that of the image as stored.
    is_on_its_side = _orientation(file) in _ON_ITS_SIDE
    file.draft("RGB", (height, width) if is_on_its_side else (width, height))
    rgb = _to_rgb(file)
    # Read it again, since Pillow turns a TIFF upright when it decodes it.
    orientation = _orientation(file)
    is_on_its_side = orientation in _ON_ITS_SIDE
    image = ImageOps.fit(
        rgb,
        (height, width) if is_on_its_side else (width, height),
        method=Image.Resampling.BILINEAR,
    )
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    if orientation in turns:
        # Turned last, when the image is small.
        image = image.transpose(turns[orientation])
    return np.asarray(image)


def _orientation(file: Any) -> int | None:
    """Returns the EXIF orientation, 1 to 8, or `None`."""
    try:
        orientation: int | None = file.getexif().get(_ORIENTATION)
        return orientation
    except _FAULTS:
        # Damaged EXIF. Damaged pixels raise later.
        return None


def _to_rgb(file: Any) -> Any:
    """Returns an image with three channels of 8 bits.

    Pillow's own conversion clips larger values at 255 instead of scaling them.
    """
    from PIL import Image

    if file.mode.startswith("I;16") or (
        file.mode == "I" and file.format in _AT_MOST_16_BITS
    ):
        # Pillow reads the 12 bits of some TIFF files without scaling them.
        bits = getattr(file, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
        step = (2**bits - 1) / 255
        values = np.round(np.asarray(file) / step).astype(np.uint8)
        return Image.fromarray(values).convert("RGB")
    if file.mode in ("I", "F"):
        kind = "32-bit integers" if file.mode == "I" else "floats"
        raise ValueError(
            f"mode {file.mode!r}, {kind}, has no known range to scale to "
            "0 ... 255; save it with 8 or 16 bits"
        )
    if file.mode == "P" and "transparency" in file.info:
        # Pillow warns if it drops transparency in a single conversion.
        return file.convert("RGBA").convert("RGB")
    return file.convert("RGB")
