"""Checks of the layers, the data and the metrics of a model."""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_ltssl.backend import processes
from keras_ltssl.sample_ids import check_distinct


def check_layer(name: str, part: Any) -> None:
    """Raises if an argument is not a Keras layer."""
    if not isinstance(part, keras.layers.Layer):
        raise ValueError(
            f"`{name}` must be a Keras layer or model. "
            f"Received: {name}={part!r} of type {type(part).__name__}"
        )


def check_features(shape: Any) -> None:
    """Raises if an encoder returns anything but `(batch, features)`."""
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
    """Returns the shape of one sample, or `None` if a batch must be read."""
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


def shape_of_first_batch(x: Any) -> tuple[int | None, ...] | None:
    """Returns the shape of one sample of a tensor or of a `PyDataset`.

    Of other data, such as a generator, a batch cannot be read without effect
    on the training; then it returns `None`.
    """
    if isinstance(x, keras.utils.PyDataset):
        batch = x[0]
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
    elif not ops.is_tensor(x):
        return None
    shape = getattr(x, "shape", None)
    return None if shape is None else tuple(shape[1:])


def check_fit(
    x: Any,
    y: Any,
    batch_size: int | None,
    sample_weight: Any = None,
    validation_data: Any = None,
    class_weight: Any = None,
    **others: Any,
) -> None:
    """Raises if the arguments of `fit` cannot be trained on."""
    check_data(x, y, sample_weight)
    check_validation_data(validation_data)
    if class_weight is not None:
        raise ValueError(
            "`class_weight` weights samples by their class, and targets are "
            "sample ids here. Pass `sample_weight`, one weight for each "
            f"sample. Received: class_weight={class_weight}"
        )
    processes.check_parts(x, y)
    processes.check_batches(x, batch_size)


def check_data(x: Any, y: Any, sample_weight: Any, where: str = "") -> None:
    """Raises if arrays or tensors are not valid training data.

    Batches of a dataset or a generator are checked when they are read.

    Args:
        x: Samples or views.
        y: Sample ids, or `None`.
        sample_weight: Weights of the samples, or `None`.
        where: Prefix of the error message.
    """
    check_single("x", x, where)
    check_finite("x", x, where)
    check_ids(y, where)
    check_finite("sample_weight", sample_weight, where)


def check_validation_data(data: Any) -> None:
    """Raises if validation data given as arrays cannot be evaluated.

    Args:
        data: `validation_data` of `fit`.
    """
    if isinstance(data, (tuple, list)):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(tuple(data))
        check_data(x, y, weight, where="`validation_data`: ")


def check_single(name: str, x: Any, where: str = "") -> None:
    """Raises if samples are a list, a tuple or a dict instead of an array."""
    if isinstance(x, (list, tuple)):
        raise ValueError(
            f"{where}`{name}` must be one array. For two views of each sample, "
            f"`{name} = np.stack([x1, x2], axis=1)`, of shape (batch, 2, ...). "
            f"Received: a {type(x).__name__} of {len(x)}"
        )
    if isinstance(x, dict):
        raise ValueError(
            f"{where}`{name}` must be one array, not several by name. Pass "
            "what the encoder takes, such as `batch['image']`. Received: a "
            f"dict with the keys {list(x)}"
        )


def check_finite(name: str, values: Any, where: str = "") -> None:
    """Raises if an array or a tensor contains NaN or infinity."""
    if ops.is_tensor(values):
        is_float = "float" in keras.backend.standardize_dtype(values.dtype)
        if not is_float or bool(ops.all(ops.isfinite(values))):
            return
        values = ops.convert_to_numpy(values)
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        return
    # In blocks of rows, since a mask of all values would take memory.
    rows = max(1, 2**24 // max(1, int(np.prod(values.shape[1:]))))
    for start in range(0, len(values), rows):
        is_finite = np.isfinite(values[start : start + rows])
        if not is_finite.all():
            bad = np.argmin(is_finite.reshape(len(is_finite), -1).all(axis=1))
            raise ValueError(
                f"{where}`{name}` must hold finite numbers. "
                f"Received: NaN or infinity in row {start + int(bad)}"
            )


def check_ids(y: Any, where: str = "") -> None:
    """Raises if targets are not sample ids."""
    if y is None:
        return
    ids = np.asarray(y) if isinstance(y, (list, tuple)) else y
    if ops.is_tensor(ids):
        ids = ops.convert_to_numpy(ids)
    if not isinstance(ids, np.ndarray):
        return
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"{where}`y` must hold sample ids, integers. Class labels are "
            "never needed: leave them out, `fit(x)`. "
            f"Received: dtype={ids.dtype}"
        )
    if ids.ndim > 2 or (ids.ndim == 2 and ids.shape[1] != 1):
        raise ValueError(
            f"{where}`y` must hold sample ids, of shape (samples,). Class "
            "labels are never needed: leave them out, `fit(x)`. "
            f"Received: shape={ids.shape}"
        )
    if ids.size and ids.min() < -1:
        raise ValueError(
            f"{where}`y` must hold sample ids >= 0, or -1 for "
            f"out-of-distribution samples. Received: {ids.min()}"
        )
    check_distinct(f"{where}y", ids.ravel())


def check_metrics(metrics: Any) -> None:
    """Raises if a metric compares with labels, which training does not have."""
    for metric in tree.flatten(metrics):
        is_builtin = type(metric).__module__.startswith("keras.")
        if isinstance(metric, str) or (
            is_builtin and isinstance(metric, keras.metrics.Metric)
        ):
            raise ValueError(
                "`metrics` must not compare with labels, since there are "
                "none. To watch the accuracy of the encoder, use "
                "`callbacks=[keras_ltssl.callbacks.KNNProbe(...)]`. "
                f"Received: metrics={metrics!r}"
            )


def check_batch_size(x: Any, batch_size: int | None, loss_name: str) -> None:
    """Raises if every batch has a single sample, which has no negatives.

    Args:
        x: Array, tensor or dataset.
        batch_size: Argument of `fit`, or `None`.
        loss_name: Name of the loss, for the message.
    """
    size: Any = getattr(x, "batch_size", None)
    if isinstance(x, np.ndarray) or ops.is_tensor(x):
        size = min(batch_size or 32, len(x))
    if size == 1:
        raise single_samples(loss_name)


def single_samples(loss_name: str) -> ValueError:
    """Returns the error for batches of a single sample.

    Args:
        loss_name: Name of the loss.
    """
    return ValueError(
        f"{loss_name} compares the samples of a batch with each other, so "
        "`batch_size` must be at least 2, and should be some hundred. "
        "Received: batches of 1 sample"
    )
