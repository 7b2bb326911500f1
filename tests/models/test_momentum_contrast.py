"""MoCo: momentum weights, the queue, any loss, and what is saved."""

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
    encoder = keras.Sequential(
        [
            keras.Input((DIM,)),
            keras.layers.Dense(6),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ]
    )
    model = lt.models.MomentumContrast(
        encoder, lt.layers.ProjectionHead(4), **arguments
    )
    model.compile(
        keras.optimizers.SGD(learning_rate),
        loss=loss or lt.losses.NTXentLoss(0.3),
    )
    return model


def originals(model):
    return [*model.encoder.weights, *model.projector.weights]


def copies(model):
    return [
        weight
        for copy in model.momentum_network.copies
        for weight in copy.weights
    ]


class Weights(keras.callbacks.Callback):
    """Notes both networks at the end of every step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        model = self.model
        self.steps.append(
            [
                [ops.convert_to_numpy(weight) for weight in weights]
                for weights in (originals(model), copies(model))
            ]
        )


@pytest.fixture
def mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.every_backend
def test_momentum_weights_equal_a_replay_over_ten_steps(mixed_precision):
    """In mixed precision, where weights must not be rounded on the way."""
    model, noted = make(momentum=0.8, queue_size=16), Weights()
    model.build((None, 2, DIM))
    start = [ops.convert_to_numpy(weight) for weight in originals(model)]
    trainable = [weight.trainable for weight in originals(model)]
    model.fit(
        views(),
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[noted],
    )
    assert len(noted.steps) == 10
    before, expected = start, start
    for step, (online, momentum) in enumerate(noted.steps):
        if step:
            expected = [
                0.8 * old + 0.2 * new
                for old, new in zip(expected, before, strict=True)
            ]
        for learned, ours, replay in zip(
            trainable, momentum, expected, strict=True
        ):
            if learned:
                np.testing.assert_allclose(ours, replay, atol=1e-6)
        before = online
    # Statistics of a batch norm are those of the keys, and not averaged.
    variance = next(
        index
        for index, weight in enumerate(originals(model))
        if "moving_variance" in weight.path
    )
    assert np.abs(momentum[variance] - start[variance]).max() > 0.01
    assert np.abs(momentum[variance] - online[variance]).max() > 1e-6


@pytest.mark.every_backend
def test_each_step_is_compared_with_the_queue_of_earlier_ones():
    """A network that stands still, so that keys can be computed again."""
    model = make(learning_rate=0.0, queue_size=20)
    x, losses, queue = views(), [], []
    x = np.concatenate([x] * 2)[:72]

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["loss"] * (batch + 1) - sum(losses))

    model.fit(x, batch_size=8, shuffle=False, verbose=0, callbacks=[Losses()])
    expected = []
    for start in range(0, 72, 8):
        batch = x[start : start + 8]
        z = [
            ops.convert_to_numpy(
                model.projector(
                    model.encoder(batch[:, view], training=True), training=True
                )
            )
            for view in (0, 1)
        ]
        z = np.stack(z, axis=1)
        expected.append(reference.queue_nt_xent(z, queue, 0.3).mean())
        queue = reference.enqueue(queue, reference.unit(z[:, 1]), 20)
    assert losses[0] == 0.0  # The queue is empty.
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.every_backend
def test_the_momentum_network_is_not_trained_by_gradients():
    model = make()
    model.build((None, 2, DIM))
    trained = {id(variable) for variable in model.trainable_variables}
    assert trained == {
        id(weight) for weight in originals(model) if weight.trainable
    }


@pytest.mark.parametrize(
    ("argument", "value", "name"),
    [("momentum", 1.0, "momentum"), ("queue_size", 0, "queue_size")],
)
def test_impossible_arguments_are_refused_by_name(argument, value, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        make(**{argument: value})
