import csv

import keras
import numpy as np
import pytest

from keras_ltssl.callbacks.knn_probe import KNNProbe
from keras_ltssl.evaluation import knn_probe

KEYS = ["knn_accuracy", "knn_many", "knn_medium", "knn_few"]


@keras.saving.register_keras_serializable(package="tests")
class WithEncoder(keras.Model):
    """The least that the callback needs: a model with an encoder."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = keras.layers.Dense(3)

    def call(self, x, training=None):
        return self.head(self.encoder(x, training=training))


class CountsTraces(keras.layers.Layer):
    """Counts how often Python runs its `call`."""

    traces = 0

    def call(self, x):
        type(self).traces += 1
        return x


def make_model():
    inputs = keras.Input((6,))
    x = CountsTraces()(inputs)
    x = keras.layers.Dense(8)(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.Dropout(0.2)(keras.layers.Activation("tanh")(x))
    model = WithEncoder(keras.Model(inputs, keras.layers.Dense(2)(x)))
    model.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def make_data():
    rng = np.random.default_rng(0)
    labels = np.repeat([4, 7, 9], [30, 12, 5])
    x = (rng.normal(size=(47, 6)) + labels[:, None] / 8).astype("float32")
    test_labels = np.repeat([4, 7, 9], 9)
    test = rng.normal(size=(27, 6)) + test_labels[:, None] / 8
    return x, labels, test.astype("float32"), test_labels


def mean_output(y_true, y_pred):
    """A loss for outputs of any shape."""
    return keras.ops.mean(keras.ops.reshape(y_pred, (10, -1)), axis=1)


class KeepsWeights(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.encoder.get_weights())


def fit(model, *callbacks, epochs=4, **arguments):
    x, labels, _, _ = make_data()
    return model.fit(
        x,
        np.searchsorted([4, 7, 9], labels),
        batch_size=10,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
        **arguments,
    )


def test_each_epoch_logs_the_accuracy_of_the_weights_it_ended_with(tmp_path):
    data = make_data()
    kept = KeepsWeights()
    log = tmp_path / "history.csv"
    model = make_model()
    history = fit(
        model,
        KNNProbe(*data, k=3, batch_size=10),
        kept,
        keras.callbacks.CSVLogger(str(log)),
    ).history
    x, labels, test, test_labels = data
    for epoch, weights in enumerate(kept.epochs):
        model.encoder.set_weights(weights)
        result = knn_probe(
            model.encoder.predict(x, verbose=0),
            labels,
            model.encoder.predict(test, verbose=0),
            test_labels,
            k=3,
        )
        many, medium, few, _ = result.group_accuracy([30, 12, 5])
        assert [history[key][epoch] for key in KEYS] == [
            result.accuracy,
            many,
            medium,
            few,
        ]
    assert len(set(history["knn_accuracy"])) > 1
    with log.open() as file:
        rows = list(csv.DictReader(file))
    for key in KEYS:
        assert [float(row[key]) for row in rows] == history[key]


def test_probing_does_not_change_the_training():
    weights = []
    for probes in ([], [KNNProbe(*make_data(), k=3)]):
        keras.utils.set_random_seed(5)
        model = make_model()
        fit(model, *probes)
        weights.append(model.get_weights())
    for without, with_probe in zip(*weights, strict=True):
        np.testing.assert_array_equal(without, with_probe)


class NotesMeasurements(KNNProbe):
    """The real callback, which also notes the epochs when it measures."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        before = self._logged
        super().on_epoch_end(epoch, logs)
        if self._logged is not before:
            self.epochs.append(epoch)


def test_first_every_nth_and_last_epoch_are_measured_others_repeat():
    probe, model = (
        NotesMeasurements(*make_data(), k=3, interval=3),
        make_model(),
    )
    values = fit(model, probe, epochs=8).history["knn_accuracy"]
    assert probe.epochs == [0, 2, 5, 7]
    assert len(values) == 8
    assert values[0] == values[1]
    assert values[2] == values[3] == values[4]
    assert values[5] == values[6]
    assert np.all(np.isfinite(values))
    # A fit that goes on measures its first epoch too: a CSVLogger that starts
    # there needs the columns.
    probe.epochs = []
    more = fit(model, probe, epochs=12, initial_epoch=9).history
    assert probe.epochs == [9, 11]
    assert len(more["knn_accuracy"]) == 3


