"""Linear classifiers that are trained side by side."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks
from keras_ltssl.evaluation.feature_batches import FeatureBatches, Standardizer

MOMENTUM = 0.9

# Scores computed at a time in validation and test: 64 MiB of float32.
SCORES = 2**24


class LinearClassifiers:
    """Linear classifiers of all pairs, side by side in one layer.

    Each has weights of its own, so the gradient of their summed losses is that
    of each. A learning rate is a factor of its loss: with momentum, a step is
    linear in the gradient.

    Args:
        learning_rates: Learning rates of the pairs.
        l2: Penalties of the pairs.
        num_classes: Number of classes.
    """

    def __init__(
        self,
        learning_rates: Sequence[float],
        l2: Sequence[float],
        num_classes: int,
    ):
        pairs = np.array(list(itertools.product(learning_rates, l2)))
        self.learning_rates, self.l2 = pairs.T
        self.num_classes = num_classes

    def fit(self, batches: FeatureBatches, epochs: int, verbose: int) -> None:
        """Trains all classifiers."""
        shape = len(self.l2), self.num_classes
        inputs = keras.Input(batches.features.shape[1:], dtype="float32")
        self.layer = keras.layers.Dense(
            math.prod(shape),
            kernel_initializer="zeros",  # The loss is convex.
            kernel_regularizer=_Penalties(self.learning_rates * self.l2),
            dtype="float32",
        )
        outputs = keras.layers.Reshape(shape, dtype="float32")(
            self.layer(inputs)
        )
        self._model = keras.Model(inputs, outputs)
        steps = epochs * len(batches)
        self._model.compile(
            optimizer=keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(1.0, steps),
                momentum=MOMENTUM,
                nesterov=True,
            ),
            loss=_CrossEntropies(self.learning_rates),
        )
        self._model.fit(batches, epochs=epochs, shuffle=False, verbose=verbose)

    def predict(
        self,
        features: NDArray[Any],
        rows: NDArray[np.int64],
        standardizer: Standardizer,
    ) -> NDArray[np.int64]:
        """Returns predicted classes of rows, of shape `(rows, pairs)`."""
        width = len(self.l2) * self.num_classes
        return np.concatenate(
            [
                self._model.predict_on_batch(
                    standardizer(features[rows[chosen]])
                ).argmax(axis=-1)
                for chosen in blocks(len(rows), width, SCORES)
            ]
        )

    def accuracy(
        self,
        features: NDArray[Any],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        standardizer: Standardizer,
    ) -> NDArray[np.float64]:
        """Returns mean accuracies over classes; NaN of a pair that diverged."""
        predictions = self.predict(features, rows, standardizer)
        wanted = labels[rows]
        counts = np.bincount(wanted, minlength=self.num_classes)
        right = np.stack(
            [
                np.bincount(wanted[found == wanted], minlength=len(counts))
                for found in predictions.T
            ]
        )
        present = counts > 0
        accuracy = (right[:, present] / counts[present]).mean(axis=1)
        kernel = ops.convert_to_numpy(self.layer.kernel)
        kernel = kernel.reshape(-1, len(self.l2), self.num_classes)
        return np.where(np.isfinite(kernel).all((0, 2)), accuracy, np.nan)


class _CrossEntropies(keras.losses.Loss):
    """Sum of the cross-entropies of classifiers, each times a factor."""

    def __init__(self, factors: NDArray[np.float64]):
        super().__init__(dtype="float32")
        self.factors = factors.astype("float32")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        shape = *ops.shape(y_pred)[:2], 1
        labels = ops.broadcast_to(ops.reshape(y_true, (-1, 1, 1)), shape)
        right = ops.take_along_axis(y_pred, ops.cast(labels, "int32"), axis=2)
        losses = ops.logsumexp(y_pred, axis=2) - ops.squeeze(right, axis=2)
        return ops.sum(ops.multiply(losses, self.factors), axis=1)


class _Penalties(keras.regularizers.Regularizer):
    """Sum of the squared weights of classifiers, each times half a factor."""

    def __init__(self, factors: NDArray[np.float64]):
        self.factors = factors.astype("float32")

    def __call__(self, kernel: Any) -> Any:
        weights = ops.reshape(kernel, (kernel.shape[0], len(self.factors), -1))
        squares = ops.sum(ops.square(weights), axis=(0, 2))
        return ops.sum(ops.multiply(squares, self.factors)) / 2
