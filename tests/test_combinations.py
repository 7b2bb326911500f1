"""Every method on every framework: it trains, or says why it cannot."""

from pathlib import Path

import combinations
import keras
import numpy as np
import pytest
from keras import ops

from keras_ltssl.state.learning_means import LEARNING_SIGNS

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "choosing_a_method.md"
CELLS = [
    (method, framework)
    for method in combinations.METHODS
    for framework in combinations.FRAMEWORKS
    if (method, framework) not in combinations.REFUSED
]
# Each method and each framework: what `make test` trains on every backend.
COVER = [
    ("plain", "BYOL"),
    ("ts", "SDCLR"),
    ("tase", "MoCo v2"),
    ("gh", "SimCLR"),
    ("colt", "MoCo v2"),
    ("focal", "SimCLR"),
    ("conmix", "MoCo v2"),
    ("bcl", "BYOL"),
    ("sogclr", "SimCLR"),
    ("isogclr", "MoCo v2"),
]


def numpy(weights):
    return [ops.convert_to_numpy(weight) for weight in weights]


@pytest.mark.parametrize(
    ("method", "framework"),
    [
        pytest.param(
            *cell, marks=[pytest.mark.every_backend] if cell in COVER else []
        )
        for cell in CELLS
    ],
)
def test_a_method_trains_on_a_framework(method, framework):
    model, arguments = combinations.build(method, framework)
    model.build((None, 4, 4, 3))
    before = numpy(model.encoder.trainable_variables)
    logs = model.fit(epochs=2, verbose=0, **arguments).history
    assert all(np.isfinite(values).all() for values in logs.values())
    assert combinations.METHODS[method].shows(logs), logs
    assert set(LEARNING_SIGNS) <= set(logs)
    assert 0 <= logs["contrastive_accuracy"][1] <= 1
    for old, new in zip(
        before, numpy(model.encoder.trainable_variables), strict=True
    ):
        assert np.isfinite(new).all()
        # A bias in front of a batch norm has no gradient.
        if old.ndim > 1:
            assert (old != new).any()
    if framework == "MoCo v2":
        assert int(model.queue.filled) == 20
    if framework == "SDCLR":
        assert abs(model.sparsity() - 0.9) < 0.01


def test_every_backend_trains_each_method_and_each_framework():
    methods, frameworks = zip(*COVER, strict=True)
    assert set(methods) == set(combinations.METHODS)
    assert set(frameworks) == set(combinations.FRAMEWORKS)
    assert set(COVER) <= set(CELLS)


@pytest.mark.parametrize(("method", "framework"), combinations.REFUSED)
def test_a_method_is_refused_where_it_means_nothing(method, framework):
    with pytest.raises(ValueError, match="no negatives and no temperature"):
        combinations.build(method, framework)


@pytest.mark.every_backend
@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras refuses steps_per_execution > 1 on PyTorch",
)
@pytest.mark.parametrize("framework", ["MoCo v2", "BYOL", "SDCLR"])
def test_several_steps_at_once_are_the_same_training(framework):
    histories = []
    for steps in (1, 3):
        keras.utils.set_random_seed(1)
        model, arguments = combinations.build("plain", framework)
        model.compile(
            keras.optimizers.SGD(0.05), model.loss, steps_per_execution=steps
        )
        histories.append(
            model.fit(epochs=2, shuffle=False, verbose=0, **arguments).history
        )
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-5)


def test_the_guide_has_the_table_of_this_list():
    assert combinations.table() in GUIDE.read_text()
