"""What every framework logs of whether it learns."""

import warnings

import combinations
import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference

pytestmark = pytest.mark.every_backend

SIGNS = [
    "contrastive_accuracy",
    "contrastive_chance",
    "alignment",
    "uniformity",
    "spread",
]


def projections(batch=20, dim=6, views=2, noise=0.5):
    random = np.random.default_rng(0)
    z = random.normal(size=(batch, 1, dim))
    z = z + noise * random.normal(size=(batch, views, dim))
    return z.astype("float32")


def signs_of(z, queue=None, loss=None):
    """Returns the signs of one step, through the state of a loss."""
    loss = lt.losses.NTXentLoss() if loss is None else loss
    state = lt.layers.LossState(loss)
    state.monitor_learning(True)
    loss(None, state(z, training=True, queue=queue))
    means = state.learning.result()
    return {name: float(value) for name, value in means.items()}


def check(found, expected):
    assert list(found) == SIGNS
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-5, abs=2e-6), name


@pytest.mark.parametrize("batch", [2, 20, 150])
def test_signs_in_a_batch_are_those_of_the_slow_loop(batch):
    z = projections(batch)
    found = signs_of(z)
    check(found, reference.learning_signs(z))
    assert found["contrastive_chance"] == pytest.approx(1 / (2 * batch - 1))


def test_signs_with_a_queue_compare_with_the_keys_in_it():
    z, queue = projections(70), lt.layers.KeyQueue(16)
    queue.build((None, 6))
    first = signs_of(z, queue)
    assert first["contrastive_accuracy"] == first["contrastive_chance"] == 1
    queue = lt.layers.KeyQueue(16)
    queue.build((None, 6))
    keys = reference.unit(projections(5)[::-1, 1]).astype("float32")
    queue.enqueue(keys, np.zeros(5, bool))
    found = signs_of(z, queue)
    check(found, reference.learning_signs(z, keys))
    assert 0 < found["contrastive_accuracy"] < 1
    assert found["contrastive_chance"] == pytest.approx(1 / 6)


def test_signs_of_byol_compare_predictions_with_targets():
    z = projections(views=4, noise=1.0)
    found = signs_of(z, loss=lt.losses.BYOLLoss())
    check(found, reference.learning_signs(z[:, 2:], predictions=z[:, 0]))
    assert 0 < found["contrastive_accuracy"] < 1


def test_signs_of_random_directions_are_at_chance_on_a_uniform_sphere():
    random = np.random.default_rng(1)
    steps = [
        signs_of(random.normal(size=(64, 2, 128)).astype("float32"))
        for _ in range(20)
    ]
    means = {name: np.mean([step[name] for step in steps]) for name in SIGNS}
    chance = means["contrastive_chance"]
    error = np.sqrt(chance * (1 - chance) / (20 * 64))
    assert abs(means["contrastive_accuracy"] - chance) < 4 * error
    assert means["alignment"] == pytest.approx(2, abs=0.02)
    assert means["uniformity"] == pytest.approx(-4, abs=0.1)
    assert means["spread"] == pytest.approx(1, abs=0.02)


def test_signs_of_collapsed_projections_are_at_their_floor():
    found = signs_of(np.ones((32, 2, 6), "float32"))
    assert found["contrastive_accuracy"] == 0
    for name in ("alignment", "uniformity", "spread"):
        assert found[name] == pytest.approx(0, abs=1e-3)


def trained(framework, monitor_learning, **options):
    """Returns weights and logs of a small model after two epochs."""
    keras.utils.set_random_seed(3)
    kinds, size = combinations.FRAMEWORKS, 64
    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, strides=2),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(16),
        ]
    )
    model = kinds[framework](
        encoder,
        lt.layers.ProjectionHead(8, 16),
        lt.layers.simclr_views((8, 8), seed=1),
    )
    loss = lt.losses.NTXentLoss(0.2)
    if framework == "BYOL":
        loss = lt.losses.BYOLLoss()
    model.compile(
        keras.optimizers.Adam(0.01),
        loss=loss,
        monitor_learning=monitor_learning,
        **options,
    )
    images = np.random.default_rng(0).integers(0, 256, (size, 8, 8, 1), "uint8")
    logs = model.fit(images, batch_size=16, epochs=2, verbose=0).history
    return [ops.convert_to_numpy(weight) for weight in model.weights], logs


