"""Operations on images, each image with its own amount."""

from collections.abc import Callable

from keras import ops

from keras_ltssl.types import Tensor

# Images that a costly operation works on at a time.
_PORTION = 32


def luminance_of(planes: Tensor) -> Tensor:
    """Returns the luminance, `(batch, 1, height, width)`, of color planes."""
    if planes.shape[1] == 1:
        return planes
    red, green, blue = (planes[:, i : i + 1] for i in range(3))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def resample_nearest(images: Tensor, matrices: Tensor) -> Tensor:
    """Applies an affine map to each image, without interpolation.

    Row i and column j of the result hold the input pixel that contains

        (x, y) = (a (j + 1/2) + b (i + 1/2) + c, d (j + 1/2) + e (i + 1/2) + f)

    in units of pixels from the upper left corner, or 0 if (x, y) is outside of
    the image. It takes one gather of pixels for the whole batch.

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


def equalize(images: Tensor, value: Tensor) -> Tensor:
    """Equalizes the histogram of every channel of an image.

        out = floor((floor(s / 2) + #{pixels < v}) / s),
        s = floor(#{pixels < the largest value} / 255)

    for values v that are first clipped and rounded to whole numbers. If s = 0,
    as in a channel with a single value, v is returned.

    Args:
        images: Float tensor `(batch, height, width, channels)`, 0 to 255.
        value: Tensor `(batch,)`, not used.

    Returns:
        Tensor like `images`, of whole numbers.
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
    """Blends every image with its smoothed version.

        out = r + v (x - r),  r: mean of 3 x 3 pixels, 5 times the center

    Pixels at the edge do not change.

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


def apply_where(
    function: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    value: Tensor,
    chosen: Tensor,
) -> Tensor:
    """Applies a costly function to the chosen images of a batch.

    A loop inside the graph works on a few images at a time, so that its cost
    depends on the number of images chosen.
    """
    count = ops.sum(ops.cast(chosen, "int32"))
    chosen_first = ops.argsort(ops.cast(ops.logical_not(chosen), "int32"))

    def some_are_left(start: Tensor, images: Tensor) -> Tensor:
        return start < count

    def change_some(start: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        turn = start + ops.arange(_PORTION, dtype="int32")
        # The last turn repeats the last image, which does not change it.
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
