"""Decodes image files to arrays of one size."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.random_crops import RandomCrops, windows
from keras_ltssl.validation import (
    check_boolean,
    check_choice,
    check_path,
    check_sizes,
)

# Number of channels of each `color_mode`.
CHANNELS = {"rgb": 3, "grayscale": 1}

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
                views = _decode_crops(file, *image_size, crops)
                return np.stack(
                    [_as_array(view, image_size, color_mode) for view in views]
                )
            image = _decode(file, *image_size, crop_to_aspect_ratio)
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


def _decode(
    file: Any, height: int, width: int, crop_to_aspect_ratio: bool
) -> Any:
    """Returns an upright RGB image of this size."""
    from PIL import Image, ImageOps

    # A JPEG decoder can decode to a smaller size, which is at least this one.
    # The size is that of the image as stored.
    is_on_its_side = _orientation(file) in _ON_ITS_SIDE
    file.draft("RGB", (height, width) if is_on_its_side else (width, height))
    rgb = _to_rgb(file)
    # Read it again, since Pillow turns a TIFF upright when it decodes it.
    orientation = _orientation(file)
    size = (height, width) if orientation in _ON_ITS_SIDE else (width, height)
    bilinear = Image.Resampling.BILINEAR
    if crop_to_aspect_ratio:
        image = ImageOps.fit(rgb, size, method=bilinear)
    else:
        image = rgb.resize(size, bilinear)
    # Turned last, when the image is small.
    return _upright(image, orientation)


def _decode_crops(
    file: Any, height: int, width: int, crops: RandomCrops
) -> list[Any]:
    """Returns crops of an image, decoded once, as upright RGB images."""
    from PIL import Image

    columns, rows = file.size
    if _orientation(file) in _ON_ITS_SIDE:
        columns, rows = rows, columns
    boxes = windows(crops, rows, columns)
    sizes = boxes[:, 2:] - boxes[:, :2]
    # A JPEG decoder can decode to a half or less where no crop loses by it.
    shrink = max(1, int(min(sizes.min(axis=0) / (width, height))))
    file.draft("RGB", tuple(max(1, side // shrink) for side in file.size))
    rgb = _to_rgb(file)
    # Read it again, since Pillow turns a TIFF upright when it decodes it.
    rgb = _upright(rgb, _orientation(file))
    decoded = np.array([rgb.width, rgb.height] * 2)
    boxes = np.minimum(boxes * (decoded / ([columns, rows] * 2)), decoded)
    return [
        rgb.resize((width, height), Image.Resampling.BILINEAR, box=tuple(box))
        for box in boxes.tolist()
    ]


def _upright(image: Any, orientation: int | None) -> Any:
    """Returns an image turned as its EXIF orientation asks for."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    if orientation not in turns:
        return image
    return image.transpose(turns[orientation])


def _orientation(file: Any) -> int | None:
    """Returns the EXIF orientation, 1 to 8, or `None`."""
    try:
        orientation: int | None = file.getexif().get(_ORIENTATION)
        return orientation
    except Exception:
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
    # Pillow would copy an RGB image, too. It may change as it is decoded.
    file.load()
    return file if file.mode == "RGB" else file.convert("RGB")
