"""The labeled image sets of `keras.datasets`, all in one form."""

import pickle
import tarfile
import zlib
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_ltssl.validation import check_choice

LabeledImages = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

_NAMES = ("cifar10", "cifar100", "fashion_mnist")


def load_keras_dataset(name: str) -> tuple[LabeledImages, LabeledImages]:
    """Loads CIFAR-10, CIFAR-100 or Fashion-MNIST through `keras.datasets`.

    Keras downloads the set on first use and keeps it in its cache folder,
    `~/.keras/datasets`.

    Args:
        name: `"cifar10"`, `"cifar100"` (its 100 fine labels) or
            `"fashion_mnist"`.

    Returns:
        Tuple `(x_train, y_train), (x_test, y_test)`: `uint8` images of shape
        `(n, height, width, channels)`, whatever
        `keras.config.image_data_format()` says, and labels of shape `(n,)` and
        dtype `int64`. The sets are balanced; `long_tail_indices` thins them.

    Raises:
        ValueError: If `name` is unknown, or if the cached files are damaged.

    Example:

    >>> (x_train, y_train), _ = load_keras_dataset("cifar10")  # doctest: +SKIP
    >>> rows = long_tail_indices(y_train, imbalance=100)  # doctest: +SKIP
    >>> x_train[rows].shape  # doctest: +SKIP
    (12406, 32, 32, 3)
    """
    check_choice("name", name, _NAMES)
    try:
        train, test = getattr(keras.datasets, name).load_data()
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        TypeError,
        pickle.UnpicklingError,
        tarfile.TarError,
        zlib.error,
    ) as error:
        raise ValueError(
            f"Cannot read the data set {name!r}: the copy that Keras has "
            "cached seems damaged. Delete it from ~/.keras/datasets (or from "
            "`datasets` in the folder that KERAS_HOME names) and load again. "
            f"{type(error).__name__}: {error}"
        ) from error
    return _in_one_form(*train), _in_one_form(*test)


def _in_one_form(images: Any, labels: Any) -> LabeledImages:
    if images.ndim == 3:
        images = images[..., np.newaxis]
    elif keras.config.image_data_format() == "channels_first":
        images = np.moveaxis(images, 1, -1)
    return (
        np.ascontiguousarray(images, dtype=np.uint8),
        labels.reshape(-1).astype("int64"),
    )
