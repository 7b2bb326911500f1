"""Turns an image that Pillow has opened into upright RGB of one size."""

from typing import Any

import numpy as np

from keras_ltssl.datasets.random_crops import RandomCrops, windows

# The EXIF tag for the orientation of the camera, and its values for which
# height and width are exchanged.
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)

# The TIFF tag for the bits of a value.
_BITS_PER_SAMPLE = 0x0102

# Formats whose gray values have at most 16 bits. Some releases of Pillow open
# them as if they had 32.
_AT_MOST_16_BITS = ("PNG", "PPM")


def decode(
    file: Any, height: int, width: int, crop_to_aspect_ratio: bool
) -> Any:
    """Returns an upright RGB image of this size.

    Args:
        file: A `PIL.Image.Image` that is not decoded yet.
        height: Height in pixels.
        width: Width in pixels.
        crop_to_aspect_ratio: Whether to crop rather than to distort.
    """
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


def decode_crops(
    file: Any, height: int, width: int, crops: RandomCrops
) -> list[Any]:
    """Returns crops of an image, decoded once, as upright RGB images.

    Args:
        file: A `PIL.Image.Image` that is not decoded yet.
        height: Height of a crop in pixels.
        width: Width of a crop in pixels.
        crops: The crops.
    """
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
