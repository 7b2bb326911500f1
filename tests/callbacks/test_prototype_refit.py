"""The refit puts prototypes where k-means finds the whole population."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference


def population(count=120, dim=6):
    """Three far groups with shares 0.7, 0.2 and 0.1."""
    random = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [84, 24, 12])
    x = np.eye(3, dim)[group] + 0.05 * random.normal(size=(count, dim))
    return x.astype("float32"), group


def model_of(loss):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(6, kernel_initializer="identity"),
        ]
    )
    model = lt.models.ContrastiveModel(
        encoder,
        projector=keras.layers.Dense(6, kernel_initializer="identity"),
    )
    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    return model


def fit(model, refit, epochs=2):
    x, _ = population()
    views = np.stack([x, x], axis=1)
    return model.fit(
        views, epochs=epochs, batch_size=60, verbose=0, callbacks=[refit]
    )


@pytest.mark.every_backend
def test_refit_finds_the_groups_and_their_true_shares():
    x, group = population()
    model = model_of(lt.losses.TASELoss(num_prototypes=3))
    fit(model, lt.callbacks.PrototypeRefit(x, start=1, hold=True))
    prototypes = model.loss_state.parts["prototypes"]
    vectors = ops.convert_to_numpy(prototypes.vectors)
    shares = ops.convert_to_numpy(prototypes.shares)
    centers = np.stack(
        [reference.unit(x[group == g]).mean(0) for g in range(3)]
    )
    cosines = reference.unit(centers) @ vectors.T
    assert cosines.max(axis=1).min() > 0.999
    np.testing.assert_allclose(
        shares[cosines.argmax(axis=1)], [0.7, 0.2, 0.1], atol=1e-6
    )


def test_held_prototypes_stay_and_others_move_on():
    x, _ = population()
    for hold in (True, False):
        model = model_of(lt.losses.TASELoss(num_prototypes=3))
        refit = lt.callbacks.PrototypeRefit(x, interval=9, start=0, hold=hold)
        fit(model, refit, epochs=1)
        before = ops.convert_to_numpy(
            model.loss_state.parts["prototypes"].shares
        )
        model.fit(np.stack([x, x], 1)[:8], verbose=0)
        after = ops.convert_to_numpy(
            model.loss_state.parts["prototypes"].shares
        )
        assert np.allclose(before, after) == hold


def test_refit_happens_every_n_epochs():
    x, _ = population()
    refit = lt.callbacks.PrototypeRefit(x, interval=2, start=1)
    fit(model_of(lt.losses.TASELoss(num_prototypes=3)), refit, epochs=6)
    assert refit.fitted_epochs == [1, 3, 5]


def test_more_prototypes_than_samples_are_refused():
    x, _ = population()
    model = model_of(lt.losses.TASELoss(num_prototypes=50))
    with pytest.raises(ValueError, match="at least as many samples"):
        fit(model, lt.callbacks.PrototypeRefit(x[:49], start=0))


def test_a_refit_that_never_comes_is_refused():
    x, _ = population()
    model = model_of(lt.losses.TASELoss(num_prototypes=3))
    with pytest.raises(ValueError, match="`start` must be an epoch"):
        fit(model, lt.callbacks.PrototypeRefit(x, start=2), epochs=2)


def test_a_loss_without_prototypes_is_refused():
    x, _ = population()
    with pytest.raises(ValueError, match="loss that has prototypes"):
        fit(model_of(lt.losses.NTXentLoss()), lt.callbacks.PrototypeRefit(x))


@pytest.mark.parametrize(
    ("argument", "value"), [("interval", 0), ("start", -1), ("batch_size", 0)]
)
def test_impossible_arguments_are_refused(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must be an integer"):
        lt.callbacks.PrototypeRefit(np.zeros((3, 2)), **{argument: value})
