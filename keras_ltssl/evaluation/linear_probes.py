"""Linear classifiers on frozen features, with all labels or with a few."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_ltssl.arrays import shuffled_by_class
from keras_ltssl.evaluation.labeled_features import (
    LabeledFeatures,
)
from keras_ltssl.evaluation.probe_result import ProbeResult
from keras_ltssl.validation import check_integer, check_number

# Far above the few dozen steps that standardized features take: a run that
# reached it would warn.
MAX_ITERATIONS = 10_000


def linear_probe(
    train_features: Any,
    train_labels: Any,
    test_features: Any,
    test_labels: Any,
    l2: float = 0.01,
) -> ProbeResult:
    """Returns the accuracy of a linear classifier on frozen features.

    Multinomial logistic regression by L-BFGS in float64, run to convergence,
    on features standardized to mean 0 and deviation 1 over the training rows:

        minimize over W, b   mean_i CE(W x_i + b, y_i) + l2 / 2 * ||W||^2

    The usual protocol trains it on a balanced labeled set and tests on the
    balanced test set; features come from the backbone, before the projector.
    5,000 rows of 512 features take seconds on two CPU cores.

    Args:
        train_features: Float array of shape `(samples, features)`.
        train_labels: Integer array of shape `(samples,)`; any integers.
        test_features: Float array of shape `(test_samples, features)`.
        test_labels: Integer array of shape `(test_samples,)`; each of them
            occurs in `train_labels`.
        l2: Strength of the penalty on the weights, relative to the mean
            cross-entropy, so that it means the same for any number of rows.
            Defaults to `0.01`.

    Returns:
        A `ProbeResult` of one draw; its classes are those of `train_labels`.

    Raises:
        ValueError: If shapes or lengths do not fit, a feature is NaN or
            infinite, labels are no integers or of a single class, a test label
            is never seen in training, or `l2` is not positive.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.evaluation import linear_probe
    >>> features = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> linear_probe(features, labels, features, labels).accuracy
    1.0
    """
    data = _check(train_features, train_labels, test_features, test_labels, l2)
    rows = np.arange(len(data.features))
    return data.result(_fit_and_predict(data, rows, l2))


def few_shot_probe(
    train_features: Any,
    train_labels: Any,
    test_features: Any,
    test_labels: Any,
    shots: int = 10,
    draws: int = 5,
    seed: int = 0,
    l2: float = 0.01,
) -> ProbeResult:
    """Returns the accuracy of a linear classifier trained on few labels.

    Draws `shots` labeled rows of each class without replacement, fits
    `linear_probe` on them alone, and repeats that `draws` times.

    Args:
        train_features: Float array of shape `(samples, features)`.
        train_labels: Integer array of shape `(samples,)`; any integers.
        test_features: Float array of shape `(test_samples, features)`.
        test_labels: Integer array of shape `(test_samples,)`; each of them
            occurs in `train_labels`.
        shots: Labeled rows of each class in a draw. Defaults to `10`.
        draws: Number of draws. Defaults to `5`.
        seed: Seed of the draws; more draws of the same seed begin with the
            same ones. Defaults to `0`.
        l2: As in `linear_probe`. Defaults to `0.01`.

    Returns:
        A `ProbeResult` of `draws` draws: class accuracies are means over them,
        group deviations are taken in each draw and then averaged.

    Raises:
        ValueError: As `linear_probe`, and if `shots` or `draws` is not a
            positive integer, or a class has fewer labeled rows than `shots`.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.evaluation import few_shot_probe
    >>> features = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> result = few_shot_probe(features, labels, features, labels, shots=1)
    >>> result.accuracy, result.draw_accuracy.shape
    (1.0, (5, 2))
    """
    data = _check(train_features, train_labels, test_features, test_labels, l2)
    check_integer("shots", shots, minimum=1)
    check_integer("draws", draws, minimum=1)
    counts = np.bincount(data.labels)
    if counts.min() < shots:
        rarest = data.classes[counts.argmin()]
        raise ValueError(
            f"Every class needs at least `shots` labeled rows. Received: "
            f"shots={shots}, and {counts.min()} rows of class {rarest}"
        )
    rng = np.random.default_rng(check_integer("seed", seed, minimum=0))
    predictions = []
    for _ in range(draws):
        rows, places = shuffled_by_class(data.labels, rng)
        drawn = np.sort(rows[places < shots])
        predictions.append(_fit_and_predict(data, drawn, l2))
    return data.result(*predictions)


def _check(
    train_features: Any,
    train_labels: Any,
    test_features: Any,
    test_labels: Any,
    l2: float,
) -> LabeledFeatures:
    data = LabeledFeatures.check(
        train_features, train_labels, test_features, test_labels, role="train"
    )
    data.check_several_classes("train_labels")
    check_number("l2", l2, above=0)
    return data


def _fit_and_predict(
    data: LabeledFeatures, rows: NDArray[np.int64], l2: float
) -> NDArray[np.int64]:
    # scikit-learn minimizes ||W||^2 / 2 + C * (sum of cross-entropies).
    classifier = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=1 / (l2 * len(rows)), max_iter=MAX_ITERATIONS),
    )
    classifier.fit(data.features[rows].astype("float64"), data.labels[rows])
    return np.asarray(classifier.predict(data.test_features.astype("float64")))
