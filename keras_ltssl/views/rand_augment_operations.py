"""The operations of RandAugment, with one operation for each image."""

import math

from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.views.image_operations import (
    apply_where,
    equalize,
    luminance_of,
    resample_nearest,
    sharpen,
)

OPERATIONS = {
    "shear_x": (0.0, 0.6),
    "shear_y": (0.0, 0.6),
    "translate_x": (0.0, 0.66),
    "translate_y": (0.0, 0.66),
    "rotate": (0.0, 60.0),
    "autocontrast": (0.0, 1.0),
    "invert": (0.0, 1.0),
    "equalize": (0.0, 1.0),
    "solarize": (0.0, 110.0),
    "posterize": (4.0, 8.0),
    "contrast": (0.1, 1.9),
    "color": (0.1, 1.9),
    "brightness": (0.1, 1.9),
    "sharpness": (0.1, 1.9),
    "cutout": (0.0, 0.4),
}
"""The operations, each with its value at strength 0 and at the largest one."""

MAX_STRENGTH = 30.0

_CUTOUT_COLOR = (125.0, 123.0, 114.0)


def _affine_maps(
    chosen: dict[str, Tensor], value: Tensor, height: int, width: int
) -> Tensor:
    """Returns the affine map of each image, `(batch, 6)`, or the identity."""
    zero = ops.zeros_like(value)
    angle = ops.where(chosen["rotate"], value * (math.pi / 180), zero)
    cos, sin = ops.cos(angle), ops.sin(angle)
    # Rotations keep the center in place, shears the upper left corner.
    x, y = width / 2, height / 2
    return ops.stack(
        [
            cos,
            ops.where(chosen["shear_x"], value, -sin),
            ops.where(
                chosen["translate_x"], value * width, x - cos * x + sin * y
            ),
            ops.where(chosen["shear_y"], value, sin),
            cos,
            ops.where(
                chosen["translate_y"], value * height, y - sin * x - cos * y
            ),
        ],
        axis=1,
    )


def _cut_out(
    planes: Tensor, chosen: Tensor, value: Tensor, place: Tensor
) -> Tensor:
    """Paints a square of `value` times the width, centered at `place`."""
    _, channels, height, width = planes.shape

    def covered(center: Tensor, size: int) -> Tensor:
        side = value * width
        start = ops.floor(ops.maximum(center * size - side / 2.0, 0.0))
        pixels = ops.arange(size, dtype="float32")
        after = pixels >= start[:, None]
        return ops.logical_and(after, pixels <= (start + side)[:, None])

    columns = covered(place[:, 0], width)[:, None, None, :]
    rows = covered(place[:, 1], height)[:, None, :, None]
    chosen = ops.logical_and(chosen, value > 0)[:, None, None, None]
    painted = ops.logical_and(ops.logical_and(rows, columns), chosen)
    color = ops.reshape(
        ops.convert_to_tensor(_CUTOUT_COLOR, "float32"), (1, 3, 1, 1)
    )
    color = luminance_of(color) if channels == 1 else color
    return ops.where(painted, color, planes)


