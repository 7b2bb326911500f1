"""What the tests of checkpoints share: a small model, `fit` without steps."""

import keras
import numpy as np
from keras import ops

import keras_ltssl as lt


def everything(model):
    """Returns copies of all that a checkpoint of a model holds."""
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(ops.convert_to_numpy(v)) for v in variables]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def weights_of(model):
    return [np.array(ops.convert_to_numpy(v)) for v in model.weights]


def small_model(loss=None, optimizer=None, units=4, dtype=None):
    keras.utils.set_random_seed(4)
    encoder = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(units, dtype=dtype)]
    )
    model = lt.models.ContrastiveModel(
        encoder,
        lt.layers.ProjectionHead(6, 6),
        lt.layers.TwoViews(keras.layers.GaussianNoise(0.1, seed=3)),
    )
    model.compile(
        optimizer or keras.optimizers.SGD(0.1, momentum=0.9),
        loss=loss or lt.losses.TASELoss(0.2, num_prototypes=3),
    )
    model.build((None, 8))
    model.optimizer.build(model.trainable_variables)
    return model


def hooks(model, callbacks, epochs):
    return keras.callbacks.CallbackList(
        callbacks, model=model, epochs=epochs, steps=1
    )


def pretend(model, checkpoint, epochs, start=0):
    """Calls what `fit` calls, without its steps, which take long on JAX."""
    fit = hooks(model, [checkpoint], epochs)
    fit.on_train_begin()
    for epoch in range(start, epochs):
        fit.on_epoch_begin(epoch)
        for weight in model.trainable_weights:
            weight.assign(ops.convert_to_numpy(weight) + 1)
        fit.on_epoch_end(epoch)
    fit.on_train_end()


def names(folder):
    return sorted(path.name for path in folder.glob("epoch-*"))