@pytest.mark.parametrize(
    ("framework", "mode"),
    [
        *((framework, "auto") for framework in combinations.FRAMEWORKS),
        ("SimCLR", "eager"),
        ("SimCLR", "several"),
        ("SimCLR", "float16"),
        ("MoCo v2", "float16"),
    ],
)
def test_what_is_trained_does_not_depend_on_the_signs(framework, mode):
    options = {}
    if mode == "eager":
        options["run_eagerly"] = True
    if mode == "several":
        if keras.backend.backend() == "torch":
            pytest.skip("Keras trains one step at a time on PyTorch.")
        options["steps_per_execution"] = 2
    before = keras.config.dtype_policy()
    if mode == "float16":
        keras.config.set_dtype_policy("mixed_float16")
    try:
        (with_signs, logs), (without, few_logs) = (
            trained(framework, is_on, **options) for is_on in (True, False)
        )
    finally:
        keras.config.set_dtype_policy(before)
    assert len(with_signs) == len(without)
    for one, other in zip(with_signs, without, strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(logs) - set(few_logs) == set(SIGNS)
    for name in few_logs:
        assert logs[name] == few_logs[name]


def small_model(loss=None, augmenter=None, kind=lt.models.ContrastiveModel):
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
    model = kind(encoder, keras.layers.Dense(4), augmenter)
    loss = lt.losses.NTXentLoss() if loss is None else loss
    model.compile(keras.optimizers.SGD(0.05), loss=loss)
    return model


def test_evaluation_logs_the_signs_of_its_own_data():
    model, views = small_model(), projections(32)
    logs = model.fit(
        views, validation_data=(views,), epochs=1, verbose=0
    ).history
    assert {f"val_{name}" for name in SIGNS} <= set(logs)
    again = model.evaluate(views, verbose=0, return_dict=True)
    u = ops.convert_to_numpy(model(views))
    check({name: again[name] for name in SIGNS}, reference.learning_signs(u))


def test_a_saved_model_monitors_as_it_did(tmp_path):
    views = projections(32)
    for is_on in (True, False):
        model = small_model()
        model.compile(
            "sgd", loss=lt.losses.NTXentLoss(), monitor_learning=is_on
        )
        model.fit(views, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        logs = again.fit(views, verbose=0).history
        assert (set(SIGNS) <= set(logs)) == is_on


def test_compiling_again_turns_the_signs_off_and_on():
    model, views = small_model(), projections(32)
    for is_on in (False, True, False):
        model.compile("sgd", loss=model.loss, monitor_learning=is_on)
        logs = model.fit(views, verbose=0).history
        assert (set(SIGNS) <= set(logs)) == is_on


def test_a_loss_that_logs_a_sign_itself_is_refused():
    class Spread(lt.losses.NTXentLoss):
        metric_names = ("temperature", "spread")

    with pytest.raises(ValueError, match="Received: spread"):
        small_model(Spread())


# What is warned of.


def of_users(found):
    """Returns how many warnings are not those of another library."""
    return sum(each.category is UserWarning for each in found)


class FrozenViews(keras.layers.Layer):
    """Returns every sample twice."""

    def call(self, x, training=None):
        return ops.stack([x, x], axis=1)


def test_two_views_that_are_the_same_are_warned_of_once():
    samples = projections(64)[:, 0]
    model = small_model(augmenter=FrozenViews())
    with pytest.warns(UserWarning, match="views of 100% of the samples") as got:
        model.fit(samples, batch_size=8, epochs=2, verbose=0)
    assert of_users(got) == 1


def test_black_images_are_warned_of_once():
    images = np.zeros((64, 8, 8, 1), "uint8")
    model = lt.models.MomentumContrast(
        lt.models.small_convnet((8, 8, 1), width=4), queue_size=32
    )
    model.compile(keras.optimizers.SGD(0.0), loss=lt.losses.NTXentLoss())
    with pytest.warns(UserWarning, match="same value everywhere") as got:
        model.fit(images, batch_size=8, epochs=2, verbose=0)
    assert of_users(got) == 1


def test_a_collapse_is_warned_of_once():
    model = small_model()
    model.projector.build((None, 5))
    model.projector.kernel.assign(ops.zeros((5, 4)))
    model.projector.bias.assign(ops.ones((4,)))
    model.compile(keras.optimizers.SGD(0.0), loss=lt.losses.NTXentLoss())
    with pytest.warns(UserWarning, match="Features collapse") as got:
        model.fit(projections(80), batch_size=2, epochs=4, verbose=0)
    assert of_users(got) == 1


def test_a_training_at_chance_is_warned_of_once_after_the_first_steps():
    # Views that have nothing to do with each other.
    views = projections(640, noise=1e6)
    model = small_model()
    model.compile(keras.optimizers.SGD(0.0), loss=lt.losses.NTXentLoss())
    model.fit(views, batch_size=16, epochs=2, verbose=0)  # 80 steps.
    with pytest.warns(UserWarning, match="Nothing is learned") as got:
        model.fit(views, batch_size=16, epochs=4, verbose=0)
    assert of_users(got) == 1
    model.compile("sgd", loss=model.loss, monitor_learning=False)
    model.fit(views, batch_size=16, epochs=4, verbose=0)


def test_byol_near_chance_is_not_warned_of():
    model = small_model(lt.losses.BYOLLoss(), kind=lt.models.BYOL)
    model.compile(keras.optimizers.SGD(0.0), loss=lt.losses.BYOLLoss())
    views = projections(640, noise=1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        logs = model.fit(views, batch_size=16, epochs=3, verbose=0).history
    assert logs["contrastive_accuracy"][-1] < 2 * logs["contrastive_chance"][-1]


@pytest.mark.parametrize("framework", combinations.FRAMEWORKS)
def test_a_healthy_training_is_not_warned_of(framework):
    views = projections(320, dim=6, noise=0.3)
    loss = lt.losses.BYOLLoss() if framework == "BYOL" else None
    model = small_model(loss, kind=combinations.FRAMEWORKS[framework])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        logs = model.fit(views, batch_size=16, epochs=8, verbose=0).history
    assert logs["contrastive_accuracy"][-1] > 4 * logs["contrastive_chance"][-1]
