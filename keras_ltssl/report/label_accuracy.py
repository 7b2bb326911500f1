"""Accuracy of each class by the nearest other image, with intervals."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks

# Images that are tested, at most, shared equally among the classes.
MAX_TESTED = 10_000
# For 95 %.
_DEVIATIONS = 1.96


@dataclasses.dataclass(frozen=True, eq=False)
class LabelAccuracy:
    """Holds what the nearest labeled image says of each tested image.

    Attributes:
        names: Label of each class, sorted.
        counts: Labeled images of each class, `(classes,)`.
        tested: Rows that were tested, `(tested,)`.
        nearest: The nearest other labeled row of each of them, `(tested,)`.
        confusion: Tested images by true class and class of the nearest, int64
            array of shape `(classes, classes)`.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    tested: NDArray[np.int64]
    nearest: NDArray[np.int64]
    confusion: NDArray[np.int64]

    @property
    def trials(self) -> NDArray[np.int64]:
        """Returns how many images of each class were tested."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Returns the accuracy of each class, NaN where none was tested."""
        trials = self.trials
        right = np.diagonal(self.confusion)
        return np.where(trials > 0, right / np.maximum(trials, 1), np.nan)


def nearest_label_accuracy(
    features: NDArray[np.float32], labels: Sequence[str], seed: int = 0
) -> LabelAccuracy:
    """Gives each labeled image the label of the most similar other one.

    A class of one image cannot be tested, since no other image is like it.

    Args:
        features: Rows of length 1, `(images, dim)`, without near-duplicates,
            which would find each other.
        labels: Label of each image, `""` where it is unknown.
        seed: Seed of the choice of tested images. Defaults to `0`.

    Returns:
        A `LabelAccuracy`, with rows of `features`.
    """
    rows = np.flatnonzero([label != "" for label in labels])
    names, classes, counts = np.unique(
        np.array(labels)[rows], return_inverse=True, return_counts=True
    )
    bank = features[rows]
    places = _tested(classes, counts, seed)
    nearest = np.empty(len(places), "int64")
    for some in blocks(len(places), len(bank), 2**22):
        own = places[some]
        cosines = bank[own] @ bank.T
        cosines[np.arange(len(own)), own] = -np.inf
        nearest[some] = cosines.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), "int64")
    np.add.at(confusion, (classes[places], classes[nearest]), 1)
    return LabelAccuracy(
        names=tuple(map(str, names)),
        counts=counts,
        tested=rows[places],
        nearest=rows[nearest],
        confusion=confusion,
    )


def _tested(
    classes: NDArray[np.int64], counts: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Returns places of the images to test, in their order."""
    share = max(50, MAX_TESTED // len(counts))
    random = np.random.default_rng(seed)
    chosen = [
        random.permutation(np.flatnonzero(classes == one))[:share]
        for one in np.flatnonzero(counts > 1)
    ]
    return np.sort(np.concatenate([np.empty(0, "int64"), *chosen]))


def interval(right: float, trials: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share.

    Args:
        right: Number of hits.
        trials: Number of trials, at least 1.

    Reference:
        - [Probable Inference, the Law of Succession, and Statistical
          Inference](https://doi.org/10.1080/01621459.1927.10502953), Wilson,
          1927
    """
    square = _DEVIATIONS**2
    middle = (right + square / 2) / (trials + square)
    share = right / trials
    half = (
        _DEVIATIONS
        / (1 + square / trials)
        * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(
    right: NDArray[np.int64], trials: NDArray[np.int64]
) -> tuple[float, float]:
    """Returns a 95 % interval of the mean accuracy of several classes.

    The variance of each class is that of Agresti and Coull's estimate, which
    is not 0 for a class whose few images were all right.
    """
    adjusted = trials + 4
    shares = (right + 2) / adjusted
    mean = float((right / trials).mean())
    half = (
        _DEVIATIONS
        * float(np.sqrt((shares * (1 - shares) / adjusted).sum()))
        / len(trials)
    )
    return max(0.0, mean - half), min(1.0, mean + half)
