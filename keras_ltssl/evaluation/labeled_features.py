"""Checks and scoring that the probes share."""

import dataclasses
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks
from keras_ltssl.evaluation.probe_result import ProbeResult
from keras_ltssl.validation import as_array


def as_features(features: Any, name: str) -> NDArray[Any]:
    """Returns a finite float array `(samples, dim)`; raises otherwise.

    In float64 if it came so, else in float32.
    """
    return as_float_rows(check_features(features, name))


def check_features(features: Any, name: str) -> NDArray[Any]:
    """Returns an array `(samples, dim)` as it is; raises if it is not finite.

    A `numpy.memmap` is read in blocks and stays in its file.
    """
    array = as_array(name, features)
    if array.ndim != 2 or 0 in array.shape:
        hint = " (pool feature maps before probing)" if array.ndim > 2 else ""
        raise ValueError(
            f"`{name}` must have shape (samples, features), neither of them 0. "
            f"Received: shape={array.shape}{hint}"
        )
    if array.dtype.kind in "bOSUcmM":
        raise ValueError(
            f"`{name}` must be real numbers. Received: dtype={array.dtype}"
        )
    finite = np.concatenate(
        [
            np.isfinite(as_float_rows(array[rows])).all(axis=1)
            for rows in blocks(*array.shape)
        ]
    )
    wrong = np.flatnonzero(~finite)
    if len(wrong):
        raise ValueError(
            f"`{name}` must be finite. Received: NaN or infinity in "
            f"{len(wrong)} of {len(array)} rows, the first is row {wrong[0]}"
        )
    return array


def as_float_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Returns rows in float64 if they are so already, else in float32."""
    if rows.dtype == np.float64:
        return rows
    with np.errstate(over="ignore"):
        return rows.astype("float32", copy=False)


def as_labels(labels: Any, name: str, length: int, of: str) -> NDArray[Any]:
    """Returns integer labels `(length,)`; raises otherwise."""
    array = as_array(name, labels)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must be integers. Received: dtype={array.dtype}"
        )
    if array.ndim != 1:
        hint = (
            f" (did you mean {name}[:, 0]?)" if array.shape[1:] == (1,) else ""
        )
        raise ValueError(
            f"`{name}` must have shape (samples,). Received: "
            f"shape={array.shape}{hint}"
        )
    if len(array) != length:
        raise ValueError(
            f"`{name}` must hold one label for each row of `{of}`. Received: "
            f"{len(array)} labels for {length} rows"
        )
    return array


def check_seen(
    test_labels: NDArray[Any], labels: NDArray[Any], name: str, of: str
) -> None:
    """Raises if a test label does not occur in training."""
    unseen = np.setdiff1d(test_labels, labels)
    if len(unseen):
        shown = ", ".join(map(str, unseen[:5]))
        more = ", ..." if len(unseen) > 5 else ""
        raise ValueError(
            f"`{name}` must be labels that occur in `{of}`. Received "
            f"{len(unseen)} others: {shown}{more}"
        )


def check_encoder(encoder: Any, name: str) -> None:
    """Raises unless `encoder` may be a model that gives one row per sample."""
    if not isinstance(encoder, keras.Model):
        raise ValueError(
            f"{name} must be a keras.Model with (batch, features) output. "
            f"Received: {type(encoder).__name__}"
        )
    # Only functional models know their output before they are called.
    shape = getattr(encoder, "output_shape", None)
    if shape is not None and len(shape) != 2:
        raise ValueError(
            f"{name} must have (batch, features) output: pool its feature map. "
            f"Received: output shape {shape}"
        )


@dataclasses.dataclass(frozen=True)
class LabeledFeatures:
    """Checked inputs of one probe; labels are positions in `classes`.

    Features keep the dtype in which they came, and a `numpy.memmap` stays one:
    `as_float_rows` makes numbers of them, some rows at a time.
    """

    classes: NDArray[Any]
    features: NDArray[Any]
    labels: NDArray[np.int64]
    test_features: NDArray[Any]
    test_labels: NDArray[np.int64]

    @classmethod
    def check(
        cls,
        features: Any,
        labels: Any,
        test_features: Any,
        test_labels: Any,
        role: str,
    ) -> "LabeledFeatures":
        """Checks arrays named `{role}_features`, `{role}_labels`, `test_*`."""
        names = f"{role}_features", f"{role}_labels"
        known = check_features(features, names[0])
        test = check_features(test_features, "test_features")
        if known.shape[1] != test.shape[1]:
            raise ValueError(
                f"`{names[0]}` and `test_features` must have the same number "
                f"of features. Received: {known.shape[1]} and {test.shape[1]}"
            )
        known_labels = as_labels(labels, names[1], len(known), names[0])
        wanted = as_labels(
            test_labels, "test_labels", len(test), "test_features"
        )
        check_seen(wanted, known_labels, "test_labels", names[1])
        classes, positions = np.unique(known_labels, return_inverse=True)
        return cls(
            classes=classes,
            features=known,
            labels=positions,
            test_features=test,
            test_labels=np.searchsorted(classes, wanted),
        )

    def check_several_classes(self, name: str) -> None:
        """Raises if the labels named `name` are all of one class."""
        if len(self.classes) < 2:
            raise ValueError(
                f"`{name}` must hold at least 2 classes. Received only class "
                f"{self.classes[0]}"
            )

    def class_accuracy(
        self, predictions: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Share of right predictions of each class; NaN without test rows."""
        size = len(self.classes)
        total = np.bincount(self.test_labels, minlength=size)
        right = np.bincount(
            self.test_labels[predictions == self.test_labels], minlength=size
        )
        return np.where(total > 0, right / np.maximum(total, 1), np.nan)

    def result(self, *predictions: NDArray[np.int64]) -> ProbeResult:
        """The result of one array of predicted positions for each draw."""
        return ProbeResult(
            self.classes, np.stack([*map(self.class_accuracy, predictions)])
        )
