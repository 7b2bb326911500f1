"""k-NN accuracy of the encoder during training."""

from typing import Any

import keras
import numpy as np

from keras_ltssl.callbacks.encoder_probe import EncoderProbe
from keras_ltssl.evaluation import group_accuracy, knn_probe
from keras_ltssl.evaluation.groups import Grouping
from keras_ltssl.evaluation.labeled_features import (
    as_labels,
    check_seen,
)
from keras_ltssl.validation import check_instance, check_integer, check_samples


class KNNProbe(EncoderProbe):
    """Logs k-NN accuracy of many-, medium- and few-image classes.

    The callback embeds the bank (the long-tailed training images) and the test
    images with `model.encoder`, then runs `keras_ltssl.evaluation.knn_probe`.
    It does so after the first epoch of a `fit`, after every `interval`-th
    epoch, and after the last one.

    It logs `knn_accuracy` (mean over classes), `knn_many`, `knn_medium` and
    `knn_few`. Epochs without a measurement log the latest values again, and a
    group without classes is never logged. Every epoch therefore has the same
    keys, and no value is NaN. The probe changes neither the weights nor the
    random numbers of the training.

    `History` and the progress bar show the values. List `CSVLogger`,
    `TensorBoard` and `EarlyStopping` *after* this callback, since a callback
    only sees what earlier ones have logged.

    Args:
        bank: Images that vote, `(bank_samples, ...)`, as the encoder takes
            them, without augmentation.
        bank_labels: Integer array of shape `(bank_samples,)`.
        test: Images to classify, `(test_samples, ...)`.
        test_labels: Integer array of shape `(test_samples,)`. Each label must
            occur in `bank_labels`.
        k: Number of neighbors that vote. Defaults to `10`.
        interval: Epochs from one measurement to the next, integer >= 1.
            Defaults to `1`.
        batch_size: Images embedded at once. Defaults to `256`.
        groups: `"thirds"` or `"thresholds"`, see
            `keras_ltssl.evaluation.group_accuracy`. The class counts are those
            of `bank_labels`. Defaults to `"thirds"`.
        prefix: Prefix of the keys in the logs. Defaults to `"knn_"`.
        encoder: The `keras.Model` to probe instead of `model.encoder`. It must
            be a part of the model that trains. Defaults to `None`.

    Raises:
        ValueError: If images and labels differ in number, labels are not
            integers, a test label is not in the bank, or `k` exceeds the bank.
            When training begins, if there is no encoder or its output is not
            `(batch, features)`. At the end of an epoch, if features are NaN.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_ltssl.callbacks import KNNProbe
    >>> labels = np.arange(12) % 3
    >>> images = np.eye(3, dtype="float32")[labels]
    >>> inputs = keras.Input((3,))
    >>> encoder = keras.Model(inputs, keras.layers.Identity()(inputs))
    >>> model = keras.Sequential([encoder, keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> probe = KNNProbe(images, labels, images, labels, k=3, encoder=encoder)
    >>> history = model.fit(images, labels, verbose=0, callbacks=[probe])
    >>> history.history["knn_accuracy"], history.history["knn_few"]
    ([1.0], [1.0])
    """

    def __init__(
        self,
        bank: Any,
        bank_labels: Any,
        test: Any,
        test_labels: Any,
        k: int = 10,
        interval: int = 1,
        batch_size: int = 256,
        groups: Grouping = "thirds",
        prefix: str = "knn_",
        encoder: keras.Model | None = None,
    ) -> None:
        super().__init__(interval, batch_size, encoder)
        check_samples("bank", bank)
        check_samples("test", test)
        check_integer("k", k, minimum=1)
        check_instance("prefix", prefix, str, "a string")
        self.bank = bank
        self.test = test
        self.bank_labels = as_labels(
            bank_labels, "bank_labels", len(bank), "bank"
        )
        self.test_labels = as_labels(
            test_labels, "test_labels", len(test), "test"
        )
        check_seen(
            self.test_labels, self.bank_labels, "test_labels", "bank_labels"
        )
        if k > len(self.bank_labels):
            raise ValueError(
                "`k` must not exceed the number of bank images. Received: "
                f"k={k}, and {len(self.bank_labels)} images"
            )
        self.k = k
        self.groups = groups
        self.prefix = prefix
        classes, self.class_counts = np.unique(
            self.bank_labels, return_counts=True
        )
        tested = np.where(np.isin(classes, self.test_labels), 1.0, np.nan)
        means = group_accuracy(tested, self.class_counts, groups)
        self._measured_groups = [
            name
            for name in ("many", "medium", "few")
            if not np.isnan(getattr(means, name))
        ]

    def measure(self, epoch: int) -> dict[str, float]:
        """Returns the accuracies.

        Args:
            epoch: Number of the epoch, from 0.
        """
        bank, test = self.features(self.bank), self.features(self.test)
        result = knn_probe(
            bank, self.bank_labels, test, self.test_labels, k=self.k
        )
        groups = result.group_accuracy(self.class_counts, self.groups)
        return {
            f"{self.prefix}accuracy": result.accuracy,
            **{
                self.prefix + name: getattr(groups, name)
                for name in self._measured_groups
            },
        }
