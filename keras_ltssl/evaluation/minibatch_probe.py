"""A linear classifier that is trained in mini-batches, for large sets."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import shuffled_by_class
from keras_ltssl.evaluation.feature_batches import FeatureBatches, Standardizer
from keras_ltssl.evaluation.labeled_features import (
    LabeledFeatures,
    as_labels,
    check_features,
    check_seen,
)
from keras_ltssl.evaluation.linear_classifiers import LinearClassifiers
from keras_ltssl.evaluation.probe_result import ProbeResult
from keras_ltssl.validation import (
    check_choice,
    check_integer,
    check_number,
    check_sequence,
)

# Of each class, what is held out to choose the setting by.
HELD_OUT = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProbeSweep:
    """Holds what a sweep over learning rates and penalties found.

    Attributes:
        result: The `ProbeResult` on the test rows, of the best setting.
        learning_rate: The learning rate of the best setting.
        l2: The penalty of the best setting.
        validation_accuracy: Float array of shape `(learning_rates, l2s)`: the
            mean accuracy over classes on the validation rows. NaN for a setting
            that diverged.
    """

    result: ProbeResult
    learning_rate: float
    l2: float
    validation_accuracy: NDArray[np.float64]


def minibatch_linear_probe(
    train_features: Any,
    train_labels: Any,
    test_features: Any,
    test_labels: Any,
    *,
    validation: tuple[Any, Any] | None = None,
    learning_rates: Sequence[float] = (0.003, 0.03, 0.3),
    l2: Sequence[float] = (1e-5, 1e-4, 1e-3),
    epochs: int = 10,
    batch_size: int = 256,
    seed: int = 0,
    verbose: int = 0,
) -> LinearProbeSweep:
    """Returns the accuracy of a linear classifier trained in mini-batches.

    The classifier of `linear_probe`, for sets that do not fit into memory. On
    standardized features, stochastic gradient descent with Nesterov momentum
    of 0.9 and a cosine decay of the learning rate to 0 minimizes

        mean_i CE(W x_i + b, y_i) + l2 / 2 * ||W||^2

    All pairs of a learning rate and a penalty are trained together, on the
    same batches, each with weights of its own. So the features are read once
    for all of them. The pair with the best mean accuracy over classes on the
    validation rows is the one whose test accuracy counts.

    Features may be a `numpy.memmap`, such as `evaluation.embed` makes. 256
    rows in a row are read at a time, so they may be sorted by class. Memory
    grows with none of the numbers of rows but with that of labels, and with
    `batch_size * pairs * classes` and `features * pairs * classes`.

    Args:
        train_features: Real array of shape `(samples, features)`.
        train_labels: Integer array of shape `(samples,)`; any integers, at
            least 2 classes.
        test_features: Real array of shape `(test_samples, features)`.
        test_labels: Integer array of shape `(test_samples,)`; each of them
            occurs in `train_labels`.
        validation: Tuple of features and labels to choose the pair by.
            Defaults to `None`: a tenth of the training rows of each class,
            which are then not trained on.
        learning_rates: Learning rates to try, above 0. Defaults to
            `(0.003, 0.03, 0.3)`.
        l2: Penalties to try, 0 or more, relative to the mean cross-entropy.
            Defaults to `(1e-5, 1e-4, 1e-3)`.
        epochs: Passes through the training rows. Defaults to `10`.
        batch_size: Rows of a step, all of them if there are fewer. Defaults to
            `256`.
        seed: Seed of the order of rows and of the rows held out. Defaults to
            `0`.
        verbose: As in `keras.Model.fit`: 0, 1 or 2. Defaults to `0`.

    Returns:
        A `LinearProbeSweep`.

    Raises:
        ValueError: If shapes or lengths do not fit, a feature is NaN or
            infinite, labels are no integers or of a single class, a test or
            validation label is never seen in training, an argument is not as
            described, or every pair diverged.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.evaluation import minibatch_linear_probe
    >>> labels = np.arange(200) % 2
    >>> features = np.eye(2)[labels] + np.linspace(0, 0.1, 200)[:, None]
    >>> sweep = minibatch_linear_probe(
    ...     features, labels, features, labels, learning_rates=[0.1], l2=[0.0]
    ... )
    >>> sweep.result.accuracy
    1.0
    """
    data = LabeledFeatures.check(
        train_features, train_labels, test_features, test_labels, role="train"
    )
    data.check_several_classes("train_labels")
    classifiers = LinearClassifiers(
        _check_all("learning_rates", learning_rates, above=0),
        _check_all("l2", l2, minimum=0),
        len(data.classes),
    )
    check_integer("epochs", epochs, minimum=1)
    check_integer("batch_size", batch_size, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_choice("verbose", verbose, (0, 1, 2))
    if validation is None:
        rows, held_out = _hold_out(data.labels, seed)
        judged = data.features, data.labels, held_out
    else:
        rows = np.arange(len(data.labels))
        judged = _check_validation(data, validation)
    standardizer = Standardizer.of(data.features, rows)
    classifiers.fit(
        FeatureBatches(
            data.features, data.labels, rows, standardizer, batch_size, seed
        ),
        epochs,
        verbose,
    )
    accuracy = classifiers.accuracy(*judged, standardizer)
    if np.isnan(accuracy).all():
        raise ValueError(
            "`learning_rates` must hold one that does not diverge. Received: "
            f"learning_rates={tuple(learning_rates)}"
        )
    best = int(np.nanargmax(accuracy))
    tested = np.arange(len(data.test_labels))
    predictions = classifiers.predict(data.test_features, tested, standardizer)
    return LinearProbeSweep(
        result=data.result(predictions[:, best]),
        learning_rate=float(classifiers.learning_rates[best]),
        l2=float(classifiers.l2[best]),
        validation_accuracy=accuracy.reshape(len(learning_rates), len(l2)),
    )


def _check_all(name: str, values: Any, **limits: float) -> list[float]:
    check_sequence(name, values)
    if not len(values):
        raise ValueError(
            f"`{name}` must not be empty. Received: {name}={values}"
        )
    try:
        return [check_number(name, value, **limits) for value in values]
    except ValueError as error:
        raise ValueError(f"Each of {error}") from None


def _hold_out(
    labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns rows to train on, and a tenth of each class to validate on."""
    rows, places = shuffled_by_class(labels, np.random.default_rng(seed))
    counts = np.bincount(labels)[labels[rows]]
    # One at least, if another one is left.
    is_held_out = places < np.minimum(np.ceil(HELD_OUT * counts), counts - 1)
    if not is_held_out.any():
        raise ValueError(
            "`validation` must be given if no class has two training rows. "
            "Received: validation=None"
        )
    return np.sort(rows[~is_held_out]), np.sort(rows[is_held_out])


def _check_validation(
    data: LabeledFeatures, validation: Any
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ValueError(
            "`validation` must be a tuple of features and labels, or None. "
            f"Received: {type(validation).__name__}"
        )
    features = check_features(validation[0], "validation[0]")
    if features.shape[1] != data.features.shape[1]:
        raise ValueError(
            "`validation[0]` must have as many features as `train_features`. "
            f"Received: {features.shape[1]} and {data.features.shape[1]}"
        )
    labels = as_labels(
        validation[1], "validation[1]", len(features), "validation[0]"
    )
    check_seen(labels, data.classes, "validation", "train_labels")
    return (
        features,
        np.searchsorted(data.classes, labels),
        np.arange(len(labels)),
    )
