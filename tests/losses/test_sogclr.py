"""SogCLR and iSogCLR: golden files, replays in compiled fits, extremes."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("gamma", "rho", "eta", "beta", "minimum", "maximum")
SETTINGS = {
    "temperature": 0.2,
    "gamma": 0.7,
    "rho": 0.4,
    "eta": 0.05,
    "beta": 0.6,
    "minimum": 0.15,
    "maximum": 0.3,
}


def golden(number):
    """Returns a case, and its arguments but for the number of samples."""
    case = dict(np.load(GOLDEN / f"isogclr_{number}.npz"))
    names = ("temperature", *NAMES)
    return case, {name: float(case[name]) for name in names}


def projections(batch=6, dim=5, seed=0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim))
    return z.astype("float32")


def attached(loss, dim=5):
    """Returns the loss's state as a model would build it."""
    state = lt.layers.LossState(loss)
    state(np.zeros((1, 2, dim), "float32"), training=False)
    return state


def step(state, ids, z, training=True, queue=None):
    """Returns the loss of each sample, eagerly."""
    z = ops.convert_to_tensor(z, "float32")
    given = state(z, training=training, queue=queue)
    losses = state.loss.call(np.asarray(ids, "int32"), given)
    return ops.convert_to_numpy(losses)


def mean_gradient(state, ids, z, queue=None):
    """Returns the gradient of the mean loss, which moves no memory."""
    ids = np.asarray(ids, "int32")

    def mean(z):
        with keras.StatelessScope():  # Else JAX's tracers outlive the call.
            given = state(z, training=False, queue=queue)
            return ops.mean(state.loss.call(ids, given))

    return value_and_gradient(mean, np.asarray(z, "float32"))[1]


def close(ours, expected, relative=1e-5):
    np.testing.assert_allclose(ours, expected, rtol=relative, atol=1e-7)


def close_to_largest(ours, expected, relative=1e-4):
    assert np.abs(ours - expected).max() <= relative * np.abs(expected).max()


def rows_of(state):
    """Returns what is remembered: log u, or log u, m and τ."""
    (memory,) = state.parts.values()
    return ops.convert_to_numpy(memory.values)[:-1]


