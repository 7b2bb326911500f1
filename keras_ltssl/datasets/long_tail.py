"""Chooses images of a balanced set so that its classes get a long tail.

Everything here is NumPy on the host and runs once, before training.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.arrays import shuffled_by_class
from keras_ltssl.validation import (
    as_array,
    check_choice,
    check_integer,
    check_number,
)

IntArray = npt.NDArray[np.int64]

PROFILES = ("exponential", "step", "pareto")

# Larger than the error of a power of floats, smaller than any real fraction.
_ROUND_OFF = 1e-12


def long_tail_counts(
    max_count: int,
    num_classes: int,
    imbalance: float,
    profile: str = "exponential",
) -> IntArray:
    """Returns how many images each class keeps, most frequent class first.

    With `C = num_classes` and `c = 0 ... C - 1`:

    ```
    exponential  n_c = floor(max_count * (1 / imbalance)^(c / (C - 1)))
    step         n_c = max_count                      for c < ceil(C / 2)
                 n_c = floor(max_count / imbalance)   for the other classes
    pareto       n_c = floor(max_count * (c + 1)^(-a)),
                 a = log(imbalance) / log(C)
    ```

    All three start at `max_count` and end at `max_count / imbalance`. The
    Pareto profile is a power law in the rank of the class, which falls steeply
    at the head and is flat along the tail. Round-off of the powers is corrected
    before `floor`: 500 images at an imbalance of 100 leave 5 in the last class,
    not 4.

    Published long-tailed CIFAR sets use the exponential profile with one of
    two values of `max_count`. Results on them are not comparable.

    - 5,000 for CIFAR-10 and 500 for CIFAR-100, which give 12,406 and 10,847
      images at imbalance 100.
    - 4,500 and 450, which give 11,165 and 9,754 images. The other images are
      held out for validation.

    Args:
        max_count: Integer, number of images in the most frequent class. At
            least `imbalance`, so that the rarest class keeps an image.
        num_classes: Integer, number of classes. A single class keeps
            `max_count` images.
        imbalance: Float, at least 1, the ratio of the most frequent to the
            rarest class.
        profile: `"exponential"`, `"step"` or `"pareto"`. Defaults to
            `"exponential"`.

    Returns:
        Non-increasing array of shape `(num_classes,)` and dtype `int64`.

    Raises:
        ValueError: If an argument is out of range, or if the rarest class
            would be left without an image.

    Example:

    >>> long_tail_counts(5000, 10, imbalance=100).tolist()
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    >>> long_tail_counts(100, 5, imbalance=10, profile="step").tolist()
    [100, 100, 100, 10, 10]
    >>> long_tail_counts(100, 5, imbalance=10, profile="pareto").tolist()
    [100, 37, 20, 13, 10]

    Reference:
        - [Class-Balanced Loss Based on Effective Number of
          Samples](https://arxiv.org/abs/1901.05555), Cui et al., CVPR 2019, for
          the exponential profile
        - [Learning Imbalanced Datasets with Label-Distribution-Aware Margin
          Loss](https://arxiv.org/abs/1906.07413), Cao et al., NeurIPS 2019, for
          the step profile
        - The form of the Pareto profile is this package's own design.
    """
    check_integer("max_count", max_count, minimum=1)
    check_integer("num_classes", num_classes, minimum=1)
    _check_imbalance(imbalance)
    check_choice("profile", profile, PROFILES)
    rank = np.arange(num_classes)
    if num_classes == 1:
        share = np.ones(1)
    elif profile == "exponential":
        share = float(imbalance) ** (-rank / (num_classes - 1))
    elif profile == "step":
        share = np.where(rank < (num_classes + 1) // 2, 1.0, 1.0 / imbalance)
    else:
        share = (rank + 1.0) ** (-np.log(imbalance) / np.log(num_classes))
    # A power that should be an integer may be one unit in the last place less.
    counts: IntArray = np.floor(max_count * share * (1 + _ROUND_OFF)).astype(
        "int64"
    )
    if counts[-1] < 1:
        raise ValueError(
            "`max_count` must be >= `imbalance`, so that the rarest class "
            f"keeps an image. Received: {max_count=}, {imbalance=}"
        )
    return counts


def long_tail_indices(
    labels: npt.ArrayLike,
    imbalance: float,
    max_count: int | None = None,
    profile: str = "exponential",
    seed: int = 0,
) -> IntArray:
    """Chooses rows of a set so that it becomes long-tailed.

    `seed` decides at random which class becomes the most frequent one, the
    second, and so on. In the order of the labels, CIFAR-10's class 0 would
    always be the head, and a method that helps class 9 would seem to help the
    tail. Repeat an experiment over several seeds.

    For the same `seed`, `max_count` and `profile`, the rows at a larger
    imbalance are a subset of those at a smaller one.

    Args:
        labels: Integer array of shape `(num_images,)`. The integers need not
            be contiguous.
        imbalance: Float, at least 1, the ratio of the most frequent to the
            rarest class.
        max_count: Integer, number of images in the most frequent class.
            Defaults to `None`, the largest number for which every class has
            enough images. For a balanced set, that is the size of a class. For
            other sets it depends on `seed`; give a number to compare seeds.
        profile: `"exponential"`, `"step"` or `"pareto"`; see
            `long_tail_counts`. Defaults to `"exponential"`.
        seed: Integer, at least 0, for the order of the classes and the images
            kept of each. Defaults to `0`.

    Returns:
        Rows to keep, of dtype `int64`, in ascending order.

    Raises:
        ValueError: If an argument is out of range, or if a class has too few
            images (the message says which).

    Example:

    >>> import numpy as np
    >>> labels = np.repeat([10, 20, 30], 100)
    >>> rows = long_tail_indices(labels, imbalance=4, seed=1)
    >>> rows.shape
    (175,)
    >>> sorted(np.bincount(labels[rows])[[10, 20, 30]].tolist())
    [25, 50, 100]
    """
    labels = as_array("labels", labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(
            "`labels` must be a one-dimensional array of integers, not empty. "
            f"Received: shape={labels.shape}, dtype={labels.dtype}"
        )
    check_integer("seed", seed, minimum=0)
    classes, positions, available = np.unique(
        labels, return_inverse=True, return_counts=True
    )
    generator = np.random.default_rng(seed)
    # by_rank[0] is the class that becomes the most frequent one.
    by_rank = generator.permutation(len(classes))
    if max_count is None:
        counts = _largest_counts(available[by_rank], imbalance, profile)
    else:
        counts = long_tail_counts(max_count, len(classes), imbalance, profile)
    kept = np.empty_like(counts)
    kept[by_rank] = counts
    lacking = kept - available
    if np.any(lacking > 0):
        worst = int(np.argmax(lacking))
        raise ValueError(
            f"Class {classes[worst]} has too few images in `labels`: it has "
            f"{available[worst]} and would keep {kept[worst]}. "
            f"Received: {imbalance=}, {max_count=}, {profile=}, {seed=}"
        )
    return np.sort(first_per_class(positions, kept, generator))


def first_per_class(
    positions: npt.NDArray[np.integer[Any]],
    counts: npt.NDArray[np.integer[Any]],
    generator: np.random.Generator,
) -> IntArray:
    """Draws `counts[c]` random rows of each class `c`, class after class.

    Args:
        positions: Class of each row, contiguous from 0, of shape `(n,)`.
        counts: Number of rows to draw of each class, of shape
            `(num_classes,)`; a class that has fewer gives all it has.
        generator: Source of the random order.

    Returns:
        Drawn rows, of dtype `int64`.
    """
    rows, places = shuffled_by_class(positions, generator)
    drawn: IntArray = rows[places < counts[positions[rows]]]
    return drawn


def _largest_counts(
    available: npt.NDArray[np.integer[Any]], imbalance: float, profile: str
) -> IntArray:
    """Returns the largest counts, by rank, that `available` allows.

    If it allows none, the counts are the smallest that keep an image in every
    class.
    """
    _check_imbalance(imbalance)
    num_classes = len(available)
    low, high = math.ceil(imbalance * (1 - _ROUND_OFF)), int(available[0])
    counts = long_tail_counts(low, num_classes, imbalance, profile)
    # Counts are monotonic in `max_count`, so bisection finds the largest.
    while low < high:
        middle = (low + high + 1) // 2
        more = long_tail_counts(middle, num_classes, imbalance, profile)
        if np.all(more <= available):
            low, counts = middle, more
        else:
            high = middle - 1
    return counts


def _check_imbalance(imbalance: float) -> None:
    if isinstance(imbalance, float | np.floating) and 0 < imbalance < 1:
        raise ValueError(
            "`imbalance` must be a finite number >= 1. "
            f"Received: {imbalance=} (did you mean {1 / imbalance:g}?)"
        )
    check_number("imbalance", imbalance, minimum=1)