def rand_augment(
    images: Tensor,
    operation: Tensor,
    strength: Tensor,
    sign: Tensor,
    place: Tensor,
) -> Tensor:
    """Applies one operation to each image.

    `v` is interpolated between the two numbers of the operation in
    `OPERATIONS`, at `strength / 30`. `x` is a pixel in 0 to 255.

    - `shear_x`, `shear_y`: by `± v`, with the upper left corner fixed.
    - `translate_x`, `translate_y`: by `± v` times the size.
    - `rotate`: by `± v` degrees about the center. These five take the nearest
      pixel, or 0 outside of the image. `sign` gives the direction.
    - `autocontrast`: each channel is stretched to 0 to 255, unless it is flat.
    - `equalize`: see `equalize`.
    - `invert`: `255 - x`.
    - `solarize`: `255 - x` where `x >= v`.
    - `posterize`: only the `floor(v)` highest bits of `x`, rounded.
    - `brightness`, `contrast`, `color`, `sharpness`: `r + v (x - r)`, clipped.
      `r` is 0, the mean luminance of the image, the luminance of the pixel, or
      the image smoothed over 3 x 3 pixels (see `sharpen`).
    - `cutout`: a gray square whose side is `v` times the width. It is clipped
      at the right and at the bottom edge.

    All images share one affine resampling and the same arithmetic, each with
    its own coefficients. Only histograms and smoothing, which cost more than
    everything else, are restricted to the images that need them. No gradient
    flows through this function.

    Args:
        images: float32 tensor `(batch, height, width, channels)`, one or three
            channels, values 0 to 255. Other values are clipped if the image
            gets an operation.
        operation: int32 tensor `(batch,)`, a position in `OPERATIONS`, or -1
            for no operation.
        strength: float32 tensor `(batch,)`, 0 to 30.
        sign: float32 tensor `(batch,)`, 1 or -1.
        place: float32 tensor `(batch, 2)`, the center of a cutout as shares of
            width and height, 0 to 1.

    Returns:
        float32 tensor like `images`.
    """
    images = ops.stop_gradient(images)
    _, height, width, _ = images.shape
    chosen = {name: operation == i for i, name in enumerate(OPERATIONS)}
    low, high = (
        ops.take(
            ops.convert_to_tensor(
                [pair[i] for pair in OPERATIONS.values()], "float32"
            ),
            ops.maximum(operation, 0),
            axis=0,
        )
        for i in range(2)
    )
    value = ops.stop_gradient(low + (high - low) * (strength / MAX_STRENGTH))
    # XLA does not fuse across loops. The loops before and after the resampling
    # keep it from computing the images again for each use.
    images = apply_where(equalize, images, value, chosen["equalize"])
    images = resample_nearest(
        images, _affine_maps(chosen, sign * value, height, width)
    )
    # Planes of channels are much faster than a last axis of 3.
    planes = ops.transpose(images, (0, 3, 1, 2))
    planes = apply_where(sharpen, planes, value, chosen["sharpness"])
    unchanged = planes

    def per_image(condition: Tensor) -> Tensor:
        return condition[:, None, None, None]

    # Blends and stretches: scale x + offset + gray luminance(x)
    zero, one = ops.zeros_like(value), ops.ones_like(value)
    luminance = luminance_of(planes)
    darkest = ops.amin(planes, axis=(2, 3), keepdims=True)
    brightest = ops.amax(planes, axis=(2, 3), keepdims=True)
    # Rounding gives a flat channel a spread of up to half a level, which must
    # not be stretched to noise.
    stretch = ops.logical_and(
        per_image(chosen["autocontrast"]), brightest - darkest > 0.5
    )
    blends = ops.logical_or(
        ops.logical_or(chosen["brightness"], chosen["contrast"]),
        chosen["color"],
    )
    scale = per_image(ops.where(blends, value, one))
    scale = ops.where(
        stretch,
        255.0 / ops.where(stretch, brightest - darkest, 1.0),
        scale,
    )
    mean = ops.mean(luminance, axis=(2, 3), keepdims=True)
    offset = per_image(ops.where(chosen["contrast"], one - value, zero)) * mean
    offset = ops.where(stretch, -darkest * scale, offset)
    gray = per_image(ops.where(chosen["color"], one - value, zero))
    planes = scale * planes + offset + gray * luminance
    planes = ops.clip(planes, 0.0, 255.0)
    # Inversion is solarization from 0.
    threshold = ops.where(chosen["invert"], zero, value)
    solarizes = ops.logical_or(chosen["invert"], chosen["solarize"])
    threshold = per_image(ops.where(solarizes, threshold, 256.0))
    planes = ops.where(planes >= threshold, 255.0 - planes, planes)
    step = ops.round(ops.exp2(8.0 - ops.floor(value)))
    step = per_image(ops.where(chosen["posterize"], step, one))
    planes = ops.where(
        per_image(chosen["posterize"]),
        ops.floor(ops.round(planes) / step) * step,
        planes,
    )
    planes = _cut_out(planes, chosen["cutout"], value, place)
    planes = ops.where(per_image(operation < 0), unchanged, planes)
    return ops.transpose(planes, (0, 2, 3, 1))
