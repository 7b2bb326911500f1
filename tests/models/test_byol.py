"""BYOL: its loss, the ramp of the momentum, and what is refused."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference

NUM, DIM = 40, 8


def views():
    random = np.random.default_rng(0)
    base = random.normal(size=(NUM, 1, DIM))
    return (base + 0.2 * random.normal(size=(NUM, 2, DIM))).astype("float32")


def make(loss=None, learning_rate=0.05, **arguments):
    keras.utils.set_random_seed(2)
    encoder = keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(6)])
    model = lt.models.BYOL(encoder, keras.layers.Dense(4), **arguments)
    model.compile(
        keras.optimizers.SGD(learning_rate), loss=loss or lt.losses.BYOLLoss()
    )
    return model


def numpy(weights):
    return [ops.convert_to_numpy(weight) for weight in weights]


def online(model):
    return [*model.encoder.weights, *model.projector.weights]


def target(model):
    return [w for copy in model.momentum_network.copies for w in copy.weights]


class Weights(keras.callbacks.Callback):
    """Notes both networks at the end of every step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        model = self.model
        self.steps.append((numpy(online(model)), numpy(target(model))))


@pytest.mark.every_backend
def test_momentum_ramps_to_1_and_weights_equal_a_replay_over_ten_steps():
    model, noted = make(momentum=0.5), Weights()
    model.build((None, 2, DIM))
    before = numpy(online(model))
    model.fit(
        views(),
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[noted],
    )
    assert len(noted.steps) == 10
    expected = before  # What the first update copies.
    for step, (now, ours) in enumerate(noted.steps):
        if step:
            momentum = reference.byol_momentum(0.5, step / 10)
            expected = [
                momentum * old + (1 - momentum) * new
                for old, new in zip(expected, before, strict=True)
            ]
        for mine, replay in zip(ours, expected, strict=True):
            np.testing.assert_allclose(mine, replay, atol=1e-6)
        before = now
    np.testing.assert_allclose(float(model.current_momentum()), 1.0)


@pytest.mark.every_backend
def test_the_loss_is_that_of_predictions_and_targets():
    model = make(learning_rate=0.0)
    x = views()
    logged = model.fit(x, batch_size=NUM, verbose=0).history["loss"][0]
    predictions, targets = [], []
    for view in (0, 1):
        z = model.projector(model.encoder(x[:, view]))
        targets.append(ops.convert_to_numpy(z))
    # Of both views in one batch, whose statistics the predictor takes.
    z = model.projector(model.encoder(x.reshape(-1, DIM)))
    predictions = ops.convert_to_numpy(model.predictor(z, training=True))
    expected = reference.normalized_mse(
        predictions.reshape(NUM, 2, 4), np.stack(targets, axis=1)
    )
    np.testing.assert_allclose(logged, expected.mean(), rtol=1e-4)


@pytest.mark.every_backend
def test_the_momentum_follows_the_epochs_of_fit():
    model = make()
    model.fit(views(), batch_size=8, epochs=2, verbose=0)
    assert float(model.current_momentum()) == 1.0
    model.fit(views(), batch_size=8, epochs=3, initial_epoch=2, verbose=0)
    assert float(model.total_epochs) == 3.0
    assert float(model.current_momentum()) == 1.0


@pytest.mark.parametrize(
    "loss",
    [
        lt.losses.NTXentLoss(),
        lt.losses.TASELoss(),
        lt.losses.COLTLoss(),
        lt.losses.GeometricHarmonizationLoss(lt.losses.FocalNTXentLoss()),
    ],
)
def test_losses_over_negatives_are_refused(loss):
    with pytest.raises(ValueError, match="no negatives and no temperature"):
        make(loss)


@pytest.mark.parametrize(
    "framework",
    [
        lt.models.ContrastiveModel,
        lt.models.MomentumContrast,
        lt.models.SelfDamagingContrast,
    ],
)
def test_frameworks_without_targets_refuse_its_loss(framework):
    model = framework(keras.Sequential([keras.Input((8,))]))
    with pytest.raises(ValueError, match=r"only models\.BYOL"):
        model.compile("sgd", loss=lt.losses.BYOLLoss())


def test_a_temperature_cannot_be_driven():
    schedule = lt.schedules.CosineTemperature()
    driver = lt.callbacks.TemperatureScheduler(schedule)
    with pytest.raises(ValueError, match="BYOL has none"):
        make().fit(views(), callbacks=[driver], verbose=0)


def test_data_of_unknown_length_are_refused_since_the_ramp_needs_epochs():
    def batches():
        while True:
            yield (views()[:8],)

    with pytest.raises(ValueError, match="BYOL follows a schedule of epochs"):
        make().fit(batches(), shuffle=False, verbose=0)


def test_impossible_parts_are_refused_by_name():
    with pytest.raises(ValueError, match="`momentum` must"):
        make(momentum=1.0)
    with pytest.raises(ValueError, match="`predictor` must be a Keras"):
        make(predictor="head")
    model = make(predictor=keras.layers.Dense(3))
    with pytest.raises(ValueError, match="`predictor` must keep the width"):
        model.build((None, 2, DIM))
