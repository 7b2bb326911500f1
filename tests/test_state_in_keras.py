"""DESIGN's facts about state: nothing a loss reads is silently frozen.

The tests hold on every backend and pin what JAX, which threads only the
variables of the model through a compiled step, makes hard.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference

pytestmark = pytest.mark.every_backend


def views(batch=16, dim=6, seed=0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim))
    return z.astype("float32")


def plain_model(loss, with_state=True, steps_per_epoch=None):
    """A functional model whose projections are its input: nothing to learn."""
    inputs = keras.Input((2, 6))
    outputs = keras.layers.Dense(
        6, kernel_initializer="identity", use_bias=False
    )(inputs)
    if with_state:
        outputs = lt.layers.LossState(loss, steps_per_epoch)(outputs)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    return model


def contrastive_model(loss, with_state=True, steps_per_epoch=None):
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


MODELS = pytest.mark.parametrize("make", [plain_model, contrastive_model])


class BatchLosses(keras.callbacks.Callback):
    """Notes the loss of every single batch."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        # The logged loss is the mean over the epoch so far.
        total = logs["loss"] * (batch + 1)
        before = sum(self.losses[len(self.losses) - batch :]) if batch else 0.0
        self.losses.append(total - before)


@MODELS
@pytest.mark.parametrize("frequency", ["epoch", "batch"])
def test_a_driven_temperature_is_seen_by_the_very_next_step(make, frequency):
    schedule = lt.schedules.TriangularTemperature(0.1, 0.9, period=3)
    model = make(lt.losses.NTXentLoss(0.5))
    x, seen = views(), BatchLosses()
    history = model.fit(
        x,
        np.arange(16),
        batch_size=8,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[
            lt.callbacks.TemperatureScheduler(schedule, frequency),
            seen,
        ],
    ).history
    step = 0.5 if frequency == "batch" else 0.0
    expected, temperatures = [], []
    for epoch in range(3):
        pair = [schedule(epoch), schedule(epoch + step)]
        temperatures.append(np.mean(pair))
        for temperature, part in zip(pair, (x[:8], x[8:]), strict=True):
            expected.append(reference.nt_xent(part, temperature).mean())
    np.testing.assert_allclose(seen.losses, expected, rtol=2e-5)
    np.testing.assert_allclose(history["temperature"], temperatures, rtol=1e-5)


@MODELS
def test_a_schedule_in_the_loss_advances_inside_the_graph(make):
    schedule = lt.schedules.LinearTemperature(0.9, 0.1, period=3)
    model = make(lt.losses.NTXentLoss(schedule), steps_per_epoch=2)
    x, seen = views(), BatchLosses()
    model.fit(
        x,
        np.arange(16),
        batch_size=8,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[seen],
    )
    expected = [
        reference.nt_xent(
            x[:8] if i % 2 == 0 else x[8:], schedule(i / 2)
        ).mean()
        for i in range(6)
    ]
    np.testing.assert_allclose(seen.losses, expected, rtol=2e-5)


@MODELS
def test_prototypes_moved_in_the_graph_equal_a_replay(make):
    loss = lt.losses.TASELoss(num_prototypes=3, momentum=0.8)
    model = make(loss)
    x = views()
    model.fit(
        x, np.arange(16), batch_size=8, epochs=3, shuffle=False, verbose=0
    )
    units = reference.unit(reference.unit(x).sum(axis=1))
    vectors, shares = np.zeros((3, 6)), np.zeros(3)
    for step in range(6):
        batch = units[:8] if step % 2 == 0 else units[8:]
        vectors, shares = reference.prototype_update(
            vectors, shares, batch, 0.8, 0.1
        )
    prototypes = model.loss.get_state().parts["prototypes"]
    np.testing.assert_allclose(
        ops.convert_to_numpy(prototypes.vectors), vectors, atol=1e-5
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(prototypes.shares), shares, atol=1e-6
    )
    assert int(model.loss.get_state().step) == 6


@pytest.mark.parametrize(
    "loss",
    [
        lt.losses.TASELoss(),
        lt.losses.NTXentLoss(lt.schedules.CosineTemperature()),
    ],
    ids=["prototypes", "schedule"],
)
def test_a_plain_model_without_state_is_told_what_to_add(loss):
    model = plain_model(loss.copy(), with_state=False)
    with pytest.raises(ValueError, match=r"LossState\(loss\)\(outputs\)"):
        model.fit(views(), np.arange(16), verbose=0)


