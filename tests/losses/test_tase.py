"""TASE's temperatures, weights and state, alone and inside `fit`."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from keras_ltssl.state.reliability import Reliability


def projections(batch=12, dim=6, seed=0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim))
    return z.astype("float32")


def attached(loss, dim=6):
    """Returns the loss's state as a model would build it."""
    state = lt.layers.LossState(loss)
    state(np.zeros((1, 2, dim), "float32"), training=False)
    return state


def set_population(state, seed=1):
    prototypes = state.parts["prototypes"]
    count, dim = prototypes.vectors.shape
    random = np.random.default_rng(seed)
    vectors = reference.unit(random.normal(size=(count, dim)))
    shares = random.dirichlet(np.ones(count))
    prototypes.set_population(vectors, shares)
    return vectors, shares


def run(loss, state, z, training=False):
    return ops.convert_to_numpy(loss(None, state(z, training=training)))


def test_head_samples_get_larger_temperature():
    headness = np.linspace(0, 1, 5).astype("float32")
    temperatures = ops.convert_to_numpy(
        lt.losses.sample_temperatures(headness, 0.2, spread=0.5)
    )
    np.testing.assert_allclose(temperatures, [0.1, 0.15, 0.2, 0.25, 0.3])
    reverse = ops.convert_to_numpy(
        lt.losses.sample_temperatures(headness, 0.2, spread=-0.5)
    )
    np.testing.assert_allclose(reverse, temperatures[::-1])


def test_rare_prototypes_get_larger_clipped_weights_of_mean_1():
    shares = np.array([0.90, 0.09, 0.01], "float32")
    labels = np.array([0, 0, 0, 1, 2], "int32")
    weights = ops.convert_to_numpy(
        lt.losses.inverse_share_weights(shares, labels, power=1.0, limit=4.0)
    )
    raw = np.clip(1 / (3 * shares), 0.25, 4.0)[labels]
    np.testing.assert_allclose(weights, raw / raw.mean(), rtol=1e-5)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] < weights[3] < weights[4]


def test_zero_power_weighs_every_sample_the_same():
    weights = lt.losses.inverse_share_weights(
        np.array([0.9, 0.1], "float32"), np.array([0, 1], "int32"), 0.0, 4.0
    )
    np.testing.assert_allclose(ops.convert_to_numpy(weights), 1.0)


@pytest.mark.every_backend
def test_loss_equals_its_formula_sample_by_sample():
    loss = lt.losses.TASELoss(
        0.3,
        num_prototypes=5,
        headness="share",
        spread=0.4,
        weight_power=0.7,
        weight_limit=3.0,
        warmup_steps=0,
        reduction=None,
    )
    state = attached(loss)
    vectors, shares = set_population(state)
    z = projections()
    units = reference.unit(reference.unit(z).sum(axis=1))
    labels = (units @ vectors.T).argmax(axis=1)
    headness = np.array(
        [
            shares[shares < shares[k]].sum()
            + 0.5 * shares[shares == shares[k]].sum()
            for k in labels
        ]
    )
    temperatures = 0.3 * (1 + 0.4 * (2 * headness - 1))
    weights = np.clip((5 * shares[labels]) ** -0.7, 1 / 3, 3)
    expected = weights / weights.mean() * reference.nt_xent(z, temperatures)
    np.testing.assert_allclose(run(loss, state, z), expected, rtol=1e-5)


@pytest.mark.every_backend
def test_before_warm_up_ends_it_is_nt_xent():
    loss = lt.losses.TASELoss(0.3, num_prototypes=4, warmup_steps=2)
    state = attached(loss)
    z = projections()
    plain = reference.nt_xent(z, 0.3).mean()
    set_population(state)
    assert run(loss, state, z, training=True) == pytest.approx(plain, rel=1e-5)
    assert run(loss, state, z, training=True) == pytest.approx(plain, rel=1e-5)
    after = run(loss, state, z, training=True)
    assert abs(after - plain) > 1e-3 * plain


@pytest.mark.every_backend
def test_evaluation_moves_nothing():
    loss = lt.losses.TASELoss(num_prototypes=4, warmup_steps=0)
    state = attached(loss)
    run(loss, state, projections(), training=True)
    before = [ops.convert_to_numpy(weight) for weight in state.weights]
    run(loss, state, projections(seed=5), training=False)
    for old, weight in zip(before, state.weights, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(weight))


