import numpy as np
import pytest

from keras_ltssl.evaluation import few_shot_probe, linear_probe


def blobs(rows_a_class, classes=4, dim=6, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(classes, dim))
    labels = np.arange(rows_a_class * classes) % classes
    return centers[labels] + noise * rng.normal(size=(len(labels), dim)), labels


def softmax_regression(features, labels, l2):
    """Plain gradient descent on the objective of the docstring."""
    onehot = np.eye(labels.max() + 1)[labels]
    weights, bias = np.zeros((features.shape[1], onehot.shape[1])), 0.0
    for _ in range(20_000):
        logits = features @ weights + bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        error = (shares - onehot) / len(labels)
        weights = weights - 0.5 * (features.T @ error + l2 * weights)
        bias = bias - 0.5 * error.sum(axis=0)
    return weights, bias


def test_linear_probe_minimizes_the_objective_of_its_docstring():
    features, labels = blobs(15, noise=1.5)
    test, test_labels = blobs(50, noise=1.5, seed=1)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    weights, bias = softmax_regression(
        (features - mean) / deviation, labels, l2=0.1
    )
    guess = ((test - mean) / deviation @ weights + bias).argmax(axis=1)
    expected = [np.mean(guess[test_labels == c] == c) for c in range(4)]
    found = linear_probe(features, labels, test, test_labels, l2=0.1)
    np.testing.assert_allclose(found.class_accuracy, expected, atol=0.021)
    assert 0.4 < found.accuracy < 0.95


def test_scale_and_offset_of_features_do_not_matter():
    features, labels = blobs(20)
    test, test_labels = blobs(30, seed=1)
    scale, offset = 10.0 ** np.arange(-3, 3), np.arange(6.0)
    assert linear_probe(features, labels, test, test_labels) == linear_probe(
        features * scale + offset, labels, test * scale + offset, test_labels
    )


def test_labels_may_be_any_integers():
    features, labels = blobs(20)
    names = np.array([-5, 0, 7, 10**12])
    result = linear_probe(features, names[labels], features, names[labels])
    assert result.classes.tolist() == names.tolist()
    np.testing.assert_array_equal(
        result.draw_accuracy,
        linear_probe(features, labels, features, labels).draw_accuracy,
    )


def test_two_classes_are_enough():
    features, labels = blobs(20, classes=2, noise=0.1)
    assert linear_probe(features, labels, features, labels).accuracy == 1


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((40, 8)),
        np.full((40, 8), 1e30),
        np.eye(40) * 1e-30,
        np.repeat(np.eye(4), 10, axis=0) * 1e6,
        np.random.default_rng(0).normal(size=(40, 500)),
        np.pad(np.random.default_rng(0).normal(size=(40, 1)), ((0, 0), (0, 9))),
    ],
    ids=["dead", "constant", "tiny", "duplicates", "wide", "mostly dead"],
)
def test_odd_features_converge_without_a_warning(features):
    # Warnings are errors here.
    labels = np.arange(40) % 4
    result = linear_probe(features, labels, features, labels)
    assert 0 <= result.accuracy <= 1
    few_shot_probe(features, labels, features, labels, shots=2, draws=2)


def test_collapsed_encoder_is_at_chance():
    features, labels = np.ones((40, 8)), np.arange(40) % 4
    assert linear_probe(features, labels, features, labels).accuracy == 0.25


def test_few_shot_with_every_label_is_the_linear_probe():
    features, labels = blobs(12)
    test, test_labels = blobs(30, seed=1)
    few = few_shot_probe(features, labels, test, test_labels, shots=12, draws=2)
    full = linear_probe(features, labels, test, test_labels)
    np.testing.assert_array_equal(
        few.draw_accuracy, np.repeat(full.draw_accuracy, 2, axis=0)
    )


def test_few_shot_sees_exactly_so_many_rows_of_each_class(monkeypatch):
    seen = []
    import keras_ltssl.evaluation.linear_probes as module

    fit = module._fit_and_predict

    def watched(data, rows, l2):
        seen.append((rows, data.labels[rows]))
        return fit(data, rows, l2)

    monkeypatch.setattr(module, "_fit_and_predict", watched)
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [40, 5, 17]))
    features = rng.normal(size=(62, 3))
    few_shot_probe(features, labels, features, labels, shots=5, draws=3)
    assert len(seen) == 3
    for rows, drawn in seen:
        assert len(set(rows)) == 15
        assert np.bincount(drawn).tolist() == [5, 5, 5]
    assert not np.array_equal(seen[0][0], seen[1][0])


def test_few_shot_draws_are_a_function_of_the_seed():
    features, labels = blobs(30, noise=2.0)
    arguments = features, labels, features, labels
    first = few_shot_probe(*arguments, shots=3, draws=2, seed=4)
    assert first == few_shot_probe(*arguments, shots=3, draws=2, seed=4)
    assert first != few_shot_probe(*arguments, shots=3, draws=2, seed=5)
    more = few_shot_probe(*arguments, shots=3, draws=4, seed=4)
    np.testing.assert_array_equal(first.draw_accuracy, more.draw_accuracy[:2])


def test_more_shots_help():
    features, labels = blobs(100, noise=1.5)
    test, test_labels = blobs(100, noise=1.5, seed=1)
    arguments = features, labels, test, test_labels
    few = few_shot_probe(*arguments, shots=2)
    many = few_shot_probe(*arguments, shots=50)
    assert many.accuracy > few.accuracy + 0.05


FEATURES, LABELS = blobs(3)
BROKEN = FEATURES.copy()
BROKEN[5, 0] = np.inf
GOOD = {
    "train_features": FEATURES,
    "train_labels": LABELS,
    "test_features": FEATURES,
    "test_labels": LABELS,
}


@pytest.mark.parametrize("probe", [linear_probe, few_shot_probe])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": LABELS[1:]}, "`train_labels`.*11 labels for 12"),
        ({"test_labels": LABELS[1:]}, "`test_labels`.*11 labels for 12"),
        ({"test_labels": LABELS + 1}, "occur in `train_labels`.*4"),
        ({"train_labels": LABELS / 2}, "`train_labels` must be integers"),
        ({"train_features": BROKEN}, "`train_features`.*row 5"),
        ({"test_features": BROKEN}, "`test_features`.*row 5"),
        ({"test_features": FEATURES[:, :2]}, "same number.*6 and 2"),
        ({"train_features": FEATURES[0]}, "shape"),
        (
            {"train_labels": 0 * LABELS, "test_labels": 0 * LABELS},
            "at least 2 classes",
        ),
        ({"l2": 0.0}, "l2=0.0"),
        ({"l2": float("nan")}, "l2=nan"),
    ],
)
def test_bad_input_is_named(probe, change, message):
    with pytest.raises(ValueError, match=message):
        probe(**(GOOD | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": 4}, "shots=4, and 3 rows of class 0"),
        ({"shots": 0}, "shots=0"),
        ({"draws": 0}, "draws=0"),
        ({"shots": True}, "shots=True"),
    ],
)
def test_bad_draws_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        few_shot_probe(**(GOOD | change))