def test_a_driven_temperature_without_state_is_told_what_to_add():
    model = plain_model(lt.losses.NTXentLoss(), with_state=False)
    scheduler = lt.callbacks.TemperatureScheduler(
        lt.schedules.CosineTemperature()
    )
    with pytest.raises(ValueError, match=r"LossState\(loss\)\(outputs\)"):
        model.fit(views(), np.arange(16), verbose=0, callbacks=[scheduler])


def test_a_state_that_the_model_never_calls_is_refused():
    loss = lt.losses.TASELoss(num_prototypes=3)
    state = lt.layers.LossState(loss)
    model = plain_model(loss, with_state=False)
    with pytest.raises(ValueError, match="not part of the model"):
        model.fit(views(), np.arange(16), verbose=0)
    del state


@pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="only JAX freezes variables outside of the model",
)
def test_a_state_of_another_model_is_refused_where_it_would_freeze():
    loss = lt.losses.TASELoss(num_prototypes=3)
    owner = plain_model(loss)
    owner.fit(views(), np.arange(16), verbose=0)
    model = plain_model(loss, with_state=False)
    with pytest.raises(ValueError, match="would stay frozen"):
        model.fit(views(), np.arange(16), verbose=0)


def test_a_schedule_in_a_plain_model_must_know_its_epochs():
    loss = lt.losses.NTXentLoss(lt.schedules.CosineTemperature())
    with pytest.raises(ValueError, match="how many steps an epoch has"):
        plain_model(loss).fit(views(), np.arange(16), verbose=0)


def test_a_loss_cannot_belong_to_two_states():
    loss = lt.losses.TASELoss(num_prototypes=3)
    state = lt.layers.LossState(loss)
    with pytest.raises(ValueError, match="already belongs to another model"):
        lt.layers.LossState(loss)
    assert loss.get_state() is state


def test_a_scheduler_and_a_schedule_do_not_fight():
    loss = lt.losses.NTXentLoss(lt.schedules.CosineTemperature())
    model = contrastive_model(loss)
    scheduler = lt.callbacks.TemperatureScheduler(
        lt.schedules.CosineTemperature()
    )
    with pytest.raises(ValueError, match="already has a schedule"):
        model.fit(views(), verbose=0, callbacks=[scheduler])


def test_a_scheduler_refuses_foreign_losses_and_unknown_frequencies():
    scheduler = lt.callbacks.TemperatureScheduler(
        lt.schedules.CosineTemperature()
    )
    inputs = keras.Input((2, 6))
    model = keras.Model(inputs, keras.layers.Dense(6)(inputs))
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="needs a loss of keras_ltssl"):
        model.fit(views(), views(), verbose=0, callbacks=[scheduler])
    with pytest.raises(ValueError, match="'epoch', 'batch'"):
        lt.callbacks.TemperatureScheduler(
            lt.schedules.CosineTemperature(), frequency="step"
        )
    with pytest.raises(ValueError, match="`schedule` must be"):
        lt.callbacks.TemperatureScheduler(0.2)


def test_a_plain_model_saves_and_goes_on_with_its_state(tmp_path):
    path = tmp_path / "plain.keras"
    model = plain_model(lt.losses.TASELoss(num_prototypes=3, warmup_steps=2))
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(views(), np.arange(16), epochs=2, **arguments)
    model.save(path)
    again = keras.models.load_model(path)
    assert again.loss.get_state() is again.layers[-1]
    assert int(again.loss.get_state().step) == 4
    one = model.fit(views(seed=2), np.arange(16), **arguments).history
    two = again.fit(views(seed=2), np.arange(16), **arguments).history
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
    third = keras.models.load_model(path)
    assert third.loss is not again.loss
    assert int(third.loss.get_state().step) == 4


