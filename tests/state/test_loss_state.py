"""What a loss logs through its state."""

import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

pytestmark = pytest.mark.every_backend


class Noisy(lt.losses.ContrastiveLoss):
    """Logs one number in each step, and one when training alone."""

    metric_names = ("always", "training_only")

    def per_sample(self, step):
        norms = ops.sum(ops.square(step.z), axis=(1, 2))
        step.log(always=ops.mean(norms))
        if step.training:
            step.log(training_only=3.0)
        return norms


def step(loss, state, value, training):
    z = np.full((2, 2, 4), value, "float32")
    loss(None, state(z, training=training))


def means_of(state):
    (means,) = state.metrics
    return {name: float(value) for name, value in means.result().items()}


def test_means_are_over_the_steps_that_logged_a_name():
    loss = Noisy()
    state = lt.layers.LossState(loss)
    step(loss, state, 1.0, training=True)
    step(loss, state, 2.0, training=False)
    assert means_of(state) == {"always": 20.0, "training_only": 3.0}
    state.metrics[0].reset_state()
    assert means_of(state) == {"always": 0.0, "training_only": 0.0}
    step(loss, state, 1.0, training=False)
    assert means_of(state) == {"always": 8.0, "training_only": 0.0}


def test_another_loss_takes_the_place_of_what_was_logged():
    state = lt.layers.LossState(Noisy())
    state.attach(lt.losses.NTXentLoss())
    assert list(means_of(state)) == ["temperature"]


def test_a_name_that_is_not_listed_is_refused():
    state = lt.layers.LossState(lt.losses.NTXentLoss())
    step = lt.losses.Step(None, np.ones((2, 2, 4), "float32"), 0.2, state)
    with pytest.raises(ValueError, match="`metric_names`"):
        step.log(x=1.0)
