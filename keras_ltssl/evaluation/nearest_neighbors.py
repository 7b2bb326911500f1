"""k-nearest-neighbor classification of frozen features."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks, unit_rows
from keras_ltssl.evaluation.labeled_features import (
    LabeledFeatures,
)
from keras_ltssl.evaluation.probe_result import ProbeResult
from keras_ltssl.validation import check_integer

# Entries of the bank that are compared at a time: 128 MiB of float32.
BANK_ENTRIES = 2**25


def knn_probe(
    bank_features: Any,
    bank_labels: Any,
    test_features: Any,
    test_labels: Any,
    k: int = 10,
    chunk_size: int = 256,
) -> ProbeResult:
    """Returns the accuracy of a vote among the k most similar bank rows.

    Similarity is the cosine. Of labels with equally many votes, the one whose
    votes have the larger sum of similarities wins; of those that are equal in
    this too, the one with the nearest neighbor. The usual bank is the
    long-tailed training set, so a rare class has few rows to vote for it.

    Test rows are taken `chunk_size` at a time, and bank rows as many as have
    2**25 entries, in float32 on the device of the Keras backend. So features
    may be a `numpy.memmap`, of `evaluation.embed` say, that is larger than
    memory.

    Args:
        bank_features: Float array of shape `(bank_samples, features)`.
        bank_labels: Integer array of shape `(bank_samples,)`; any integers.
        test_features: Float array of shape `(test_samples, features)`.
        test_labels: Integer array of shape `(test_samples,)`; each of them
            occurs in `bank_labels`.
        k: Number of neighbors that vote; 1 and 10 are usual. Defaults to `10`.
        chunk_size: Test rows compared with the bank at once. Defaults to `256`.

    Returns:
        A `ProbeResult` of one draw; its classes are those of `bank_labels`.

    Raises:
        ValueError: If shapes or lengths do not fit, a feature is NaN or
            infinite, labels are no integers, a test label is never seen in the
            bank, `k` is not in 1 to `bank_samples`, or `chunk_size` is not a
            positive integer.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.evaluation import knn_probe
    >>> bank = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> test = np.array([[2.0, 0.1], [0.1, 2.0]])
    >>> bank_labels, test_labels = np.array([7, 7, 8]), np.array([7, 8])
    >>> result = knn_probe(bank, bank_labels, test, test_labels, k=1)
    >>> result.class_accuracy.tolist()
    [1.0, 1.0]
    """
    data = LabeledFeatures.check(
        bank_features, bank_labels, test_features, test_labels, role="bank"
    )
    check_integer("k", k, minimum=1)
    check_integer("chunk_size", chunk_size, minimum=1)
    if k > len(data.features):
        raise ValueError(
            "`k` must not exceed the number of bank rows. Received: "
            f"k={k}, and {len(data.features)} rows"
        )
    similarity, neighbors = _nearest(
        data.features, data.test_features, k, chunk_size
    )
    predictions = [
        _vote(data.labels[neighbors[rows]], similarity[rows])
        for rows in blocks(len(neighbors), k * k)
    ]
    return data.result(np.concatenate(predictions))


def _nearest(
    bank: NDArray[Any], test: NDArray[Any], k: int, chunk_size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns similarities and numbers of the k nearest bank rows: `(test, k)`.

    The nearest come first; of equal ones, the one with the lower number.
    """
    similarity = np.full((len(test), k), -np.inf, "float32")
    neighbors = np.zeros((len(test), k), "int64")
    for rows in blocks(len(bank), bank.shape[1], BANK_ENTRIES):
        columns = ops.transpose(_unit_tensor(bank[rows], "bank_features"))
        for start in range(0, len(test), chunk_size):
            chunk = slice(start, start + chunk_size)
            found, places = ops.top_k(
                ops.matmul(_unit_tensor(test[chunk], "test_features"), columns),
                min(k, columns.shape[1]),
            )
            closest = np.concatenate(
                [similarity[chunk], ops.convert_to_numpy(found)], axis=1
            )
            numbers = np.concatenate(
                [
                    neighbors[chunk],
                    rows.start + ops.convert_to_numpy(places).astype("int64"),
                ],
                axis=1,
            )
            # Stable, so that equal ones stay in the order of bank rows.
            order = np.argsort(-closest, axis=1, kind="stable")[:, :k]
            similarity[chunk] = np.take_along_axis(closest, order, axis=1)
            neighbors[chunk] = np.take_along_axis(numbers, order, axis=1)
    return similarity, neighbors


def _unit_tensor(rows: NDArray[Any], name: str) -> Any:
    return ops.convert_to_tensor(unit_rows(rows, name), "float32")


def _vote(
    labels: NDArray[np.int64], similarity: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Winning label of each row of neighbors, nearest first: `(rows, k)`."""
    same = labels[:, :, None] == labels[:, None, :]
    votes = same.sum(axis=2)
    support = np.einsum("nij,nj->ni", same, similarity, dtype="float64")
    support = np.where(
        votes == votes.max(axis=1, keepdims=True), support, -np.inf
    )
    winner = support.argmax(axis=1)
    return np.asarray(np.take_along_axis(labels, winner[:, None], axis=1)[:, 0])
