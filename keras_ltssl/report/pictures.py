"""Draws a contact sheet: small images with captions, in rows."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.datasets.image_files import check_pillow
from keras_ltssl.validation import (
    as_array,
    check_integer,
    check_path,
    check_sequence,
)

GAP = 8
TEXT_HEIGHT = 16
TEXT_SIZE = 12
BACKGROUND, TEXT_COLOR = (255, 255, 255), (32, 32, 32)
JPEG_QUALITY = 90
# More rows make a file that few programs open: a JPEG's side is at most 65,535.
LONGEST_SIDE = 65_000
LARGEST_SIZE = 1024


def contact_sheet(
    path: str | os.PathLike[str],
    images: Sequence[Any],
    captions: Sequence[str],
    columns: int = 8,
    size: int = 128,
) -> None:
    """Draws images with captions in rows, and writes them as one picture.

    Images may differ in size. Each is drawn as large as fits a square, without
    distortion; smaller ones grow by whole pixels' copies, so that 28 x 28
    digits stay sharp. A caption is cut where its image's column ends. Needs
    Pillow, the `images` extra.

    Args:
        path: File to write; its ending says the format, such as `.jpg` or
            `.png`.
        images: uint8 images of shape `(height, width, 3)`, `(height, width,
            1)` or `(height, width)`, at least one.
        captions: One for each image; may be empty.
        columns: Images in a row, integer >= 1. Defaults to `8`.
        size: Side of the square of an image in pixels, integer from 16 to
            1024. Defaults to `128`.

    Raises:
        ImportError: If Pillow is missing.
        ValueError: If there is no image, one has another form, captions are
            not as many, or the picture would be too large.

    Example:

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from keras_ltssl.report import contact_sheet
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "sheet.png"
    >>> contact_sheet(path, np.zeros((3, 28, 28, 1), "uint8"), ["1", "2", "3"])
    >>> path.exists()
    True
    """
    check_pillow()
    from PIL import Image, ImageDraw, ImageFont

    check_path("path", path)
    check_integer("columns", columns, minimum=1)
    check_integer("size", size, minimum=16, maximum=LARGEST_SIZE)
    check_sequence("images", images)
    check_sequence("captions", captions)
    if not len(images):
        raise ValueError("`images` must hold at least one image. Received: 0")
    if len(captions) != len(images):
        raise ValueError(
            "`captions` must be as many as `images`. Received: "
            f"{len(captions)} captions for {len(images)} images"
        )
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    width = GAP + columns * (size + GAP)
    height = GAP + rows * (size + TEXT_HEIGHT + GAP)
    if max(width, height) > LONGEST_SIDE:
        raise ValueError(
            "`images` must fit a picture of at most "
            f"{LONGEST_SIDE} pixels a side. Received: {len(images)} images in "
            f"{columns} columns of {size} pixels, {width} x {height}"
        )
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = _font(ImageFont)
    for number, (image, caption) in enumerate(
        zip(images, captions, strict=True)
    ):
        row, column = divmod(number, columns)
        left = GAP + column * (size + GAP)
        top = GAP + row * (size + TEXT_HEIGHT + GAP)
        drawn = _fitted(Image, _as_pixels(image, number), size)
        sheet.paste(
            drawn,
            (
                left + (size - drawn.width) // 2,
                top + (size - drawn.height) // 2,
            ),
        )
        text = _cut(draw, font, str(caption), size)
        draw.text((left, top + size + 1), text, TEXT_COLOR, font)
    sheet.save(path, quality=JPEG_QUALITY)


def _as_pixels(image: Any, number: int) -> NDArray[np.uint8]:
    pixels = as_array("images", image)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)
    if pixels.dtype != np.uint8 or not is_image or 0 in pixels.shape:
        raise ValueError(
            "`images` must be uint8 images of shape (height, width), (height, "
            "width, 1) or (height, width, 3). Received: image "
            f"{number} of dtype={pixels.dtype}, shape={pixels.shape}"
        )
    return pixels


def _fitted(image_class: Any, pixels: NDArray[np.uint8], size: int) -> Any:
    """Returns the image in RGB, its longer side as long as fits."""
    image = image_class.fromarray(pixels).convert("RGB")
    scale = size / max(image.size)
    if scale >= 2:
        # Copies of pixels: what is blurred looks like a bad photo.
        scale = math.floor(scale)
    shape = tuple(max(1, round(side * scale)) for side in image.size)
    filters = image_class.Resampling
    return image.resize(shape, filters.NEAREST if scale >= 2 else filters.BOX)


def _font(fonts: Any) -> Any:
    try:
        return fonts.load_default(TEXT_SIZE)
    except TypeError:  # Pillow before 10.1 has one size.
        return fonts.load_default()


def _cut(draw: Any, font: Any, text: str, width: int) -> str:
    """Returns the beginning of the first line that fits, with dots."""
    line = " ".join(text.split())
    try:
        if draw.textlength(line, font) <= width:
            return line
        while line and draw.textlength(line + "...", font) > width:
            line = line[:-1]
    except UnicodeEncodeError:  # A font of Latin letters alone.
        plain = line.encode("ascii", "replace").decode()
        return _cut(draw, font, plain, width)
    return line + "..."
