"""The loss that adds Geometric Harmonization to any other one."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference

NUM_SAMPLES, DIM, TARGETS = 16, 6, 5


def views(batch=NUM_SAMPLES, seed=0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, DIM))
    return z.astype("float32")


def harmonized(base=None, **arguments):
    return lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(0.3) if base is None else base,
        **{
            "num_targets": TARGETS,
            "warmup_epochs": 1,
            "ramp_epochs": 2,
            "sinkhorn": {"iterations": 30},
            **arguments,
        },
    )


def still_model(loss, steps_per_epoch=2):
    """A functional model whose projections are its input, and stay so."""
    inputs = keras.Input((2, DIM))
    outputs = keras.layers.Dense(
        DIM, kernel_initializer="identity", use_bias=False
    )(inputs)
    outputs = lt.layers.LossState(loss, steps_per_epoch)(outputs)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    return model


def learning_model(loss):
    keras.utils.set_random_seed(0)
    model = lt.models.ContrastiveModel(
        keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(8)]),
        projector=keras.layers.Dense(DIM),
    )
    model.compile(keras.optimizers.SGD(0.05), loss=loss)
    return model


def fit(model, x, ids, epochs, interval=1, callbacks=(), initial_epoch=0):
    return model.fit(
        x,
        ids,
        batch_size=8,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[lt.callbacks.PriorEstimation(interval=interval), *callbacks],
    ).history


class Priors(keras.callbacks.Callback):
    """Notes the prior that each epoch is trained with."""

    def __init__(self):
        super().__init__()
        self.priors = []

    def on_epoch_end(self, epoch, logs=None):
        targets = self.model.loss.get_state().parts["targets"]
        self.priors.append(ops.convert_to_numpy(targets.prior))


def replay(x, ids, epochs, vectors, warmup=1):
    """Replays the published prior in NumPy, sample by sample."""
    memory, priors = {}, []
    prior = np.full(len(vectors), 1 / len(vectors))
    for epoch in range(epochs):
        if epoch >= warmup:
            labels = [int(np.argmax(scores)) for scores in memory.values()]
            prior = np.array(
                [
                    np.mean([k == label for label in labels])
                    for k in range(len(vectors))
                ]
            )
        priors.append(prior)
        noise = 0.3 * epoch
        scores = reference.unit(reference.unit(x[:, 0] + noise) @ vectors.T)
        beta = 0.9 if epoch < warmup else 0.999
        reference.moving_average(memory, ids, scores, beta)
    return memory, priors


@pytest.mark.every_backend
def test_prior_and_tailness_of_three_epochs_equal_a_replay():
    """The projections change by a known amount from epoch to epoch."""
    loss = harmonized(
        lt.losses.COLTLoss(0.3, num_samples=NUM_SAMPLES, top_k=3),
        num_samples=NUM_SAMPLES,
    )
    x, ids = views(20), np.append(np.arange(16), [-1] * 4)
    order = np.random.default_rng(1).permutation(20)
    x, ids = x[order], ids[order].astype("int32")
    model, noted = still_model(loss, steps_per_epoch=3), Priors()
    tailness = {}
    for epoch in range(3):
        moved = x + np.float32(0.3 * epoch)
        model.fit(
            moved,
            ids,
            batch_size=8,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            verbose=0,
            # At epoch 0 nothing is known yet, and the prior stays uniform.
            callbacks=[
                lt.callbacks.PriorEstimation(min(epoch, 1), interval=1),
                noted,
            ],
        )
        for start in range(0, 20, 8):
            part = slice(start, start + 8)
            scores = reference.tail_score(moved[part], 0.3, 3)
            reference.moving_average(tailness, ids[part], scores, 0.97)
    parts = model.loss.get_state().parts
    vectors = ops.convert_to_numpy(parts["targets"].vectors)
    memory, priors = replay(x, ids, 3, vectors)
    values, seen = parts["momentum_scores"].read()
    assert seen.all()
    for name in range(NUM_SAMPLES):
        np.testing.assert_allclose(values[name], memory[name], atol=2e-6)
    for ours, expected in zip(noted.priors, priors, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)
    values, seen = parts["tailness"].read()
    assert seen.all()
    np.testing.assert_allclose(
        values, [tailness[name] for name in range(NUM_SAMPLES)], rtol=1e-5
    )


@pytest.mark.every_backend
def test_loss_is_the_base_plus_the_weighted_term():
    x, ids = views(8), np.arange(8)
    model = still_model(harmonized(weight=0.7), steps_per_epoch=1)
    history = fit(model, x, ids, epochs=5)
    assert history["harmonization_weight"] == pytest.approx(
        [0, 0, 0.35, 0.7, 0.7]
    )
    targets = model.loss.get_state().parts["targets"]
    vectors = ops.convert_to_numpy(targets.vectors)
    prior = ops.convert_to_numpy(targets.prior)
    # A batch that is the population: its shares are the prior.
    labels = (reference.unit(x[:, 0]) @ vectors.T).argmax(axis=1)
    np.testing.assert_allclose(
        prior, np.bincount(labels, minlength=TARGETS) / 8, atol=1e-6
    )
    assigned = reference.harmonization_labels(x, vectors, prior, 0.05, 30)
    term = reference.geometric_harmonization(x, vectors, assigned, 0.1)
    base = reference.nt_xent(x, 0.3)
    assert history["harmonization_loss"][-1] == pytest.approx(
        term.mean(), rel=1e-4
    )
    assert history["harmonization_loss"][0] == 0.0
    assert history["contrastive_loss"] == pytest.approx([base.mean()] * 5)
    assert history["loss"][-1] == pytest.approx(
        (base + 0.7 * term).mean(), rel=1e-4
    )


@pytest.mark.every_backend
def test_streaming_prior_equals_a_replay_without_ids():
    x = views(24)
    model = still_model(harmonized(share_momentum=0.8), steps_per_epoch=3)
    noted = Priors()
    fit(model, x, -np.ones(24, "int32"), epochs=3, callbacks=[noted])
    vectors = ops.convert_to_numpy(
        model.loss.get_state().parts["targets"].vectors
    )
    labels = (reference.unit(x[:, 0]) @ vectors.T).argmax(axis=1)
    shares, expected = None, [np.full(TARGETS, 1 / TARGETS)]
    for _ in range(3):
        for start in (0, 8, 16):
            batch = np.bincount(labels[start : start + 8], minlength=TARGETS)
            batch = batch / 8
            shares = batch if shares is None else 0.8 * shares + 0.2 * batch
        expected.append(shares)
    np.testing.assert_allclose(noted.priors, expected[:3], atol=1e-6)


def test_samples_out_of_distribution_do_not_count_in_the_streaming_prior():
    targets = lt.layers.GeometricTargets(3, momentum=0.5)
    targets.build((None, 4))
    scores = np.eye(3, dtype="float32")[[0, 0, 1, 2]]
    targets.follow(scores, np.array([True, True, True, False]))
    np.testing.assert_allclose(targets.shares, [2 / 3, 1 / 3, 0], rtol=1e-6)
    targets.follow(scores, np.array([False] * 4))
    np.testing.assert_allclose(targets.shares, [2 / 3, 1 / 3, 0], rtol=1e-6)


BASES = {
    "tase": lambda: lt.losses.TASELoss(0.3, num_prototypes=3, warmup_steps=2),
    "focal": lambda: lt.losses.FocalNTXentLoss(0.3),
    "scheduled": lambda: lt.losses.NTXentLoss(
        lt.schedules.CosineTemperature(0.1, 0.5, period=4)
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param("tase", marks=pytest.mark.every_backend)]
    + [name for name in BASES if name != "tase"],
)
def test_it_trains_saves_and_loads_on_any_base(name, tmp_path):
    path = tmp_path / "model.keras"
    loss = harmonized(
        BASES[name](), num_samples=NUM_SAMPLES, warmup_epochs=0, ramp_epochs=0
    )
    model = learning_model(loss)
    x, ids = views(), np.arange(NUM_SAMPLES)
    before = fit(model, x, ids, epochs=6)
    assert before["loss"][-1] < before["loss"][0]
    assert before["harmonization_weight"] == [1.0] * 6
    model.save(path)
    again = keras.models.load_model(path)
    assert again.loss.base_loss.get_state() is again.loss_state
    one, two = (
        fit(m, x, ids, epochs=8, initial_epoch=6) for m in (model, again)
    )
    assert sorted(one) == sorted(two)
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-5, atol=1e-7)


def test_without_its_callback_training_is_refused():
    model = learning_model(harmonized())
    with pytest.raises(ValueError, match=r"callbacks.PriorEstimation\(\)"):
        model.fit(views(), verbose=0)
    outer = lt.losses.COLTLoss(base_loss=harmonized())
    with pytest.raises(ValueError, match=r"callbacks.PriorEstimation\(\)"):
        learning_model(outer).fit(views(), np.arange(16), verbose=0)


def test_a_prior_that_never_comes_is_warned_of():
    model = learning_model(harmonized(warmup_epochs=500))
    with pytest.warns(UserWarning, match="first estimated at epoch 500"):
        fit(model, views(), np.arange(16), epochs=1)


def test_estimation_needs_a_loss_that_has_a_prior():
    model = learning_model(lt.losses.NTXentLoss())
    with pytest.raises(ValueError, match="needs a model compiled with"):
        fit(model, views(), np.arange(16), epochs=1)
    for arguments, name in (
        ({"interval": 0}, "interval"),
        ({"start": -1}, "start"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            lt.callbacks.PriorEstimation(**arguments)


def test_ids_missing_or_beyond_num_samples_are_refused():
    model = learning_model(harmonized(num_samples=NUM_SAMPLES))
    with pytest.raises(ValueError, match="needs sample ids"):
        fit(model, views(), None, epochs=1)
    with pytest.raises(ValueError, match="id 16, num_samples=16"):
        fit(model, views(), np.arange(1, 17), epochs=1)

    # From a generator they are only seen on the way.
    def batches():
        while True:
            yield views(), np.arange(1, 17)

    with pytest.raises(ValueError, match="2 ids beyond it"):
        model.fit(
            batches(),
            steps_per_epoch=2,
            shuffle=False,
            verbose=0,
            callbacks=[lt.callbacks.PriorEstimation(start=0)],
        )


def test_more_targets_than_fit_the_dimension_are_warned_of():
    loss = harmonized(num_targets=9)
    state = lt.layers.LossState(loss)
    with pytest.warns(UserWarning, match="cosine"):
        state(views(), training=False)


def test_serialization_keeps_the_configuration():
    for loss in (
        harmonized(
            BASES["tase"](),
            num_samples=4,
            seed=3,
            sinkhorn={"tolerance": 1e-6},
        ),
        harmonized(lt.losses.COLTLoss(num_samples=4), momentum=0.5),
        harmonized(prior="power_law", prior_power=0.5),
    ):
        config = keras.saving.serialize_keras_object(loss)
        again = keras.saving.deserialize_keras_object(config)
        assert keras.saving.serialize_keras_object(again) == config


def test_configurations_of_before_the_options_still_load():
    config = harmonized().get_config()
    del config["sinkhorn"]
    flat = {"regularization": 0.1, "iterations": 20, "tolerance": 1e-4}
    loss = lt.losses.GeometricHarmonizationLoss.from_config({**config, **flat})
    assert loss.sinkhorn == lt.losses.SinkhornOptions(**flat)


def test_configurations_of_before_the_power_law_estimate_the_prior():
    config = harmonized().get_config()
    del config["prior"], config["prior_power"]
    loss = lt.losses.GeometricHarmonizationLoss.from_config(config)
    assert (loss.prior, loss.prior_power) == ("estimated", 0.25)


@pytest.mark.parametrize("power", [0, 0.25, 1.0])
@pytest.mark.parametrize(
    "shares",
    [[0.1, 0.4, 0.2, 0.3], [3, 0, 7, 0, 0], [0.5, 0.5], [1.0]],
)
def test_a_power_law_is_matched_by_order_of_use(shares, power):
    found = lt.losses.power_law_prior(shares, power)
    np.testing.assert_allclose(
        found, reference.power_law_prior(shares, power), atol=1e-15
    )
    assert found.sum() == pytest.approx(1)


@pytest.mark.every_backend
@pytest.mark.parametrize("num_samples", [None, NUM_SAMPLES])
def test_a_power_law_prior_has_the_order_of_the_estimated_one(num_samples):
    found = {}
    for prior in ("estimated", "power_law", "uniform"):
        loss = harmonized(num_samples=num_samples, prior=prior, prior_power=0.5)
        model = still_model(loss)
        fit(model, views(), np.arange(16), epochs=2)
        targets = model.loss.get_state().parts["targets"]
        found[prior] = ops.convert_to_numpy(targets.prior)
    np.testing.assert_allclose(
        found["power_law"],
        reference.power_law_prior(found["estimated"].tolist(), 0.5),
        rtol=1e-6,
    )
    assert not np.allclose(found["power_law"], found["estimated"])
    np.testing.assert_allclose(found["uniform"], 1 / TARGETS)


def test_a_uniform_prior_needs_no_callback():
    model = learning_model(harmonized(prior="uniform", warmup_epochs=0))
    history = model.fit(views(), verbose=0).history
    assert history["prior_entropy"] == pytest.approx([1.0])


def test_a_power_law_prior_is_saved_and_resumed(tmp_path):
    def prepared():
        model = learning_model(
            harmonized(prior="power_law", warmup_epochs=0, ramp_epochs=0)
        )
        return model, lt.callbacks.ResumableCheckpoint(tmp_path)

    model, checkpoint = prepared()
    x, ids = views(), np.arange(NUM_SAMPLES)
    # Not estimated again in the last epoch: it must come from the file.
    arguments = {"interval": 9, "epochs": 3}
    fit(model, x, ids, epochs=2, interval=1, callbacks=[checkpoint])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    resumed, checkpoint = prepared()
    resumed.build((None, 2, DIM))
    assert checkpoint.restore(resumed) == 2
    histories = [
        fit(m, x, ids, initial_epoch=2, **arguments)
        for m in (model, loaded, resumed)
    ]
    assert histories[0]["prior_entropy"][0] < 1
    for history in histories[1:]:
        for key, values in histories[0].items():
            np.testing.assert_allclose(history[key], values, rtol=1e-6)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_targets", 1),
        ("num_samples", 0),
        ("weight", -1.0),
        ("warmup_epochs", -1),
        ("ramp_epochs", float("inf")),
        ("sinkhorn", 0.0),
        ("sinkhorn", {"gamma": 0.1}),
        ("gamma", 0.0),
        ("momentum", 1.0),
        ("late_momentum", -0.1),
        ("share_momentum", 1.0),
        ("prior", "flat"),
        ("prior_power", -0.5),
        ("base_loss", "mse"),
    ],
)
def test_impossible_arguments_are_refused_by_name(argument, value):
    arguments = {"base_loss": lt.losses.NTXentLoss(), argument: value}
    with pytest.raises(ValueError, match=f"`{argument}` must"):
        lt.losses.GeometricHarmonizationLoss(**arguments)


@pytest.mark.parametrize(
    "prior", [[0.5, 0.5], [1, 1, -1], [0, 0, 0], [1, float("nan"), 1]]
)
def test_an_impossible_prior_is_refused(prior):
    targets = lt.layers.GeometricTargets(3)
    targets.build((None, 4))
    with pytest.raises(ValueError, match="`prior` must hold 3 finite"):
        targets.set_prior(prior)


def test_a_harmonized_loss_is_not_harmonized_again():
    with pytest.raises(ValueError, match="must not hold another"):
        harmonized(lt.losses.COLTLoss(base_loss=harmonized()))
