"""Says what is wrong with the parts and the data of a model."""

from typing import Any

import keras
import numpy as np


def check_layer(name: str, part: Any) -> None:
    """Says so when an argument is no Keras layer."""
    if not isinstance(part, keras.layers.Layer):
        raise ValueError(
            f"`{name}` must be a Keras layer or model. "
            f"Received: {name}={part!r} of type {type(part).__name__}"
        )


def check_features(shape: Any) -> None:
    """Says so when an encoder gives anything but `(batch, features)`."""
    if isinstance(shape, tuple) or hasattr(shape, "__len__"):
        sizes = tuple(shape)
        if len(sizes) == 2 and not isinstance(sizes[0], (tuple, list)):
            return
        advice = (
            " A feature map has to be pooled: end the encoder with "
            "`keras.layers.GlobalAveragePooling2D()`."
            if len(sizes) == 4
            else ""
        )
    else:
        sizes, advice = shape, " Give it a single output."
    raise ValueError(
        f"`encoder` must return features of shape (batch, features).{advice} "
        f"Received: output shape={sizes}"
    )


def sample_shape(x: Any) -> tuple[int | None, ...] | None:
    """Returns the shape of one sample, if the data tell without a batch."""
    if isinstance(x, np.ndarray):
        return tuple(x.shape[1:])
    if hasattr(x, "sample_shape"):
        return tuple(x.sample_shape)
    spec = getattr(x, "element_spec", None)
    if isinstance(spec, (tuple, list)):
        spec = spec[0]
    shape = getattr(spec, "shape", None)
    if shape is None or getattr(shape, "rank", None) is None:
        return None
    return tuple(shape[1:])


def check_finite(x: Any) -> None:
    """Refuses NaN and infinities in an array, a few rows at a time."""
    if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.floating):
        return
    rows = max(1, 2**24 // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), rows):
        if not np.isfinite(x[start : start + rows]).all():
            raise ValueError(
                "`x` must hold finite numbers. "
                f"Received: NaN or infinity in rows {start} to "
                f"{min(start + rows, len(x)) - 1}"
            )


def check_ids(y: Any) -> None:
    """Says so when targets are no sample ids."""
    if y is None:
        return
    ids = np.asarray(y) if isinstance(y, (list, tuple)) else y
    if not isinstance(ids, np.ndarray):
        return
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            "`y` must hold sample ids, integers; labels are never needed. "
            f"Received: dtype={ids.dtype}"
        )
    if ids.size and ids.min() < -1:
        raise ValueError(
            "`y` must hold sample ids >= 0, or -1 for out-of-distribution "
            f"samples. Received: {ids.min()}"
        )
