"""A long-tailed training set with balanced probe and test sets."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.long_tail import (
    IntArray,
    first_per_class,
    long_tail_indices,
)
from keras_ltssl.validation import (
    as_array,
    check_integer,
    check_names,
)

ImageArray = npt.NDArray[np.uint8]
LabelArray = npt.NDArray[np.integer[Any]]

PARTS = ("train", "probe", "test")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LongTailSplit:
    """Training, probe and test images of one experiment.

    Each set has `uint8` images of shape `(n, height, width, channels)`, of the
    same size in all sets, and integer labels of shape `(n,)`, from 0 to
    `len(class_names) - 1`. The arrays are not copied.

    Args:
        x_train: Long-tailed images to pretrain on.
        y_train: Labels of `x_train`. Pretraining does not use them; reports
            need them to tell which classes are rare.
        x_probe: Balanced images to train probes on.
        y_probe: Labels of `x_probe`.
        x_test: Balanced images to test probes on.
        y_test: Labels of `x_test`.
        class_names: Tuple of strings, one for each class.

    Raises:
        ValueError: If an array has another shape, dtype or length, or a label
            is out of range.

    Example:

    >>> import numpy as np
    >>> x, y = np.zeros((4, 8, 8, 1), "uint8"), np.array([0, 0, 0, 1])
    >>> split = LongTailSplit(x, y, x, y, x, y, class_names=("cat", "dog"))
    >>> split.class_counts.tolist()
    [3, 1]
    """

    x_train: ImageArray
    y_train: LabelArray
    x_probe: ImageArray
    y_probe: LabelArray
    x_test: ImageArray
    y_test: LabelArray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        names = self.class_names
        if (
            not isinstance(names, tuple)
            or not names
            or not all(isinstance(name, str) for name in names)
        ):
            raise ValueError(
                "`class_names` must be a tuple of strings, not empty. "
                f"Received: {names!r}"
            )
        for part in PARTS:
            _check_images(f"x_{part}", getattr(self, f"x_{part}"))
            _check_labels(
                f"y_{part}",
                getattr(self, f"y_{part}"),
                num_images=len(getattr(self, f"x_{part}")),
                num_classes=len(names),
            )
        for part in ("probe", "test"):
            images = getattr(self, f"x_{part}")
            if images.shape[1:] != self.x_train.shape[1:]:
                raise ValueError(
                    f"`x_{part}` must hold images of the same size as "
                    f"`x_train`. Received: x_{part}.shape={images.shape}, "
                    f"x_train.shape={self.x_train.shape}"
                )

    @property
    def class_counts(self) -> IntArray:
        """Number of training images of each class, `(num_classes,)`."""
        labels = self.y_train.astype("int64")
        return np.bincount(labels, minlength=len(self.class_names))

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{part}={len(getattr(self, f'x_{part}'))}" for part in PARTS
        )
        return (
            f"LongTailSplit({sizes}, image_shape={self.x_train.shape[1:]}, "
            f"class_counts={self.class_counts.tolist()})"
        )


def make_long_tail_split(
    x: ImageArray,
    y: npt.ArrayLike,
    imbalance: float,
    *,
    max_count: int | None = None,
    profile: str = "exponential",
    num_probe: int,
    num_test: int,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> LongTailSplit:
    """Splits a labeled set into long-tailed training, probe and test sets.

    The balanced probe and test sets are held out first, so no image is in two
    sets. `long_tail_indices` thins the other images.

    Args:
        x: `uint8` images of shape `(n, height, width, channels)`.
        y: Integer labels of shape `(n,)`. Class `c` of the split is the `c`-th
            smallest label.
        imbalance: Float, at least 1, the ratio of the most frequent to the
            rarest class of the training set.
        max_count: Integer, number of training images in the most frequent
            class. Defaults to `None`, the largest number that the images
            not held out allow.
        profile: `"exponential"`, `"step"` or `"pareto"`; see
            `long_tail_counts`. Defaults to `"exponential"`.
        num_probe: Integer, probe images *per class*.
        num_test: Integer, test images *per class*.
        seed: Integer, at least 0, for all random choices. Defaults to `0`.
        class_names: Strings, one for each class in ascending order of its
            label. Defaults to `None`, the labels themselves.

    Returns:
        A `LongTailSplit`.

    Raises:
        ValueError: If an argument is out of range, or if a class has too few
            images (the message says which).

    Example:

    >>> from keras_ltssl.datasets import load_digits
    >>> x, y = load_digits()
    >>> split = make_long_tail_split(
    ...     x, y, imbalance=10, max_count=100, num_probe=20, num_test=40
    ... )
    >>> sorted(split.class_counts.tolist())
    [10, 12, 16, 21, 27, 35, 46, 59, 77, 100]
    >>> len(split.x_probe), len(split.x_test)
    (200, 400)
    """
    _check_images("x", x)
    labels = as_array("y", y)
    if labels.shape != (len(x),) or labels.dtype.kind not in "iu":
        raise ValueError(
            "`y` must hold one integer label per image, "
            f"shape=({len(x)},). Received: shape={labels.shape}, "
            f"dtype={labels.dtype}"
        )
    check_integer("num_probe", num_probe, minimum=1)
    check_integer("num_test", num_test, minimum=1)
    check_integer("seed", seed, minimum=0)
    classes, positions, available = np.unique(
        labels, return_inverse=True, return_counts=True
    )
    if class_names is None:
        class_names = [str(label) for label in classes]
    else:
        class_names = check_names("class_names", class_names, len(classes))
    held_out = num_probe + num_test
    if available.min() <= held_out:
        scarce = int(np.argmin(available))
        raise ValueError(
            "`num_probe + num_test` must leave every class an image to train "
            f"on. Class {classes[scarce]} has {available[scarce]}. "
            f"Received: {num_probe=}, {num_test=}"
        )
    rows = first_per_class(
        positions,
        np.full(len(classes), held_out),
        # `long_tail_indices` draws from another stream.
        np.random.default_rng([seed, 1]),
    ).reshape(len(classes), held_out)
    probe = np.sort(rows[:, :num_probe], axis=None)
    test = np.sort(rows[:, num_probe:], axis=None)
    rest = np.setdiff1d(np.arange(len(x)), rows)
    train = rest[
        long_tail_indices(labels[rest], imbalance, max_count, profile, seed)
    ]
    return LongTailSplit(
        x_train=x[train],
        y_train=positions[train],
        x_probe=x[probe],
        y_probe=positions[probe],
        x_test=x[test],
        y_test=positions[test],
        class_names=tuple(class_names),
    )


def _check_images(name: str, images: object) -> None:
    if not isinstance(images, np.ndarray):
        raise ValueError(
            f"`{name}` must be a NumPy array. Received: {type(images).__name__}"
        )
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
        raise ValueError(
            f"`{name}` must hold uint8 images of shape (n, height, width, "
            f"channels), not empty. Received: shape={images.shape}, "
            f"dtype={images.dtype}"
        )


def _check_labels(
    name: str, labels: object, num_images: int, num_classes: int
) -> None:
    if not isinstance(labels, np.ndarray):
        raise ValueError(
            f"`{name}` must be a NumPy array. Received: {type(labels).__name__}"
        )
    if labels.shape != (num_images,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must hold one integer label per image, "
            f"shape=({num_images},). Received: shape={labels.shape}, "
            f"dtype={labels.dtype}"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= num_classes:
        raise ValueError(
            f"`{name}` must lie in 0 ... {num_classes - 1}, one for each of "
            f"the {num_classes} class names. Received labels from {lowest} to "
            f"{highest}"
        )
