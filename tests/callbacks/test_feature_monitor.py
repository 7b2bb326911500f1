"""The callback that logs the effective rank of the encoder's features."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

pytestmark = pytest.mark.every_backend

VIEWS = np.random.default_rng(0).normal(size=(32, 2, 12)).astype("float32")


def make(weights=None):
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense(10)
    encoder = keras.Sequential([keras.Input((12,)), dense])
    if weights is not None:
        dense.set_weights(weights)
    model = lt.models.ContrastiveModel(encoder, keras.layers.Dense(4))
    model.compile(keras.optimizers.SGD(0.1), loss=lt.losses.NTXentLoss())
    return model


def test_it_logs_the_rank_of_the_encoders_features():
    model = make()
    monitor = lt.callbacks.FeatureMonitor(VIEWS[:, 0], batch_size=7)
    history = model.fit(VIEWS, epochs=2, verbose=0, callbacks=[monitor]).history
    features = model.encoder.predict(VIEWS[:, 0], verbose=0)
    assert len(history["effective_rank"]) == 2
    assert history["effective_rank"][0] != history["effective_rank"][1]
    assert history["effective_rank"][-1] == pytest.approx(
        lt.evaluation.effective_rank(features), rel=1e-4
    )


def test_epochs_between_measurements_log_the_latest_value():
    monitor = lt.callbacks.FeatureMonitor(VIEWS[:, 0], interval=2)
    ranks = (
        make()
        .fit(VIEWS, epochs=5, verbose=0, callbacks=[monitor])
        .history["effective_rank"]
    )
    # Measured after epochs 1, 2, 4 and 5.
    assert ranks[1] == ranks[2]
    assert len(set(ranks)) == 4


def test_training_does_not_depend_on_it():
    trained = []
    for callbacks in ([], [lt.callbacks.FeatureMonitor(VIEWS[:, 0])]):
        model = make()
        model.fit(VIEWS, epochs=2, verbose=0, callbacks=callbacks)
        trained.append([ops.convert_to_numpy(w) for w in model.weights])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_that_collapse_are_warned_of_once():
    model = make([np.full((12, 10), 1e-6), np.ones(10)])
    model.compile(keras.optimizers.SGD(0.0), loss=lt.losses.NTXentLoss())
    monitor = lt.callbacks.FeatureMonitor(VIEWS[:, 0])
    with pytest.warns(UserWarning, match="effective rank of 1.00") as got:
        model.fit(VIEWS, epochs=2, verbose=0, callbacks=[monitor])
    assert sum(each.category is UserWarning for each in got) == 1


def test_healthy_features_are_not_warned_of():
    monitor = lt.callbacks.FeatureMonitor(VIEWS[:, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make().fit(VIEWS, epochs=2, verbose=0, callbacks=[monitor])


def test_a_model_without_an_encoder_is_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    monitor = lt.callbacks.FeatureMonitor(np.ones((4, 3), "float32"))
    with pytest.raises(ValueError, match="`FeatureMonitor` expects a model"):
        model.fit(np.ones((4, 3)), np.ones(4), verbose=0, callbacks=[monitor])
