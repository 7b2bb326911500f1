"""The base class of layers that mix rows and columns of images."""

from keras import ops

from keras_ltssl.types import Tensor
from keras_ltssl.views.random_image_layer import RandomImageLayer


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Mixes the rows and the columns of each image by matrices.

    `out[b, i, j, c] = sum_pq rows[b, i, p] columns[b, j, q] images[b, p, q, c]`

    With `n` times as many matrices as images, `n` successive matrices belong to
    the same image, which is read only once.

    Args:
        images: Tensor `(batch, height, width, channels)`, any real dtype.
            Height, width and channels must be known.
        rows: Float tensor `(n * batch, out_height, height)`.
        columns: Float tensor `(n * batch, out_width, width)`.

    Returns:
        float32 tensor `(n * batch, out_height, out_width, channels)`.

    Example:

    >>> import keras
    >>> mirror = keras.ops.flip(keras.ops.eye(2), axis=0)[None]
    >>> image = keras.ops.reshape(keras.ops.arange(4.0), (1, 2, 2, 1))
    >>> mirrored = resample(image, keras.ops.eye(2)[None], mirror)
    >>> keras.ops.convert_to_numpy(mirrored)[0, :, :, 0].tolist()
    [[1.0, 0.0], [3.0, 2.0]]
    """
    batch_size = ops.shape(images)[0]
    height, width, channels = images.shape[1:]
    out_height, out_width = rows.shape[1], columns.shape[1]
    # One product for the rows of all crops of an image.
    mixed = ops.matmul(
        ops.reshape(rows, (batch_size, -1, height)),
        ops.reshape(
            ops.cast(images, "float32"), (batch_size, height, width * channels)
        ),
    )
    # With channels first, the columns take one product, too.
    planes = ops.transpose(
        ops.reshape(mixed, (-1, out_height, width, channels)), (0, 3, 1, 2)
    )
    planes = ops.matmul(
        ops.reshape(planes, (-1, channels * out_height, width)),
        ops.transpose(columns, (0, 2, 1)),
    )
    return ops.transpose(
        ops.reshape(planes, (-1, channels, out_height, out_width)),
        (0, 2, 3, 1),
    )


class RandomResampling(RandomImageLayer):
    """Base class of layers that resample by matrices in training.

    One matrix mixes the rows of an image, another the columns. `TwoViews`
    multiplies the matrices of successive layers before it applies them, and
    makes both views from one copy of the image.
    """

    def draw_matrices(
        self, count: int | Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Draws the matrices of `count` images.

        Args:
            count: Number of images, an integer or a scalar tensor.
            height: Height of the images in pixels.
            width: Width of the images in pixels.

        Returns:
            `rows`, float32 tensor `(count, out_height, height)`, and
            `columns`, float32 tensor `(count, out_width, width)`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement "
            "`draw_matrices(count, height, width)`."
        )

    def call(self, images: Tensor, training: bool = True) -> Tensor:
        """Resamples the images if training.

        Args:
            images: Tensor `(batch, height, width, channels)`.
            training: Boolean, whether to change them.

        Returns:
            Tensor `(batch, out_height, out_width, channels)`.
        """
        if training:
            _, height, width, _ = images.shape
            images = resample(
                images,
                *self.draw_matrices(ops.shape(images)[0], height, width),
            )
        return ops.cast(images, self.compute_dtype)