class Unjitted(keras.layers.Layer):
    """The identity, of a kind that Keras does not compile."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_jit = False

    def call(self, x):
        return x


def unjitted_model(loss, **kwargs):
    model = lt.models.ContrastiveModel(
        keras.Sequential([keras.Input((6,)), Unjitted()]),
        projector=keras.layers.Dense(6, kernel_initializer="identity"),
    )
    model.compile(keras.optimizers.SGD(0.1), loss=loss, **kwargs)
    return model


def scheduled_tase():
    schedule = lt.schedules.LinearTemperature(0.9, 0.1, period=3)
    return lt.losses.TASELoss(schedule, num_prototypes=3, warmup_steps=2)


def histories_of(make, modes):
    for mode in modes:
        keras.utils.set_random_seed(0)
        model = make(scheduled_tase(), steps_per_epoch=2)
        model.compile(keras.optimizers.SGD(0.1), loss=model.loss, **mode)
        yield model.fit(
            views(),
            np.arange(16),
            batch_size=8,
            epochs=3,
            shuffle=False,
            verbose=0,
        ).history


@MODELS
def test_training_without_jit_is_the_training_with_it(make):
    modes = ({}, {"jit_compile": False}, {"run_eagerly": True})
    first, *others = histories_of(make, modes)
    assert first["temperature"][0] > first["temperature"][2]
    for other in others:
        assert sorted(other) == sorted(first)
        for name, values in first.items():
            np.testing.assert_allclose(other[name], values, rtol=1e-5)


def test_a_layer_that_is_never_jitted_trains_like_any_other():
    histories = []
    for make in (contrastive_model, unjitted_model):
        model = make(scheduled_tase())
        model.compile(keras.optimizers.SGD(0.0), loss=model.loss)
        histories.append(
            model.fit(
                views(), batch_size=8, epochs=3, shuffle=False, verbose=0
            ).history
        )
        assert int(model.loss_state.step) == 6
    assert histories[1]["temperature"] == pytest.approx(
        histories[0]["temperature"], rel=1e-5
    )


@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}])
@pytest.mark.parametrize("was_used", [False, True], ids=["new", "used"])
def test_a_copied_model_with_the_loss_of_the_first_is_refused(mode, was_used):
    loss = lt.losses.TASELoss(num_prototypes=3)
    first = plain_model(loss)
    if was_used:
        first.fit(views(), np.arange(16), verbose=0)
        first.predict(views(), verbose=0)
    before = [ops.convert_to_numpy(weight) for weight in first.weights]
    copied = keras.models.clone_model(first)
    copied.compile("sgd", loss=loss, **mode)
    with pytest.raises(ValueError, match=r"copy.get_layer\('loss_state"):
        copied.fit(views(), np.arange(16), epochs=2, verbose=0)
    for old, new in zip(before, first.weights, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))


def test_a_copied_model_trains_with_the_loss_of_its_own_state():
    first = plain_model(lt.losses.TASELoss(num_prototypes=3))
    copied = keras.models.clone_model(first)
    copied.compile("sgd", loss=copied.layers[-1].loss)
    copied.fit(views(), np.arange(16), batch_size=8, verbose=0)
    assert int(copied.layers[-1].step) == 2
    assert int(first.layers[-1].step) == 0


def test_a_second_model_without_the_state_of_its_loss_is_refused():
    loss = lt.losses.NTXentLoss()
    first = plain_model(loss)
    first.fit(views(), np.arange(16), verbose=0)
    first.predict(views(), verbose=0)
    second = plain_model(loss, with_state=False)
    with pytest.raises(ValueError, match="would stay frozen"):
        second.fit(views(), np.arange(16), batch_size=8, verbose=0)
    assert int(loss.get_state().step) == 1


@MODELS
def test_a_temperature_set_after_compile_holds_at_the_next_step(make):
    model = make(lt.losses.NTXentLoss(0.2))
    fit = {"batch_size": 16, "verbose": 0}
    model.fit(views(), np.arange(16), **fit)
    model.loss.temperature = 0.9
    logs = model.fit(views(), np.arange(16), **fit).history
    assert logs["temperature"] == pytest.approx([0.9])
    expected = reference.nt_xent(views(), 0.9).mean()
    assert logs["loss"] == pytest.approx([expected], rel=1e-5)
    assert model.loss.get_config()["temperature"] == 0.9


def test_a_wrapped_temperature_set_after_compile_is_that_of_the_inner_loss():
    model = contrastive_model(lt.losses.COLTLoss())
    model.loss.temperature = 0.7
    assert model.loss.base_loss.temperature == 0.7
    logs = model.fit(views(), np.arange(16), verbose=0).history
    assert logs["temperature"] == pytest.approx([0.7])


def test_what_a_compiled_step_would_ignore_cannot_be_set():
    schedule = lt.schedules.CosineTemperature()
    model = contrastive_model(lt.losses.FocalNTXentLoss(0.2))
    with pytest.raises(ValueError, match="`gamma` cannot be set after"):
        model.loss.gamma = 1.0
    with pytest.raises(ValueError, match="Compile the model with a new loss"):
        model.loss.temperature = schedule
    with pytest.raises(ValueError, match="`temperature` must be"):
        model.loss.temperature = -1.0
    assert model.loss.temperature == 0.2
    scheduled = contrastive_model(lt.losses.NTXentLoss(schedule))
    with pytest.raises(ValueError, match="Compile the model with a new loss"):
        scheduled.loss.temperature = 0.3
    with pytest.raises(ValueError, match="has no temperature to set"):
        lt.losses.BYOLLoss().temperature = 0.3
    free = lt.losses.FocalNTXentLoss(0.2)
    free.gamma, free.temperature = 1.0, schedule
    assert free.get_config()["gamma"] == 1.0


def test_a_schedule_in_the_loss_follows_the_epoch_of_fit():
    schedule = lt.schedules.LinearTemperature(1.0, 0.1, period=10)
    fit = {"batch_size": 16, "verbose": 0, "initial_epoch": 5, "epochs": 7}
    inside = contrastive_model(lt.losses.NTXentLoss(schedule))
    outside = contrastive_model(lt.losses.NTXentLoss(0.5))
    scheduler = lt.callbacks.TemperatureScheduler(schedule)
    one = inside.fit(views(), **fit).history
    two = outside.fit(views(), callbacks=[scheduler], **fit).history
    assert one["temperature"] == pytest.approx([0.55, 0.46])
    assert two["temperature"] == pytest.approx(one["temperature"])


def test_a_plain_model_is_told_its_epoch():
    schedule = lt.schedules.LinearTemperature(1.0, 0.1, period=10)
    model = plain_model(lt.losses.NTXentLoss(schedule), steps_per_epoch=1)
    model.layers[-1].set_epoch(5)
    fit = {"initial_epoch": 5, "epochs": 7, "verbose": 0}
    logs = model.fit(views(), np.arange(16), **fit).history
    assert logs["temperature"] == pytest.approx([0.55, 0.46])


def test_schedules_that_go_back_are_warned_of():
    schedule = lt.schedules.LinearTemperature(1.0, 0.1, period=10)
    model = contrastive_model(lt.losses.NTXentLoss(schedule))
    model.fit(views(), epochs=2, verbose=0)
    with pytest.warns(UserWarning, match="pass `initial_epoch=2`"):
        logs = model.fit(views(), verbose=0).history
    assert logs["temperature"] == pytest.approx([1.0])


@pytest.mark.parametrize(
    "loss",
    [
        lt.losses.NTXentLoss(0.3),
        lt.losses.TASELoss(lt.schedules.CosineTemperature()),
        lt.losses.COLTLoss(num_samples=16),
        lt.losses.BoostedLoss(lt.losses.COLTLoss(), num_samples=16),
        lt.losses.ConMixLoss(lt.losses.NTXentLoss(0.3), num_tags=4),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_config_is_the_same_before_and_after_compile(loss):
    before = loss.get_config()
    state = lt.layers.LossState(loss)
    assert loss.get_state() is state
    assert loss.get_config() == before
    again = type(loss)(**loss.get_config())
    assert again.get_config() == before
    assert again.get_state() is None


def test_a_prior_needs_its_callback_in_each_fit():
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise RuntimeError("stopped")

    loss = lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(), num_targets=4, warmup_epochs=0
    )
    model = contrastive_model(loss)
    estimation = lt.callbacks.PriorEstimation()
    with pytest.raises(RuntimeError, match="stopped"):
        model.fit(views(), verbose=0, callbacks=[estimation, Stop()])
    with pytest.raises(ValueError, match="PriorEstimation"):
        model.fit(views(), verbose=0)


def test_two_states_of_one_name_are_refused():
    class Second(lt.losses.WrappingLoss):
        def own_layers(self):
            return {"prototypes": lt.layers.Prototypes(3)}

    loss = Second(lt.losses.TASELoss(num_prototypes=3))
    with pytest.raises(ValueError, match=r"both use \['prototypes'\]"):
        contrastive_model(loss)


@pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="only JAX freezes variables outside of the model",
)
@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}])
def test_a_state_that_is_hidden_from_the_model_is_refused(mode):
    loss = lt.losses.NTXentLoss()
    state = lt.layers.LossState(loss)
    hidden = keras.layers.Lambda(lambda z: state(z, training=True))
    inputs = keras.Input((2, 6))
    model = keras.Model(inputs, hidden(keras.layers.Dense(6)(inputs)))
    model.compile("sgd", loss=loss, **mode)
    with pytest.raises(ValueError, match="would stay frozen"):
        model.fit(views(), np.arange(16), verbose=0)