@pytest.mark.every_backend
@pytest.mark.parametrize("headness", ["share", "typicality", "both", "density"])
def test_mean_temperature_stays_where_it_is_set(headness):
    """A population with a long tail, whose prototypes have settled."""
    random = np.random.default_rng(0)
    centers = reference.unit(random.normal(size=(8, 6)))
    probability = 0.6 ** np.arange(8)
    probability /= probability.sum()
    loss = lt.losses.TASELoss(
        0.2, num_prototypes=8, headness=headness, warmup_steps=60
    )
    state = attached(loss)

    def batch():
        group = random.choice(8, size=128, p=probability)
        noise = 0.1 * random.normal(size=(128, 2, 6))
        return (centers[group][:, None] + noise).astype("float32")

    for _ in range(80):
        run(loss, state, batch(), training=True)
    for metric in state.metrics:
        metric.reset_state()
    for _ in range(20):
        run(loss, state, batch(), training=True)
    (means,) = state.metrics
    logged = {name: float(mean) for name, mean in means.result().items()}
    assert logged["temperature"] == pytest.approx(0.2, rel=0.05)
    assert logged["temperature_std"] > 0.02
    assert 0.3 < logged["share_entropy"] < 1.0


class ByFirstCoordinate(lt.layers.Headness):
    def estimate(self, assignment):
        return ops.cast(assignment.units[:, 0] > 0, "float32")


def test_headness_can_be_exchanged():
    loss = lt.losses.TASELoss(
        num_prototypes=3,
        headness=ByFirstCoordinate(),
        warmup_steps=0,
        weight_power=0.0,
        reduction=None,
    )
    state = attached(loss)
    set_population(state)
    z = projections()
    units = reference.unit(reference.unit(z).sum(axis=1))
    temperatures = np.where(units[:, 0] > 0, 0.3, 0.1)
    np.testing.assert_allclose(
        run(loss, state, z), reference.nt_xent(z, temperatures), rtol=1e-5
    )