def linear_model(loss, rate=0.0, dtype=None):
    """A model whose projections are linear in ready-made views."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, use_bias=False, dtype=dtype)]
    )
    model = lt.models.ContrastiveModel(encoder, keras.layers.Identity())
    model.compile(keras.optimizers.SGD(rate), loss=loss)
    return model


@pytest.mark.parametrize("number", [0, 1])
def test_oracle_agrees_with_the_golden_file(number):
    case, arguments = golden(number)
    memory = {}
    for z, ids, loss, temperatures in zip(
        case["z"], case["ids"], case["loss"], case["temperatures"], strict=True
    ):
        losses, weights = reference.isogclr(
            memory, ids.tolist(), z, **arguments
        )
        close(losses.mean(), loss, 1e-9)
        new = (None, 0.0, arguments["temperature"])
        for name, tau in enumerate(temperatures):
            close(memory.get(name, new)[2], tau, 1e-9)
    close(losses, case["last_per_sample"], 1e-9)
    gradient = reference.numerical_gradient(
        lambda z: reference.margins_at(z, weights), z
    )
    close_to_largest(gradient, case["last_grad"], 1e-7)


@pytest.mark.every_backend
@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("number", [0, 1])
def test_golden_steps(number, chunk_size):
    case, arguments = golden(number)
    samples = int(case["num_samples"])
    loss = lt.losses.ISogCLRLoss(samples, **arguments, chunk_size=chunk_size)
    state = attached(loss, case["z"].shape[-1])
    last = len(case["z"]) - 1
    for index, (z, ids) in enumerate(zip(case["z"], case["ids"], strict=True)):
        if index == last:
            gradient = mean_gradient(state, ids, z)
            close_to_largest(gradient, case["last_grad"])
        losses = step(state, ids, z)
        close(losses.mean(), case["loss"][index])
        close(loss.temperatures(), case["temperatures"][index])
    close(losses, case["last_per_sample"])


@pytest.mark.every_backend
def test_a_golden_case_without_learning_is_sogclr():
    case, arguments = golden(1)
    assert arguments["eta"] == 0
    loss = lt.losses.SogCLRLoss(
        int(case["num_samples"]), arguments["temperature"], arguments["gamma"]
    )
    state = attached(loss, case["z"].shape[-1])
    for z, ids, expected in zip(
        case["z"], case["ids"], case["loss"], strict=True
    ):
        losses = step(state, ids, z)
        close(losses.mean(), expected)
    close(losses, case["last_per_sample"])


def replay(loss, memory, ids, z, **arguments):
    config = {**loss.get_config(), **arguments}
    names = ("temperature", *NAMES)
    return reference.isogclr(
        memory, ids, z, **{name: config[name] for name in names}
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_a_compiled_fit_equals_a_replay(chunk_size):
    """With samples out of distribution, and one that never comes."""
    random = np.random.default_rng(0)
    x = random.normal(size=(12, 2, 6)).astype("float32")
    ids = np.array([0, 1, -1, 3, 4, 5, 6, -1, 8, 9, 10, 11], "int32")
    loss = lt.losses.ISogCLRLoss(12, **SETTINGS, chunk_size=chunk_size)
    model = linear_model(loss)
    z = ops.convert_to_numpy(model(x))
    memory = {}
    for _ in range(3):
        expected, taus, stds = [], [], []
        for rows in np.split(np.arange(12), 3):
            tau = [memory.get(i, (0, 0, 0.2))[2] for i in ids[rows].tolist()]
            taus.append(np.mean(tau))
            stds.append(np.std(tau))
            losses, _ = replay(loss, memory, ids[rows].tolist(), z[rows])
            expected.append(losses.mean())
        logs = model.fit(x, ids, batch_size=4, shuffle=False, verbose=0).history
        close(logs["loss"], np.mean(expected), 1e-4)
        close(logs["temperature"], np.mean(taus), 1e-4)
        np.testing.assert_allclose(
            logs["temperature_std"], np.mean(stds), atol=1e-4
        )
    known = sorted(memory)
    assert known == [0, 1, 3, 4, 5, 6, 8, 9, 10, 11]
    close(
        rows_of(model.loss_state)[known], [memory[name] for name in known], 1e-4
    )
    tau = loss.temperatures()
    assert tau.shape == (12,)
    assert tau.dtype == "float32"
    close(tau[[2, 7]], 0.2)
    assert len(np.unique(tau)) > 6


@pytest.mark.every_backend
def test_a_compiled_step_moves_weights_by_the_oracle_s_gradient():
    x = np.random.default_rng(0).normal(size=(6, 2, 6)).astype("float32")
    ids = np.array([0, 1, 2, 3, 4, -1], "int32")
    loss = lt.losses.ISogCLRLoss(5, **SETTINGS)
    model, memory = linear_model(loss, rate=1.0), {}
    for _ in range(3):
        kernel = ops.convert_to_numpy(model.encoder.weights[0])
        z = x @ kernel
        _, weights = replay(loss, memory, ids.tolist(), z)
        to_z = reference.numerical_gradient(
            lambda z, weights=weights: reference.margins_at(z, weights), z
        )
        model.train_on_batch(x, ids)
        after = ops.convert_to_numpy(model.encoder.weights[0])
        expected = np.einsum("nvi,nvo->io", x, to_z)
        close_to_largest(kernel - after, expected, 1e-3)


@pytest.mark.parametrize("learns", [False, True])
def test_outside_training_values_are_a_step_s_and_nothing_moves(learns):
    make = lt.losses.ISogCLRLoss if learns else lt.losses.SogCLRLoss
    loss = make(8, temperature=0.3)
    state = attached(loss)
    step(state, [0, 1, 2, 3, 4, 5], projections())
    before = rows_of(state)
    ids, z = [2, 7, -1, 4, 0, 1], projections(seed=1)
    seen = step(state, ids, z, training=False)
    np.testing.assert_array_equal(rows_of(state), before)
    np.testing.assert_array_equal(step(state, ids, z), seen)
    assert (rows_of(state) != before).any()


@pytest.mark.every_backend
def test_evaluate_moves_no_memory():
    x = np.random.default_rng(0).normal(size=(8, 2, 6)).astype("float32")
    model = linear_model(lt.losses.ISogCLRLoss(8))
    model.fit(x, np.arange(8), batch_size=4, verbose=0)
    before = rows_of(model.loss_state)
    model.fit(
        x,
        np.arange(8),
        verbose=0,
        validation_data=(x + 1, -np.ones(8, "int32")),
    )
    after = rows_of(model.loss_state)
    assert (after != before).any()
    model.evaluate(x + 1, np.arange(8), verbose=0)
    np.testing.assert_array_equal(rows_of(model.loss_state), after)


@pytest.mark.parametrize("learns", [False, True])
def test_samples_out_of_distribution_meet_the_batch_alone(learns):
    make = lt.losses.ISogCLRLoss if learns else lt.losses.SogCLRLoss
    state, fresh = (attached(make(6, temperature=0.3)) for _ in range(2))
    for seed in range(3):
        step(state, np.arange(6), projections(seed=seed))
    before = rows_of(state)
    z = projections(seed=9)
    losses = step(state, -np.ones(6), z)
    np.testing.assert_array_equal(rows_of(state), before)
    # As samples do that nothing is known of.
    close(losses, step(fresh, np.arange(6), z))


@pytest.mark.every_backend
def test_of_a_repeated_id_the_last_sample_is_remembered():
    loss = lt.losses.ISogCLRLoss(4, **SETTINGS)
    state = attached(loss)
    memory = {}
    for seed in range(3):
        z, ids = projections(seed=seed), [3, 1, 3, 0, 1, 3]
        expected, _ = replay(loss, memory, ids, z)
        close(step(state, ids, z), expected, 1e-4)
    close(rows_of(state)[[0, 1, 3]], [memory[i] for i in (0, 1, 3)], 1e-4)


@pytest.mark.every_backend
def test_the_smallest_temperature_does_not_overflow():
    """exp(1/0.005) is beyond float32, and so is u of equal vectors."""
    z = projections(seed=2)
    z[:4] = 1
    arguments = {"temperature": 0.005, "minimum": 0.005, "rho": 0.1}
    loss = lt.losses.ISogCLRLoss(6, **arguments)
    state = attached(loss)
    memory = {}
    for _ in range(3):
        expected, weights = replay(loss, memory, list(range(6)), z)
        gradient = mean_gradient(state, np.arange(6), z)
        close(step(state, np.arange(6), z), expected, 1e-4)
        # Differences of numbers around 200, in float32.
        tau = [memory[i][2] for i in range(6)]
        np.testing.assert_allclose(loss.temperatures(), tau, atol=3e-5)
        close_to_largest(
            gradient,
            reference.numerical_gradient(
                lambda z, weights=weights: reference.margins_at(z, weights), z
            ),
            1e-3,
        )
    assert rows_of(state)[0, 0] > 89  # The log of float32's largest number.


def test_similarities_are_divided_by_no_less_than_the_floor():
    """Where all negatives are opposite, at a temperature of 0.05."""
    z = np.ones((2, 2, 5), "float32")
    z[1] = -1
    loss = lt.losses.SogCLRLoss(2, 0.05)
    state = attached(loss)
    losses = step(state, [0, 1], z)
    close(losses, -1 - np.exp(-20) / 1e-8)
    close(rows_of(state), -20)


def test_without_memory_it_is_the_decoupled_loss_times_temperature():
    """γ = 1: the gradient of τ log Σ_negatives exp(s/τ) - s_p."""
    z, tau = projections(), 0.3
    loss = lt.losses.SogCLRLoss(6, tau, gamma=1.0)
    state = attached(loss)
    step(state, np.arange(6), projections(seed=1))

    def decoupled(z):
        # As exp(l) = 1 + Σ_negatives exp(s/τ) / exp(s_p/τ).
        return tau * np.log(np.expm1(reference.nt_xent_anchors(z, tau)))

    close_to_largest(
        mean_gradient(state, np.arange(6), z),
        reference.numerical_gradient(decoupled, z),
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_a_single_sample_has_no_loss_and_leaves_no_trace(chunk_size):
    loss = lt.losses.ISogCLRLoss(6, chunk_size=chunk_size)
    state = attached(loss)
    step(state, np.arange(5), projections(5))
    before = rows_of(state)
    for name in (0, 5):
        assert step(state, [name], projections(1)) == 0
        assert (mean_gradient(state, [name], projections(1)) == 0).all()
    np.testing.assert_array_equal(rows_of(state), before)


def divergences(z, tau):
    """Returns how far the weights of negatives are from even, by sample."""
    _, weights = reference.isogclr(
        {i: (None, 0.0, t) for i, t in enumerate(tau)},
        list(range(len(z))),
        z,
        None,
        gamma=1,
    )
    return [
        np.mean(
            [
                sum(p * np.log(p * len(weights[i, view])) for p in ps)
                for view in range(2)
                for ps in [np.array(list(weights[i, view].values()))]
            ]
        )
        for i in range(len(z))
    ]


def test_temperatures_settle_where_the_divergence_is_rho():
    loss = lt.losses.ISogCLRLoss(6, 0.5, gamma=1, rho=0.3, eta=0.2)
    state = attached(loss)
    z = projections()
    for _ in range(60):
        step(state, np.arange(6), z)
    tau = loss.temperatures()
    assert tau.min() > 0.05
    assert tau.max() < 0.7
    np.testing.assert_allclose(divergences(z, tau), 0.3, atol=1e-3)


def test_samples_with_many_alike_learn_larger_temperatures():
    random = np.random.default_rng(0)
    centers = np.eye(16)[[0] * 6 + list(range(1, 11))]
    z = centers[:, None] + 0.05 * random.normal(size=(16, 2, 16))
    loss = lt.losses.ISogCLRLoss(16, 0.2, eta=0.1)
    state = attached(loss, 16)
    for _ in range(40):
        step(state, np.arange(16), z)
    tau = loss.temperatures()
    assert tau[:6].min() > 2 * tau[6:].max()


@pytest.mark.parametrize(("rho", "end"), [(0.0, 0.3), (5.0, 0.15)])
def test_temperatures_stay_in_their_range(rho, end):
    settings = {**SETTINGS, "rho": rho, "eta": 0.2}
    loss = lt.losses.ISogCLRLoss(6, **settings)
    state = attached(loss)
    for _ in range(20):
        step(state, np.arange(6), projections())
    close(loss.temperatures(), end)


@pytest.mark.every_backend
@pytest.mark.parametrize("chunk_size", [None, 4])
def test_keys_of_a_queue_take_the_place_of_the_batch(chunk_size):
    loss = lt.losses.ISogCLRLoss(6, **SETTINGS, chunk_size=chunk_size)
    state = attached(loss)
    keys = reference.unit(np.random.default_rng(1).normal(size=(4, 5)))

    def queue_of(keys):
        # A new one, since each step puts the keys of its batch into its queue.
        queue = lt.layers.KeyQueue(7)
        queue.build((None, 5))
        if len(keys):
            queue.enqueue(keys.astype("float32"), np.zeros(len(keys), bool))
        return queue

    # Empty at first: nothing to learn from.
    z, before = projections(), rows_of(state)
    assert (mean_gradient(state, np.arange(6), z, queue_of([])) == 0).all()
    assert (step(state, np.arange(6), z, queue=queue_of([])) == 0).all()
    np.testing.assert_array_equal(rows_of(state), before)
    memory = {}
    for seed in range(3):
        z, filled = projections(seed=seed), keys[: seed + 2]
        queue = queue_of(filled)
        gradient = mean_gradient(state, np.arange(6), z, queue)
        config = {name: SETTINGS[name] for name in ("temperature", *NAMES)}
        expected, weights = reference.isogclr(
            memory, list(range(6)), z, **config, keys=filled
        )
        close(step(state, np.arange(6), z, queue=queue), expected, 1e-4)
        close(loss.temperatures(), [memory[i][2] for i in range(6)], 1e-4)
        by_oracle = reference.numerical_gradient(
            lambda z, weights=weights, keys=filled: reference.margins_at(
                z, weights, keys
            ),
            z,
        )
        close_to_largest(gradient[:, 0], by_oracle[:, 0])
        assert (gradient[:, 1] == 0).all()  # Of the keys.


def test_inside_colt_its_term_is_added_at_the_first_temperature():
    base = lt.losses.ISogCLRLoss(6, **SETTINGS)
    loss = lt.losses.COLTLoss(base_loss=base, ood_weight=0.5, num_samples=6)
    state = attached(loss)
    ids, memory = [0, 1, -1, 3, -1, 5], {}
    for seed in range(2):
        z = projections(seed=seed)
        expected, _ = replay(base, memory, ids, z)
        supcon = reference.distribution_supcon(z, np.array(ids) < 0, 0.2)
        close(step(state, ids, z), expected + 0.5 * supcon, 1e-4)
    assert base.temperatures().shape == (6,)


@pytest.mark.every_backend
@pytest.mark.parametrize("learns", [False, True])
def test_a_saved_model_goes_on_bit_for_bit(learns, tmp_path):
    make = lt.losses.ISogCLRLoss if learns else lt.losses.SogCLRLoss
    x = np.random.default_rng(0).normal(size=(12, 2, 6)).astype("float32")
    ids = np.arange(12)
    data = {"batch_size": 4, "shuffle": False, "verbose": 0}
    model = linear_model(make(12), rate=0.1)
    model.fit(x, ids, **data)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, again):
        each.fit(x, ids, initial_epoch=1, epochs=3, **data)
    np.testing.assert_array_equal(
        rows_of(again.loss_state), rows_of(model.loss_state)
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again.encoder.weights[0]),
        ops.convert_to_numpy(model.encoder.weights[0]),
    )
    fresh = linear_model(make(12), rate=0.1)
    fresh.fit(x, ids, epochs=2, **data)
    assert (rows_of(fresh.loss_state) != rows_of(model.loss_state)).any()


@pytest.mark.every_backend
def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 2, 6)).astype("float32")
    data = {"x": x, "y": np.arange(12), "batch_size": 4, "shuffle": False}
    runs = []
    for name, stops in (("one", [4]), ("two", [2, 4])):
        for epochs in stops:  # Each in a process of its own, as it were.
            model = linear_model(lt.losses.ISogCLRLoss(12), rate=0.1)
            model.build((None, 2, 6))
            checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path / name)
            start = checkpoint.restore(model)
            model.fit(
                **data,
                initial_epoch=start,
                epochs=epochs,
                callbacks=[checkpoint],
                verbose=0,
            )
        assert start == (0 if name == "one" else 2)
        runs.append([rows_of(model.loss_state), *model.encoder.get_weights()])
    for one, two in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.every_backend
@pytest.mark.parametrize("learns", [False, True])
def test_mixed_precision_learns_nearly_the_same(learns):
    make = lt.losses.ISogCLRLoss if learns else lt.losses.SogCLRLoss
    x = np.random.default_rng(0).normal(size=(16, 2, 6)).astype("float32")
    rows = []
    for dtype in (None, "mixed_bfloat16"):
        model = linear_model(make(16), rate=0.1, dtype=dtype)
        history = model.fit(
            x, np.arange(16), batch_size=8, epochs=3, shuffle=False, verbose=0
        ).history
        assert np.isfinite(history["loss"]).all()
        rows.append(rows_of(model.loss_state))
    assert (rows[0] != rows[1]).any()
    np.testing.assert_allclose(rows[0], rows[1], rtol=0.05, atol=0.05)


@pytest.mark.every_backend
def test_training_lowers_the_loss():
    x = np.random.default_rng(0).normal(size=(16, 1, 6))
    x = np.repeat(x, 2, axis=1) + np.random.default_rng(1).normal(
        size=(16, 2, 6)
    )
    for loss in (lt.losses.SogCLRLoss(16), lt.losses.ISogCLRLoss(16)):
        model = linear_model(loss, rate=0.5)
        history = model.fit(
            x.astype("float32"),
            np.arange(16),
            batch_size=8,
            epochs=8,
            verbose=0,
        ).history["loss"]
        assert history[-1] < history[0] - 0.1


def test_a_driven_temperature_is_that_of_every_sample_of_sogclr():
    loss = lt.losses.SogCLRLoss(6, 0.5, gamma=1.0)
    state = attached(loss)
    state.temperature.assign(0.2)
    z = projections()
    expected, _ = reference.isogclr({}, list(range(6)), z, 0.2, gamma=1.0)
    close(step(state, np.arange(6), z), expected)


def test_a_driven_temperature_is_the_first_one_of_isogclr():
    loss = lt.losses.ISogCLRLoss(6, 0.5)
    state = attached(loss)
    step(state, [0, 1, 2], projections(3))
    learned = loss.temperatures()[:3]
    state.temperature.assign(0.2)
    np.testing.assert_array_equal(loss.temperatures()[:3], learned)
    close(loss.temperatures()[3:], 0.2)


def test_temperatures_are_the_first_one_before_training():
    loss = lt.losses.ISogCLRLoss(3, 0.4)
    with pytest.raises(ValueError, match="only as a part of a model"):
        loss.temperatures()
    model = linear_model(loss)
    assert loss.temperatures().tolist() == np.full(3, 0.4, "float32").tolist()
    assert model.loss is loss


@pytest.mark.parametrize(
    "loss",
    [
        lt.losses.SogCLRLoss(
            5, lt.schedules.CosineTemperature(period=7), 0.5, 4, name="a"
        ),
        lt.losses.ISogCLRLoss(5, **SETTINGS, chunk_size=3, reduction="sum"),
    ],
    ids=["SogCLR", "iSogCLR"],
)
def test_serialization_keeps_the_configuration(loss):
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_wrong_use_is_refused():
    loss = lt.losses.ISogCLRLoss(8)
    with pytest.raises(ValueError, match="needs sample ids"):
        loss(None, projections(8))
    with pytest.raises(ValueError, match="has to be part of the model"):
        loss(np.arange(8), projections(8))
    model = linear_model(loss)
    views = np.zeros((9, 2, 6), "float32")
    with pytest.raises(ValueError, match="id 8, num_samples=8"):
        model.fit(views, np.arange(9), verbose=0)
    with pytest.raises(ValueError, match="needs sample ids"):
        model.fit(views, verbose=0)


def test_a_first_temperature_out_of_its_range_is_refused():
    with pytest.raises(ValueError, match=r"`temperature` must .* <= 0\.7"):
        lt.losses.ISogCLRLoss(8, temperature=0.8)
    with pytest.raises(ValueError, match="`temperature` must be a number: iS"):
        lt.losses.ISogCLRLoss(8, lt.schedules.CosineTemperature())
