import itertools

import keras
import numpy as np
import pytest

from keras_ltssl.evaluation import linear_probe, minibatch_linear_probe
from keras_ltssl.evaluation.feature_batches import (
    RUN,
    FeatureBatches,
    Standardizer,
)

CENTERS = np.random.default_rng(99).normal(scale=0.7, size=(6, 16))


def blobs(rows, seed):
    """Rows of classes around `CENTERS`, sorted by class, one column is dead."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(rows) % len(CENTERS))
    features = CENTERS[labels] + rng.normal(size=(rows, CENTERS.shape[1]))
    features[:, 3] = 7
    return 5 * features + 2, labels


TRAIN, TEST, VALIDATION = blobs(1800, 0), blobs(1200, 1), blobs(600, 2)


@pytest.mark.every_backend
@pytest.mark.parametrize("l2", [0.1, 0.001])
def test_it_agrees_with_the_probe_that_runs_to_convergence(l2):
    exact = linear_probe(*TRAIN, *TEST, l2=l2)
    found = minibatch_linear_probe(
        *TRAIN,
        *TEST,
        validation=VALIDATION,
        learning_rates=[0.1],
        l2=[l2],
        epochs=20,
        batch_size=64,
    )
    # One standard deviation of an accuracy of 1,200 rows is 0.01.
    assert abs(found.result.accuracy - exact.accuracy) < 0.01
    assert 0.5 < exact.accuracy < 0.95


def momentum_descent(features, labels, steps, rate, l2, classes=6):
    """Trains one classifier on all rows by the formulas of the docstring."""
    weights = np.zeros((features.shape[1], classes))
    bias, speeds = np.zeros(classes), [0.0, 0.0]
    for step in range(steps):
        scores = features @ weights + bias
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        error = (shares - np.eye(classes)[labels]) / len(labels)
        now = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        pulls = [
            now * slope
            for slope in (features.T @ error + l2 * weights, error.sum(axis=0))
        ]
        # Nesterov: the new speed is applied once more, with the same pull.
        speeds = [0.9 * speeds[i] - pulls[i] for i in range(2)]
        weights = weights + 0.9 * speeds[0] - pulls[0]
        bias = bias + 0.9 * speeds[1] - pulls[1]
    return weights, bias


@pytest.mark.every_backend
def test_each_pair_is_trained_as_if_it_were_alone(monkeypatch):
    import keras_ltssl.evaluation.minibatch_probe as module

    trained, fit = [], module.LinearClassifiers.fit

    def watched(self, *arguments):
        fit(self, *arguments)
        trained.extend(self.layer.get_weights())

    monkeypatch.setattr(module.LinearClassifiers, "fit", watched)
    rates, penalties = [0.01, 0.2], [0.0, 0.3]
    # In one batch, so that the order of rows does not matter.
    minibatch_linear_probe(
        *TRAIN,
        *TEST,
        validation=VALIDATION,
        learning_rates=rates,
        l2=penalties,
        epochs=12,
        batch_size=len(TRAIN[1]),
    )
    features = Standardizer.of(TRAIN[0], np.arange(len(TRAIN[1])))(TRAIN[0])
    kernel, bias = trained[0].reshape(-1, 4, 6), trained[1].reshape(4, 6)
    for place, pair in enumerate(itertools.product(rates, penalties)):
        weights, offsets = momentum_descent(features, TRAIN[1], 12, *pair)
        np.testing.assert_allclose(kernel[:, place], weights, atol=1e-5)
        np.testing.assert_allclose(bias[place], offsets, atol=1e-5)


def test_a_diverged_pair_is_not_chosen():
    found = minibatch_linear_probe(
        *TRAIN, *TEST, learning_rates=[0.03, 1e30], l2=[1.0], epochs=2
    )
    assert found.learning_rate == 0.03
    assert np.isnan(found.validation_accuracy).tolist() == [[False], [True]]
    with pytest.raises(ValueError, match="`learning_rates` must hold one that"):
        minibatch_linear_probe(
            *TRAIN, *TEST, learning_rates=[1e30], l2=[1.0], epochs=2
        )


def test_what_is_held_out_is_not_trained_on(monkeypatch):
    import keras_ltssl.evaluation.minibatch_probe as module

    seen = {}

    class Watched(FeatureBatches):
        def __init__(self, features, labels, rows, *arguments):
            seen["trained"] = rows
            super().__init__(features, labels, rows, *arguments)

    accuracy = module.LinearClassifiers.accuracy

    def watched(self, features, labels, rows, standardizer):
        seen["judged"] = rows
        return accuracy(self, features, labels, rows, standardizer)

    monkeypatch.setattr(module, "FeatureBatches", Watched)
    monkeypatch.setattr(module.LinearClassifiers, "accuracy", watched)
    labels = np.repeat([0, 1, 2, 3], [100, 15, 2, 1])
    features = np.random.default_rng(0).normal(size=(len(labels), 4))
    minibatch_linear_probe(
        features,
        labels,
        features,
        labels,
        learning_rates=[0.1],
        l2=[0.0],
        epochs=1,
    )
    both = np.concatenate([seen["trained"], seen["judged"]])
    assert sorted(both) == list(range(len(labels)))
    # A tenth, rounded up; a class keeps at least one row to train on.
    assert np.bincount(labels[seen["judged"]], minlength=4).tolist() == [
        10,
        2,
        1,
        0,
    ]


def test_a_file_of_half_precision_is_read_as_the_array(tmp_path):
    features = TRAIN[0].astype("float16")
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    results = [
        minibatch_linear_probe(
            each, TRAIN[1], *TEST, learning_rates=[0.1], l2=[0.01], epochs=2
        )
        for each in (mapped, features.astype("float32"))
    ]
    assert results[0].result == results[1].result


def test_batches_hold_each_row_once_and_classes_are_mixed(monkeypatch):
    import keras_ltssl.evaluation.feature_batches as module

    monkeypatch.setattr(module, "SHUFFLED", 2 * 1024)  # Groups of 1,024 rows.
    rows = np.arange(0, 20 * RUN, 2)
    features = np.stack([np.arange(20 * RUN), np.zeros(20 * RUN)], axis=1)
    labels = np.arange(20 * RUN) // RUN  # Sorted: 20 classes of one run each.
    batches = FeatureBatches(
        features, labels, rows, Standardizer(np.zeros(2), np.ones(2)), 250, 0
    )
    epochs = []
    for _ in range(2):
        found = [batches[index] for index in range(len(batches))]
        numbers = np.concatenate([each[:, 0] for each, _ in found])
        assert len(found) == 10
        assert len(set(numbers)) == 2500
        assert set(numbers) <= set(rows)
        for values, classes in found:
            np.testing.assert_array_equal(
                labels[values[:, 0].astype(int)], classes
            )
            assert len(set(classes)) >= 4  # A group holds eight runs of 128.
        epochs.append(numbers)
        batches.on_epoch_end()
    assert not np.array_equal(*epochs)


def test_standardized_features_have_mean_0_and_deviation_1():
    features = np.random.default_rng(0).normal(1000, 0.1, (5000, 3))
    features[:, 1] = 0.1
    rows = np.arange(0, 5000, 3)
    found = Standardizer.of(features.astype("float32"), rows)(features[rows])
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(axis=0), [1, 0, 1], atol=1e-3)


def test_the_mixed_precision_of_a_program_does_not_matter():
    arguments = {"learning_rates": [0.1], "l2": [0.01], "epochs": 2}
    expected = minibatch_linear_probe(*TRAIN, *TEST, **arguments)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = minibatch_linear_probe(*TRAIN, *TEST, **arguments)
    finally:
        keras.config.set_dtype_policy(before)
    assert found.result == expected.result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": []}, "`learning_rates` must not be empty"),
        (
            {"learning_rates": [0.1, 0]},
            "Each of `learning_rates` must be a finite number > 0",
        ),
        ({"learning_rates": 0.1}, "`learning_rates` must be a sequence"),
        ({"l2": [-1]}, "Each of `l2` must be a finite number >= 0"),
        ({"epochs": 0}, "`epochs` must be an integer"),
        ({"batch_size": 0}, "`batch_size` must be an integer"),
        ({"seed": -1}, "`seed` must be an integer"),
        ({"verbose": "auto"}, "`verbose` must be"),
        ({"validation": TEST[0]}, "`validation` must be a tuple"),
        (
            {"validation": (TEST[0][:, :3], TEST[1])},
            r"`validation\[0\]` must have as many features",
        ),
        (
            {"validation": (TEST[0], TEST[1] + 1)},
            "`validation` must be labels that occur in `train_labels`",
        ),
        (
            {"train_labels": TRAIN[1] * 0, "test_labels": TEST[1] * 0},
            "2 classes",
        ),
        (
            {"train_labels": np.arange(1800), "test_labels": np.arange(1200)},
            "`validation` must be given",
        ),
        (
            {"train_features": TRAIN[0] * np.nan},
            "`train_features` must be finite",
        ),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    good = {
        "train_features": TRAIN[0],
        "train_labels": TRAIN[1],
        "test_features": TEST[0],
        "test_labels": TEST[1],
    }
    with pytest.raises(ValueError, match=message):
        minibatch_linear_probe(**(good | change))
