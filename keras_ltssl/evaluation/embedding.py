"""Embeds images by an encoder, into memory or into a file."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.image_reader import ImageReader
from keras_ltssl.datasets.rows import FileRows, Rows
from keras_ltssl.datasets.sample_sources import are_paths, rows_of
from keras_ltssl.evaluation.embed_rows import VERBOSE, outputs_of
from keras_ltssl.evaluation.features_file import (
    FeaturesFile,
    OtherFeaturesError,
    remove_features,
)
from keras_ltssl.evaluation.labeled_features import check_encoder
from keras_ltssl.validation import check_choice, check_integer, check_path

Features = npt.NDArray[Any]

_DTYPES = ("float16", "float32")

# Batches between two writes to the file: what a kill costs.
_BLOCK = 16

# Samples that tell an array or a dataset from another.
_WITNESSES = 64


def embed(
    encoder: keras.Model,
    images: npt.NDArray[Any]
    | Sequence[str | os.PathLike[str]]
    | keras.utils.PyDataset,
    path: str | os.PathLike[str] | None = None,
    *,
    batch_size: int = 256,
    image_size: tuple[int, int] | None = None,
    dtype: str = "float32",
    workers: int = 4,
    verbose: int = 0,
) -> Features:
    """Returns the features of images, one row each, in the order of images.

    With `path`, features are written to a `.npy` file as they are made, so
    that they need not fit into memory. A run that is killed goes on at the last
    rows that it wrote. If the file is there already, made by the same weights
    of the same images, nothing is computed. Files are compared by path and
    size, arrays and datasets by 64 of their samples.

    Training is left as it is: no random number is drawn.

    The devices of one process share each batch: on JAX those of
    `keras.distribution.DataParallel`, on TensorFlow those of the strategy that
    `encoder` was made under. Of several processes, each embeds all images. To
    share them out, let each process embed a slice of the images, to a path of
    its own, and join the arrays.

    Args:
        encoder: The `keras.Model`, from images to `(batch, features)`.
        images: Array `(n, ...)`, which may be a `numpy.memmap`; a sequence of
            `n` paths of image files; or a dataset of this package, such as
            `image_batches_from_directory` makes.
        path: Path of the `.npy` file. Beside it, `<path>.json` says what the
            features are of. Defaults to `None`: in memory.
        batch_size: Images at a time, an integer >= 1. The last batch is filled
            up to this size, so every batch has one shape. Defaults to `256`.
        image_size: Tuple of integers `(height, width)` in pixels, for paths
            only. Defaults to `None`: what the encoder takes.
        dtype: `"float32"`, or `"float16"` for half the bytes. Defaults to
            `"float32"`.
        workers: Threads that decode image files, an integer >= 0. Defaults to
            `4`.
        verbose: `1` shows the progress and the time left. Defaults to `0`.

    Returns:
        Array `(n, features)`; with `path`, a read-only `numpy.memmap` of it.

    Raises:
        ValueError: If an argument is not as described, if features are not
            finite in `dtype`, or if `path` holds features of other weights or
            images.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = lt.models.small_convnet((8, 8, 3), width=4)
    >>> images = np.zeros((10, 8, 8, 3), "uint8")
    >>> lt.evaluation.embed(encoder, images, batch_size=4).shape[0]
    10
    """
    check_encoder(encoder, "`encoder`")
    if path is not None:
        check_path("path", path)
    check_integer("batch_size", batch_size, minimum=1)
    check_choice("dtype", dtype, _DTYPES)
    check_choice("verbose", verbose, VERBOSE)
    check_integer("workers", workers, minimum=0)
    rows = _rows_of(encoder, images, image_size, ImageReader(workers))
    if path is None:
        blocks = [*_features(encoder, rows, 0, batch_size, dtype, verbose)]
        return np.concatenate(blocks)
    return embed_into(encoder, rows, path, batch_size, dtype, verbose)


def embed_into(
    encoder: keras.Model,
    rows: Rows,
    path: str | os.PathLike[str],
    batch_size: int,
    dtype: str = "float32",
    verbose: int = 0,
) -> Features:
    """Returns the features of rows, in a file; goes on after a kill.

    Arguments, results and errors are those of `embed`.
    """
    if not encoder.built:  # It has no weights yet.
        encoder.build((None, *rows.shape))
    file = FeaturesFile(
        path,
        {
            "rows": len(rows),
            "dtype": dtype,
            "weights": _digest_of_weights(encoder),
            "images": _digest_of_rows(rows),
        },
    )
    if not file.is_finished:
        for block in _features(
            encoder, rows, file.done, batch_size, dtype, verbose
        ):
            file.write(block)
        file.finish()
    return file.read()


def embed_anew(
    encoder: keras.Model,
    rows: Rows,
    path: str | os.PathLike[str],
    batch_size: int,
    verbose: int = 0,
) -> Features:
    """Does the same, and replaces a file of other weights or samples."""
    try:
        return embed_into(encoder, rows, path, batch_size, verbose=verbose)
    except OtherFeaturesError:
        remove_features(path)
        return embed_into(encoder, rows, path, batch_size, verbose=verbose)


def _rows_of(
    encoder: keras.Model,
    images: Any,
    image_size: tuple[int, int] | None,
    reader: ImageReader,
) -> Rows:
    """Returns the rows of images; raises if the encoder does not take them."""
    # A model that is not functional says nothing about its input.
    shape = getattr(encoder, "input_shape", None)
    if not are_paths(images):
        if image_size is not None:
            raise ValueError(
                "`image_size` is the size to which image files are read, so "
                "it must be None for arrays and datasets. Received: "
                f"image_size={image_size}"
            )
    elif image_size is None and shape is not None and len(shape) == 4:
        image_size = shape[1:3]
    rows = rows_of("images", images, image_size, reader)
    if shape is not None and (
        len(shape) != 1 + len(rows.shape)
        or any(
            expected not in (None, received)
            for expected, received in zip(shape[1:], rows.shape, strict=True)
        )
    ):
        raise ValueError(
            "`images` must have the shape that `encoder` takes, "
            f"{tuple(shape[1:])}. Received: images of shape {rows.shape}"
        )
    return rows


def _features(
    encoder: keras.Model,
    rows: Rows,
    start: int,
    batch_size: int,
    dtype: str,
    verbose: int,
) -> Any:
    """Yields blocks of features, from a row on."""
    batch_size = min(batch_size, len(rows))
    starts = range(start, len(rows), batch_size)
    progress = keras.utils.Progbar(len(starts), verbose=verbose)
    block: list[Features] = []
    for number, first in enumerate(starts, start=1):
        numbers = np.arange(first, first + batch_size)
        # The last batch is filled up with the last image.
        batch = rows[np.minimum(numbers, len(rows) - 1)]
        features = outputs_of(encoder, batch)
        features = _as_dtype(features[: len(rows) - first], dtype, first)
        block.append(features)
        progress.add(1)
        if number % _BLOCK == 0 or number == len(starts):
            yield np.concatenate(block)
            block = []


def _as_dtype(features: Features, dtype: str, first: int) -> Features:
    """Returns features in a dtype; raises if one of them is not finite."""
    if features.ndim != 2:
        raise ValueError(
            "`encoder` must return features of shape (batch, features). "
            f"Received: (batch, {', '.join(map(str, features.shape[1:]))})"
        )
    with np.errstate(over="ignore"):
        found = features.astype(dtype)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        what = "NaN or infinity"
        if np.isfinite(features[row].astype("float32")).all():
            what = f"{np.abs(features[row]).max():.3g}, too large for {dtype}"
        raise ValueError(
            "Features of `encoder` must be finite in `dtype`. Received: "
            f"{what} in image {first + row}"
        )
    return found


def _digest_of_weights(encoder: keras.Model) -> str:
    """Returns what tells the weights of an encoder from others."""
    digest = hashlib.sha256()
    for weight in encoder.weights:
        digest.update(keras.ops.convert_to_numpy(weight.value).tobytes())
    return digest.hexdigest()[:16]


def _digest_of_rows(rows: Rows) -> str:
    """Returns what tells images from others, without reading all of them."""
    digest = hashlib.sha256(f"{len(rows)} {rows.shape} {rows.dtype}".encode())
    if isinstance(rows, FileRows):
        for path in rows.paths:
            size = os.stat(path).st_size
            digest.update(os.fsencode(path) + f"\0{size}\0".encode())
    else:
        picked = np.unique(np.linspace(0, len(rows) - 1, _WITNESSES, dtype=int))
        digest.update(np.ascontiguousarray(rows[picked]).tobytes())
    return digest.hexdigest()[:16]