class Chance(lt.layers.Headness):
    """A headness that has nothing to do with the sample."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(0)

    def estimate(self, assignment):
        shape = ops.shape(assignment.closeness)
        return keras.random.uniform(shape, seed=self.seeds)


def trained(headness, steps=30):
    """Returns a loss whose state has seen some batches, and a fresh batch."""
    random = np.random.default_rng(0)
    loss = lt.losses.TASELoss(
        0.3,
        num_prototypes=8,
        headness=headness,
        weights_from="headness",
        scale_by_reliability=True,
        momentum=0.8,
        warmup_steps=0,
    )
    state = attached(loss)
    for _ in range(steps):
        centers = random.normal(size=(128, 1, 6))
        views = centers + 0.1 * random.normal(size=(128, 2, 6))
        run(loss, state, views.astype("float32"), training=True)
    return loss, state, views.astype("float32")


@pytest.mark.every_backend
def test_a_headness_of_chance_leaves_nt_xent_nearly_as_it_is():
    loss, state, z = trained(Chance())
    reliability = float(state.layer("reliability", Reliability).read())
    assert reliability < 0.1
    temperatures, weights, _ = loss.assess(z, 0.3)
    spread = np.abs(ops.convert_to_numpy(temperatures) / 0.3 - 1).max()
    assert 0.45 * reliability <= spread <= 0.5 * reliability + 1e-6
    assert np.abs(ops.convert_to_numpy(weights) - 1).max() < 0.2


@pytest.mark.every_backend
def test_a_headness_that_views_agree_about_is_believed():
    loss, state, z = trained("density")
    reliability = float(state.layer("reliability", Reliability).read())
    assert reliability > 0.7
    temperatures, _, assignment = loss.assess(z, 0.3)
    headness = state.layer("headness", lt.layers.DensityHeadness)
    expected = 0.3 * (
        1
        + 0.5
        * reliability
        * (2 * ops.convert_to_numpy(headness.estimate(assignment)) - 1)
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(temperatures), expected, rtol=1e-5
    )


@pytest.mark.every_backend
def test_reliability_is_a_moving_average_of_correlations():
    random = np.random.default_rng(0)
    reliability = Reliability(0.9)
    reliability.build((None, 6))
    expected = 0.0
    for step in range(4):
        one, other = random.normal(size=(2, 32)).astype("float32")
        other = other + one
        reliability.update(one, other)
        found = np.corrcoef(one, other)[0, 1]
        keep = 0.9 if step else 0.0
        expected = keep * expected + (1 - keep) * found
        assert float(reliability.read()) == pytest.approx(expected, rel=1e-5)


def test_opposite_estimates_have_no_reliability():
    reliability = Reliability()
    reliability.build((None, 6))
    one = np.linspace(0, 1, 8).astype("float32")
    reliability.update(one, 1 - one)
    assert float(reliability.read()) == 0.0


def test_equal_estimates_have_no_reliability():
    reliability = Reliability()
    reliability.build((None, 6))
    same = np.full(8, 0.5, "float32")
    reliability.update(same, same)
    assert float(reliability.read()) == 0.0


def test_weights_from_headness_are_clipped_powers_of_mean_1():
    headness = np.array([0.0, 0.25, 0.5, 1.0], "float32")
    weights = ops.convert_to_numpy(
        lt.losses.inverse_headness_weights(headness, power=1.0, limit=4.0)
    )
    raw = np.array([4.0, 2.0, 1.0, 0.5])
    np.testing.assert_allclose(weights, raw / raw.mean(), rtol=1e-5)


@pytest.mark.every_backend
def test_weights_from_headness_multiply_the_losses():
    loss = lt.losses.TASELoss(
        0.3,
        num_prototypes=5,
        headness=ByFirstCoordinate(),
        spread=0.0,
        weight_power=0.5,
        weights_from="headness",
        warmup_steps=0,
        reduction=None,
    )
    state = attached(loss)
    set_population(state)
    z = projections()
    units = reference.unit(reference.unit(z).sum(axis=1))
    weights = np.where(units[:, 0] > 0, 2**-0.5, 4.0)
    np.testing.assert_allclose(
        run(loss, state, z),
        weights / weights.mean() * reference.nt_xent(z, 0.3),
        rtol=1e-5,
    )


def bounded_model():
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)])
    model = lt.models.ContrastiveModel(encoder)
    loss = lt.losses.TASELoss(
        0.3,
        num_prototypes=4,
        headness="density",
        weights_from="headness",
        scale_by_reliability=True,
        momentum=0.5,
        warmup_steps=1,
    )
    model.compile("sgd", loss=loss)
    return model


@pytest.mark.every_backend
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_bounded_form_trains_compiled_twice_and_is_loaded(policy, tmp_path):
    random = np.random.default_rng(0)
    views = random.normal(size=(48, 1, 8)) + 0.1 * random.normal(
        size=(48, 2, 8)
    )
    views = views.astype("float32")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = bounded_model()
        for _ in range(2):
            history = model.fit(
                views, batch_size=16, epochs=3, verbose=0
            ).history
        assert 0.5 < history["headness_reliability"][-1] <= 1
        assert history["temperature_std"][-1] > 0
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy(before)
    expected = model.evaluate(views, verbose=0, return_dict=True)
    found = again.evaluate(views, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    one = model.fit(views, batch_size=48, verbose=0).history["loss"]
    other = again.fit(views, batch_size=48, verbose=0).history["loss"]
    assert one == pytest.approx(other, rel=1e-4)


def test_serialization_keeps_the_configuration():
    for loss in (
        lt.losses.TASELoss(
            headness=lt.layers.DensityHeadness(0.05, 0.3),
            weights_from="headness",
            scale_by_reliability=True,
        ),
        lt.losses.TASELoss(
            lt.schedules.LinearTemperature(0.5, 0.1, 9),
            num_prototypes=7,
            headness="share",
            spread=-0.2,
            weight_power=1.0,
            weight_limit=2.0,
            momentum=0.5,
            warmup_steps=3,
            chunk_size=5,
        ),
        lt.losses.TASELoss(headness=lt.layers.MixedHeadness(0.9)),
    ):
        config = keras.saving.serialize_keras_object(loss)
        again = keras.saving.deserialize_keras_object(config)
        assert keras.saving.serialize_keras_object(again) == config


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("headness", "tail"),
        ("spread", 1.0),
        ("spread", float("nan")),
        ("weight_power", -1),
        ("weight_limit", 0.5),
        ("weights_from", "loss"),
        ("scale_by_reliability", 1),
        ("warmup_steps", -1),
        ("warmup_steps", 1.5),
        ("temperature", -0.2),
    ],
)
def test_impossible_arguments_are_refused_by_name(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must"):
        lt.losses.TASELoss(**{argument: value})
