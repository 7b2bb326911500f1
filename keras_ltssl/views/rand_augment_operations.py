"""The operations of RandAugment, another one for every image of a batch."""

import math
from collections.abc import Callable

from keras import ops

from keras_ltssl.types import Tensor

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
"""What there is, with its value at strength 0 and at the largest strength."""

MAX_STRENGTH = 30.0

_CUTOUT_COLOR = (125.0, 123.0, 114.0)

_PORTION = 32
"""Images that a costly operation works on at a time."""


def _luminance(planes: Tensor) -> Tensor:
    """`(batch, channels, height, width)` to `(batch, 1, height, width)`."""
    if planes.shape[1] == 1:
        return planes
    red, green, blue = (planes[:, i : i + 1] for i in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def resample_nearest(images: Tensor, matrices: Tensor) -> Tensor:
    """Map every image by its own affine map, without interpolation.

    The pixel in row i and column j of the outcome is the one that holds

        (x, y) = (a (j + 1/2) + b (i + 1/2) + c, d (j + 1/2) + e (i + 1/2) + f)

    in units of pixels, (0, 0) being the upper left corner of the image; it is
    0 where that lies outside. One gather of pixels for the whole batch.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        matrices: Float tensor `(batch, 6)`: a, b, c, d, e, f.

    Returns:
        Tensor like `images`.

    Example:

    >>> from keras import ops
    >>> image = ops.reshape(ops.arange(1.0, 5.0), (1, 2, 2, 1))
    >>> quarter_turn = ops.convert_to_tensor([[0.0, -1, 2, 1, 0, 0]])
    >>> turned = resample_nearest(image, quarter_turn)
    >>> ops.convert_to_numpy(turned)[0, :, :, 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    batch = ops.shape(images)[0]
    _, height, width, channels = images.shape
    x = ops.arange(width, dtype="float32") + 0.5
    y = ops.arange(height, dtype="float32")[:, None] + 0.5
    a, b, c, d, e, f = (
        ops.reshape(matrices[:, i], (-1, 1, 1)) for i in range(6)
    )
    column = ops.cast(ops.floor(a * x + (b * y + c)), "int32")
    row = ops.cast(ops.floor(d * x + (e * y + f)), "int32")
    inside = ops.logical_and(
        ops.logical_and(column >= 0, column < width),
        ops.logical_and(row >= 0, row < height),
    )
    first = ops.arange(batch, dtype="int32")[:, None, None] * (height * width)
    pixel = first + ops.where(inside, row * width + column, 0)
    moved = ops.take(
        ops.reshape(images, (-1, channels)), ops.reshape(pixel, (-1,)), axis=0
    )
    moved = ops.reshape(moved, (-1, height, width, channels))
    return moved * ops.cast(inside, moved.dtype)[..., None]


def _affine_maps(
    chosen: dict[str, Tensor], value: Tensor, height: int, width: int
) -> Tensor:
    """The map of each image, `(batch, 6)`; the identity where none is due."""
    zero = ops.zeros_like(value)
    angle = ops.where(chosen["rotate"], value * (math.pi / 180), zero)
    cos, sin = ops.cos(angle), ops.sin(angle)
    # About the centre; shears keep the upper left corner in place.
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


def equalize(images: Tensor, value: Tensor) -> Tensor:
    """Spread the values of every channel of an image evenly over 0 to 255.

        out = floor((floor(s / 2) + #{pixels < v}) / s),
        s = floor(#{pixels < the largest value} / 255)

    for values v clipped and rounded to whole numbers first; those stay where
    s = 0, as in a channel of a single value.

    Args:
        images: Float tensor `(batch, height, width, channels)`, 0 to 255.
        value: Tensor `(batch,)`, which makes no difference.

    Returns:
        Tensor like `images`, whole numbers.
    """
    _, height, width, channels = images.shape
    values = ops.round(ops.clip(images, 0.0, 255.0))
    values = ops.cast(ops.transpose(values, (0, 3, 1, 2)), "int32")
    values = ops.reshape(values, (-1, height * width))
    rows = ops.shape(values)[0]
    entries = ops.reshape(
        values + 256 * ops.arange(rows, dtype="int32")[:, None], (-1,)
    )
    histogram = ops.reshape(
        ops.segment_sum(
            ops.ones_like(entries), entries, num_segments=rows * 256
        ),
        (-1, 256),
    )
    below = ops.cumsum(histogram, axis=1) - histogram
    largest = ops.amax(values, axis=1, keepdims=True)
    step = ops.take_along_axis(below, largest, axis=1) // 255
    table = ops.where(
        step > 0,
        ops.minimum((step // 2 + below) // ops.maximum(step, 1), 255),
        ops.arange(256, dtype="int32"),
    )
    new = ops.take(ops.reshape(table, (-1,)), entries, axis=0)
    new = ops.reshape(
        ops.cast(new, images.dtype), (-1, channels, height, width)
    )
    return ops.transpose(new, (0, 2, 3, 1))


def sharpen(planes: Tensor, value: Tensor) -> Tensor:
    """Blend every image with itself smoothed.

        out = r + v (x - r),  r: mean of 3 x 3 pixels, the central one five-fold

    Pixels at the edge stay as they are.

    Args:
        planes: Float tensor `(batch, channels, height, width)`.
        value: Float tensor `(batch,)`, v.

    Returns:
        Tensor like `planes`, not clipped.
    """
    height, width = planes.shape[2:]
    if min(height, width) < 3:
        return planes
    rows = planes[:, :, :-2] + planes[:, :, 1:-1] + planes[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    # x - r, where r holds (1 + 4) / 13 of the pixel itself.
    detail = (9.0 * planes[:, :, 1:-1, 1:-1] - sums) / 13.0
    detail = ops.pad(detail, [[0, 0], [0, 0], [1, 1], [1, 1]])
    return planes + (value - 1.0)[:, None, None, None] * detail


def _where_chosen(
    function: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    value: Tensor,
    chosen: Tensor,
) -> Tensor:
    """Apply a costly function to the images chosen, of which a batch has few.

    Some at a time, in a loop inside the graph, as often as it takes.
    """
    count = ops.sum(ops.cast(chosen, "int32"))
    chosen_first = ops.argsort(ops.cast(ops.logical_not(chosen), "int32"))

    def some_are_left(start: Tensor, images: Tensor) -> Tensor:
        return start < count

    def change_some(start: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        turn = start + ops.arange(_PORTION, dtype="int32")
        # Past the last one, that one again, with the same outcome.
        turn = ops.minimum(turn, count - 1)
        rows = ops.cast(ops.take(chosen_first, turn), "int32")
        some = function(
            ops.take(images, rows, axis=0), ops.take(value, rows, axis=0)
        )
        images = ops.scatter_update(images, rows[:, None], some)
        return start + _PORTION, images

    start = ops.zeros((), dtype="int32")
    _, images = ops.while_loop(some_are_left, change_some, (start, images))
    return images


def _cut_out(
    planes: Tensor, chosen: Tensor, value: Tensor, place: Tensor
) -> Tensor:
    """Paint a square of `value` times the width, centred at `place`."""
    _, channels, height, width = planes.shape

    def covered(centre: Tensor, size: int) -> Tensor:
        side = value * width
        start = ops.floor(ops.maximum(centre * size - side / 2.0, 0.0))
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
    color = _luminance(color) if channels == 1 else color
    return ops.where(painted, color, planes)


def rand_augment(
    images: Tensor,
    operation: Tensor,
    strength: Tensor,
    sign: Tensor,
    place: Tensor,
) -> Tensor:
    """Apply one operation to every image, another one to each.

    `v` lies `strength / 30` of the way between the two numbers that
    `OPERATIONS` has for the operation; `x` is a pixel in 0 to 255:

    - `shear_x`, `shear_y`: by `± v`, upper left corner fixed; `translate_x`,
      `translate_y`: by `± v` of the size; `rotate`: by `± v` degrees about the
      centre. The nearest pixel, 0 where there is none; `sign` tells which way.
    - `autocontrast`: each channel stretched to 0 to 255, unless it is flat.
    - `equalize`: see there. `invert`: `255 - x`.
    - `solarize`: `255 - x` where `x >= v`. `posterize`: only the `floor(v)`
      highest bits of `x`, rounded.
    - `brightness`, `contrast`, `color`, `sharpness`: `r + v (x - r)`, clipped;
      `r` is 0, the mean luminance of the image, the luminance of the pixel, or
      the image smoothed over 3 x 3 pixels (see `sharpen`).
    - `cutout`: a square, its side `v` of the width, painted over in gray; it is
      cut off at the right and at the bottom edge.

    All images go through one affine resampling and the same arithmetic, with
    coefficients of their own; only histograms and smoothing, which cost more
    than the rest together, are left to the images that need them. No gradient
    flows through.

    Args:
        images: float32 tensor `(batch, height, width, channels)`, one or three
            channels, values 0 to 255; others are clipped where an operation
            is due.
        operation: int32 tensor `(batch,)`, a position in `OPERATIONS`; -1
            leaves the image as it is.
        strength: float32 tensor `(batch,)`, 0 to 30.
        sign: float32 tensor `(batch,)`, 1 or -1.
        place: float32 tensor `(batch, 2)`, centre of a cutout as shares of
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
    # XLA does not fuse across loops. Without one before the resampling and one
    # behind it, it would compute what comes before them, including all that the
    # images are made by, anew for each use, or pixel by pixel for the gather.
    images = _where_chosen(equalize, images, value, chosen["equalize"])
    images = resample_nearest(
        images, _affine_maps(chosen, sign * value, height, width)
    )
    # A channel after the other: far faster than to work across the last axis.
    planes = ops.transpose(images, (0, 3, 1, 2))
    planes = _where_chosen(sharpen, planes, value, chosen["sharpness"])
    unchanged = planes

    def per_image(condition: Tensor) -> Tensor:
        return condition[:, None, None, None]

    # Blends and stretches: scale x + offset + gray luminance(x)
    zero, one = ops.zeros_like(value), ops.ones_like(value)
    luminance = _luminance(planes)
    darkest = ops.amin(planes, axis=(2, 3), keepdims=True)
    brightest = ops.amax(planes, axis=(2, 3), keepdims=True)
    # Half a level is less than there is between whole numbers, and more than
    # rounding leaves of a flat channel, which would be stretched to noise.
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
    # To invert is to solarize from 0 on.
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
