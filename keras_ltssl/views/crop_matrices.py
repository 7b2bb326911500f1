"""Matrices that cut windows out of images and resize them."""

from keras import ops

from keras_ltssl.backend.fused_operations import at_least, clip
from keras_ltssl.types import Tensor
from keras_ltssl.views.random_resampling import resample


def _bilinear_weights(
    start: Tensor, end: Tensor, in_size: int, out_size: int
) -> Tensor:
    """Returns pixel weights `(batch, out_size, in_size)` of some spans."""
    centers = ops.arange(0.5, out_size, dtype="float32")
    step = (end - start) / out_size
    positions = start[:, None] + centers * step[:, None] - 0.5
    # A sample beyond the outermost pixel centers takes the edge pixel.
    positions = clip(positions, 0.0, in_size - 1.0)
    pixels = ops.arange(in_size, dtype="float32")
    return at_least(1.0 - ops.abs(positions[:, :, None] - pixels), 0.0)


def crop_matrices(
    windows: Tensor, in_size: tuple[int, int], out_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Returns matrices that cut out windows and resize them bilinearly.

    `crop_and_resize` applies them.

    Args:
        windows: Float tensor `(batch, 4)`: top, left, bottom and right edge.
        in_size: Height and width of the images in pixels.
        out_size: Height and width of the crops in pixels.

    Returns:
        float32 tensors `(batch, out_height, height)` and `(batch, out_width,
        width)`, as `resample` takes them.

    Example:

    >>> import keras
    >>> window = keras.ops.convert_to_tensor([[0.0, 1.0, 1.0, 3.0]])
    >>> _, columns = crop_matrices(window, in_size=(1, 4), out_size=(1, 1))
    >>> keras.ops.convert_to_numpy(columns)[0].tolist()
    [[0.0, 0.5, 0.5, 0.0]]
    """
    windows = ops.cast(windows, "float32")
    if in_size[0] == in_size[1] and out_size[0] == out_size[1]:
        # Of both directions at once: eager PyTorch takes as long as for one.
        starts_and_ends = ops.reshape(ops.transpose(windows), (2, -1))
        weights = _bilinear_weights(
            starts_and_ends[0], starts_and_ends[1], in_size[0], out_size[0]
        )
        count = ops.shape(windows)[0]
        return weights[:count], weights[count:]
    top, left, bottom, right = (windows[:, i] for i in range(4))
    return (
        _bilinear_weights(top, bottom, in_size[0], out_size[0]),
        _bilinear_weights(left, right, in_size[1], out_size[1]),
    )


def crop_and_resize(
    images: Tensor, windows: Tensor, height: int, width: int
) -> Tensor:
    """Cuts one window out of each image and resizes it bilinearly.

    Along either axis, output pixel `i` of `n` reads the image at

        start + (i + 1/2) (end - start) / n - 1/2

    in units of pixels, where pixel `p` has its center at `p` (half-pixel
    centers). Windows need not lie on whole pixels. Samples beyond the centers
    of the outermost pixels take the edge pixel. There is no antialiasing.
    Bilinear interpolation is separable, so this takes two batched matrix
    products.

    Args:
        images: Tensor `(batch, height, width, channels)`, any real dtype.
            Height, width and channels must be known.
        windows: Float tensor `(batch, 4)`: top, left, bottom and right edge
            of each window in pixels. `(0, 0, height, width)` is the whole
            image. Exchanged edges mirror the window.
        height: Height of the output in pixels.
        width: Width of the output in pixels.

    Returns:
        float32 tensor `(batch, height, width, channels)`.

    Example:

    >>> import keras
    >>> image = keras.ops.reshape(keras.ops.arange(16.0), (1, 4, 4, 1))
    >>> window = keras.ops.convert_to_tensor([[1.0, 3.0, 3.0, 1.0]])
    >>> crop = crop_and_resize(image, window, height=2, width=2)
    >>> keras.ops.convert_to_numpy(crop)[0, :, :, 0].tolist()
    [[6.0, 5.0], [10.0, 9.0]]
    """
    images = ops.convert_to_tensor(images)
    return resample(
        images,
        *crop_matrices(windows, tuple(images.shape[1:3]), (height, width)),
    )