@pytest.mark.every_backend
@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch runs eagerly"
)
def test_encoder_is_not_traced_again_each_epoch():
    model, traces = make_model(), []
    fit(
        model,
        KNNProbe(*make_data(), k=3, batch_size=10),
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: traces.append(CountsTraces.traces)
        ),
        epochs=5,
    )
    assert traces[0] > 0
    assert len(set(traces[1:])) == 1


def test_encoder_may_be_given():
    model = make_model()
    sequential = keras.Sequential([model.encoder, keras.layers.Dense(3)])
    sequential.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    probe = KNNProbe(*make_data(), k=3, encoder=model.encoder, prefix="nn/")
    history = fit(sequential, probe).history
    x, labels, test, test_labels = make_data()
    final = knn_probe(
        model.encoder.predict(x, verbose=0),
        labels,
        model.encoder.predict(test, verbose=0),
        test_labels,
        k=3,
    )
    assert history["nn/accuracy"][-1] == final.accuracy


def logged(model, **arguments):
    """What one epoch logs, without the time it takes to compile a `fit`."""
    x, labels, test, test_labels = make_data()
    keep = test_labels != arguments.pop("untested", None)
    probe = KNNProbe(x, labels, test[keep], test_labels[keep], k=3, **arguments)
    probe.set_model(model)
    probe.set_params({"epochs": 1})
    probe.on_train_begin()
    logs = {"loss": 1.0}
    probe.on_epoch_end(0, logs)
    return logs


def test_group_without_classes_is_left_out():
    logs = logged(make_model(), groups="thresholds")
    assert list(logs) == ["loss", "knn_accuracy", "knn_medium", "knn_few"]


def test_class_without_test_images_gives_no_nan():
    logs = logged(make_model(), untested=9)
    assert list(logs) == ["loss", "knn_accuracy", "knn_many", "knn_medium"]
    assert np.all(np.isfinite(list(logs.values())))


def test_images_of_bytes_are_taken():
    x, labels, _, _ = make_data()
    images = (2 + x).clip(0, 4).astype("uint8")
    model, found = make_model(), []
    for same in (images, images.astype("float32")):
        probe = KNNProbe(same, labels, same, labels, k=3)
        probe.set_model(model)
        probe.set_params({"epochs": 1})
        found.append({})
        probe.on_epoch_end(0, found[-1])
    assert found[0] == found[1]


def test_model_without_encoder_is_refused_before_the_first_step():
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", mean_output)
    with pytest.raises(ValueError, match=r"attribute `encoder`.*Sequential"):
        fit(model, KNNProbe(*make_data(), k=3))
    assert int(model.optimizer.iterations) == 0


def test_encoder_of_another_shape_is_refused_before_the_first_step():
    inputs = keras.Input((6, 1))
    feature_map = keras.Model(inputs, keras.layers.Conv1D(2, 3)(inputs))
    with pytest.raises(ValueError, match=r"`encoder` must have.*pool"):
        KNNProbe(*make_data(), k=3, encoder=feature_map)
    with pytest.raises(ValueError, match=r"`encoder` must be.*Received: Dense"):
        KNNProbe(*make_data(), k=3, encoder=keras.layers.Dense(3))
    model = WithEncoder(feature_map)
    model.compile("sgd", mean_output)
    with pytest.raises(ValueError, match=r"`model.encoder` must have.*pool"):
        fit(model, KNNProbe(*make_data(), k=3))


def test_diverged_training_is_named():
    model = make_model()
    model.encoder.set_weights([w * np.nan for w in model.encoder.get_weights()])
    with pytest.raises(ValueError, match="must be finite"):
        logged(model)


X, LABELS, TEST, TEST_LABELS = make_data()
GOOD = {
    "bank": X,
    "bank_labels": LABELS,
    "test": TEST,
    "test_labels": TEST_LABELS,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bank_labels": LABELS[1:]}, "`bank_labels`.*46 labels for 47"),
        ({"test_labels": TEST_LABELS[1:]}, "`test_labels`.*26 labels for 27"),
        ({"test_labels": TEST_LABELS + 1}, "occur in `bank_labels`.*5, 8, 10"),
        ({"bank_labels": LABELS * 1.0}, "`bank_labels` must be integers"),
        (
            {"test": TEST[:0], "test_labels": TEST_LABELS[:0]},
            "`test` must.*at least one",
        ),
        ({"k": 48}, "k=48, and 47 images"),
        ({"k": 0}, "k=0"),
        ({"interval": 0}, "interval=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"groups": "halves"}, "halves"),
    ],
)
def test_bad_input_is_refused_when_the_callback_is_made(change, message):
    with pytest.raises(ValueError, match=message):
        KNNProbe(**(GOOD | change))
