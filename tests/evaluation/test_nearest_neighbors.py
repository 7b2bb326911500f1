import keras
import numpy as np
import pytest

from keras_ltssl.evaluation import knn_probe


def naive_predictions(bank, bank_labels, test, k):
    """One test row at a time, one neighbor at a time."""
    found = []
    for row in test:
        cosine = [
            (row @ other) / np.linalg.norm(row) / np.linalg.norm(other)
            for other in bank
        ]
        votes = {}
        for near in np.argsort(cosine)[::-1][:k]:
            count, total = votes.get(bank_labels[near], (0, 0.0))
            votes[bank_labels[near]] = (count + 1, total + cosine[near])
        found.append(max(votes, key=lambda label: votes[label]))
    return np.array(found)


@pytest.mark.parametrize("k", [1, 4, 10, 37])
def test_probe_equals_a_naive_vote(k):
    rng = np.random.default_rng(k)
    labels = rng.choice([-7, 3, 10**12], size=60)
    test_labels = rng.choice([-7, 3, 10**12], size=45)
    bank, test = rng.normal(size=(60, 5)), rng.normal(size=(45, 5))
    predictions = naive_predictions(bank, labels, test, k)
    result = knn_probe(bank, labels, test, test_labels, k=k, chunk_size=16)
    assert result.classes.tolist() == [-7, 3, 10**12]
    np.testing.assert_allclose(
        result.class_accuracy,
        [np.mean(predictions[test_labels == c] == c) for c in result.classes],
        rtol=1e-12,
    )


@pytest.mark.parametrize("chunk_size", [1, 7, 20, 1000])
def test_chunk_size_does_not_change_the_result(chunk_size):
    rng = np.random.default_rng(0)
    bank, test = rng.normal(size=(50, 4)), rng.normal(size=(20, 4))
    labels, test_labels = np.arange(50) % 3, np.arange(20) % 3
    whole = knn_probe(bank, labels, test, test_labels, k=5)
    parts = knn_probe(
        bank, labels, test, test_labels, k=5, chunk_size=chunk_size
    )
    assert whole == parts


def at_angles(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def predicted(bank, labels, k):
    """The label that a test row at 0 degrees gets."""
    test = at_angles(*[0] * len(set(labels)))
    result = knn_probe(bank, labels, test, np.unique(labels), k=k)
    return result.classes[result.class_accuracy.argmax()]


def test_majority_beats_the_nearest():
    assert predicted(at_angles(1, 20, 30), np.array([0, 1, 1]), k=3) == 1
    assert predicted(at_angles(1, 20, 30), np.array([0, 1, 1]), k=1) == 0


def test_equal_votes_go_to_the_larger_sum_of_similarities():
    bank = at_angles(1, 5, 6, 30)
    assert predicted(bank, np.array([0, 1, 1, 0]), k=4) == 1
    assert predicted(bank, np.array([1, 0, 0, 1]), k=4) == 0


def test_equal_sums_go_to_the_nearest_neighbor():
    bank = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert predicted(bank[[2, 0]], np.array([0, 1]), k=2) == 1


def test_only_the_direction_of_features_counts():
    rng = np.random.default_rng(0)
    bank, test = rng.normal(size=(30, 4)), rng.normal(size=(12, 4))
    labels, test_labels = np.arange(30) % 3, np.arange(12) % 3
    lengths = 10.0 ** rng.integers(-30, 30, size=(30, 1))
    assert knn_probe(bank, labels, test, test_labels, k=3) == knn_probe(
        bank * lengths, labels, test, test_labels, k=3
    )


def test_collapsed_encoder_is_at_chance():
    labels = np.arange(40) % 4
    for features in (np.ones((40, 3)), np.zeros((40, 3))):
        result = knn_probe(features, labels, features, labels)
        assert result.accuracy == 0.25


def test_class_without_test_rows_is_nan():
    bank = at_angles(0, 90, 180)
    result = knn_probe(bank, np.arange(3), bank[:2], np.arange(2), k=1)
    np.testing.assert_array_equal(result.class_accuracy, [1, 1, np.nan])
    assert result.accuracy == 1


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_tensors_of_any_float_type_are_taken(dtype):
    bank = keras.ops.cast(at_angles(0, 45, 90), dtype)
    result = knn_probe(bank, np.arange(3), bank, np.arange(3), k=1)
    assert result.accuracy == 1


GOOD = {
    "bank_features": np.eye(4),
    "bank_labels": np.arange(4),
    "test_features": np.eye(4),
    "test_labels": np.arange(4),
    "k": 2,
}
BROKEN = np.eye(4)
BROKEN[2, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bank_labels": np.arange(3)}, "`bank_labels`.*3 labels for 4 rows"),
        ({"test_labels": np.arange(5)}, "`test_labels`.*5 labels for 4 rows"),
        ({"test_labels": np.array([0, 1, 2, 9])}, "occur in `bank_labels`.*9"),
        ({"bank_labels": np.arange(4.0)}, "`bank_labels` must be integers"),
        ({"bank_labels": np.arange(4)[:, None]}, r"bank_labels\[:, 0\]"),
        ({"bank_features": BROKEN}, "`bank_features` must be finite.*row 2"),
        ({"test_features": BROKEN}, "`test_features` must be finite.*row 2"),
        ({"test_features": np.eye(4)[:, :3]}, "same number.*4 and 3"),
        ({"bank_features": np.ones((4, 2, 2, 1))}, "pool feature maps"),
        ({"bank_features": np.ones((0, 4))}, "neither of them 0"),
        ({"bank_features": np.full((4, 4), "x")}, "real numbers"),
        ({"k": 5}, "k=5, and 4 rows"),
        ({"k": 0}, "k=0"),
        ({"k": 1.5}, "k=1.5"),
        ({"chunk_size": 0}, "chunk_size=0"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        knn_probe(**(GOOD | change))


@pytest.mark.every_backend
@pytest.mark.parametrize("entries", [7, 64, 2**25])
def test_a_bank_in_blocks_gives_the_same_neighbors(monkeypatch, entries):
    import keras_ltssl.evaluation.nearest_neighbors as module

    rng = np.random.default_rng(0)
    bank, test = rng.normal(size=(50, 4)), rng.normal(size=(30, 4))
    monkeypatch.setattr(module, "BANK_ENTRIES", entries)
    similarity, neighbors = module._nearest(bank, test, k=6, chunk_size=8)
    units = [
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (bank, test)
    ]
    cosine = units[1] @ units[0].T
    expected = np.argsort(-cosine, axis=1)[:, :6]
    np.testing.assert_array_equal(neighbors, expected)
    np.testing.assert_allclose(
        similarity, np.take_along_axis(cosine, expected, axis=1), atol=1e-6
    )


def test_features_in_a_file_of_half_precision_are_a_bank(tmp_path):
    rng = np.random.default_rng(0)
    bank, labels = rng.normal(size=(50, 4)).astype("float16"), np.arange(50) % 3
    np.save(tmp_path / "bank.npy", bank)
    mapped = np.load(tmp_path / "bank.npy", mmap_mode="r")
    test = rng.normal(size=(30, 4))
    assert knn_probe(mapped, labels, test, labels[:30]) == knn_probe(
        bank.astype("float32"), labels, test, labels[:30]
    )
