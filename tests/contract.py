"""What of Keras' ways to train works; prints the table of the documentation.

python tests/contract.py
"""

import contextlib
import copy
import dataclasses
import functools
import json
import pathlib
import pickle
import subprocess
import sys
import unittest.mock
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference

PLAIN, CONTRASTIVE = "`keras.Model`", "`ContrastiveModel`"
KINDS = (PLAIN, CONTRASTIVE)
BACKENDS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}

EPOCHS, STEPS, BATCH = 3, 2, 8
VIEWS = np.random.default_rng(0).normal(size=(16, 2, 6)).astype("float32")
IDS = np.arange(16)
SCHEDULE = lt.schedules.LinearTemperature(0.9, 0.3, period=4)


# What the rows train.


def scheduled():
    """A loss that must know the epoch."""
    return lt.losses.NTXentLoss(SCHEDULE)


def fixed():
    """A loss without a schedule."""
    return lt.losses.NTXentLoss(0.5)


def tase():
    """A loss that must know the epoch, and remembers prototypes and shares."""
    return lt.losses.TASELoss(SCHEDULE, num_prototypes=3, warmup_steps=1)


class Maker:
    """Makes small models of one kind, all with the same first weights."""

    def __init__(self, kind):
        self.kind = kind
        self.is_plain = kind == PLAIN
        self.made = []

    def __call__(
        self,
        loss=scheduled,
        momentum=0.0,
        optimizer=None,
        prepare=None,
        extra=(),
        steps_per_epoch=STEPS,
        **arguments,
    ):
        keras.utils.set_random_seed(1)
        loss = loss()
        encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5)])
        projector = keras.layers.Dense(4)
        for layer in extra:
            encoder.add(layer)
        if self.is_plain:
            inputs = keras.Input((2, 6))
            outputs = keras.layers.TimeDistributed(encoder)(inputs)
            outputs = projector(outputs)
            state = lt.layers.LossState(loss, steps_per_epoch)
            model = keras.Model(inputs, state(outputs))
        else:
            model = lt.models.ContrastiveModel(encoder, projector)
        if prepare is not None:
            prepare(encoder)
        model.compile(
            optimizer or keras.optimizers.SGD(0.1, momentum=momentum),
            loss=loss,
            **arguments,
        )
        return self.built(model, (None, 2, 6))

    def of_images(self):
        """A model of images of 8 x 8, in plain `keras.Model` of two each."""
        keras.utils.set_random_seed(1)
        loss = fixed()
        layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
        layers += [keras.layers.Dense(5)]
        encoder = keras.Sequential([keras.Input((8, 8, 3)), *layers])
        if self.is_plain:
            inputs = keras.Input((2, 8, 8, 3))
            outputs = keras.layers.TimeDistributed(encoder)(inputs)
            model = keras.Model(inputs, lt.layers.LossState(loss)(outputs))
        else:
            model = lt.models.ContrastiveModel(
                encoder,
                keras.layers.Identity(),
                lt.layers.TwoViews(keras.layers.Identity()),
            )
        model.compile(keras.optimizers.SGD(0.1), loss=loss)
        return self.built(model, (None, 8, 8, 3))

    def built(self, model, shape):
        if not model.built:
            model.build(shape)
        self.made.append((model, weights(model)))
        return model


def state_of(model):
    return model.loss.get_state()


def step_of(model):
    return int(ops.convert_to_numpy(state_of(model).step))


def weights(model):
    """Returns all weights, but how the state counts the epochs of Keras."""
    return [
        np.array(ops.convert_to_numpy(weight))
        for weight in model.weights
        if weight.name
        not in ("steps_per_epoch", "earlier_epochs", "first_step")
    ]


def trained_weights(model):
    return [
        np.array(ops.convert_to_numpy(weight))
        for weight in model.trainable_weights
    ]


def train(model, epochs=EPOCHS, **arguments):
    if "x" not in arguments:
        arguments = {"x": VIEWS, "y": IDS, "batch_size": BATCH, **arguments}
    return model.fit(
        epochs=epochs, shuffle=False, verbose=0, **arguments
    ).history


class Snapshots(keras.callbacks.Callback):
    """Keeps the weights at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_epoch_end(self, epoch, logs=None):
        self.kept.append(weights(self.model))


@dataclasses.dataclass
class Run:
    """What a run with nothing but defaults has logged and learned."""

    logs: dict[str, list[float]]
    weights: list[list[np.ndarray]]
    steps: int


@functools.cache
def default_run(kind, loss=scheduled, momentum=0.0):
    model, snapshots = Maker(kind)(loss, momentum), Snapshots()
    logs = train(model, callbacks=[snapshots])
    return Run(logs, snapshots.kept, step_of(model))


def check_same(ones, others, tolerance=1e-4):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(
            one, other, rtol=tolerance, atol=tolerance / 10
        )


def check_as_default(
    make, model, logs, loss=scheduled, momentum=0.0, start=0, tolerance=1e-4
):
    """Asserts that a run has logged and learned what the default run has.

    Args:
        start: The epoch with which `logs` begins.
    """
    expected = default_run(make.kind, loss, momentum)
    assert set(expected.logs) <= set(logs)
    for name, values in expected.logs.items():
        if name == "contrastive_accuracy" and tolerance > 1e-4:
            # A share of 16 samples: rounding may turn one of them.
            np.testing.assert_allclose(logs[name], values[start:], atol=0.07)
            continue
        check_same([logs[name]], [values[start:]], tolerance)
    check_same(weights(model), expected.weights[-1], tolerance)


def check_goes_on(make, model, loss=scheduled, momentum=0.0):
    """Asserts that a model of one epoch trains on as the default run does."""
    check_same(
        weights(model), default_run(make.kind, loss, momentum).weights[0]
    )
    logs = train(model, initial_epoch=1)
    check_as_default(make, model, logs, loss, momentum, start=1)


# The rows.


@dataclasses.dataclass
class Refused:
    """A cell that does not train.

    Attributes:
        says: Begin or part of the error's message.
        error: Its type.
        by_keras: Whether Keras raises it, of any model.
        at_once: Whether no step is trained before.
    """

    says: str
    error: type[Exception] = ValueError
    by_keras: bool = False
    at_once: bool = True


@dataclasses.dataclass
class Row:
    """One of Keras' ways to train.

    Attributes:
        title: What the table calls it.
        run: Called with a `Maker` and an empty folder; asserts what holds, or
            does what is refused. `None` where another test does.
        refused: By kind and backend.
        notes: What there is to know, by kind, or by kind and backend.
    """

    title: str
    run: Callable[..., None] | None
    refused: dict[tuple[str, str], Refused]
    notes: dict[Any, str]

    def note(self, kind, backend):
        refused = self.refused.get((kind, backend))
        text = self.notes.get((kind, backend), self.notes.get(kind))
        if refused is None:
            return text
        who = "Keras refuses it" if refused.by_keras else "Refused"
        sentence = f"{who}: “{refused.says}”."
        return sentence if text is None else f"{sentence} {text}"


ROWS: list[Row] = []


def row(title, refused=None, notes=None):
    def add(run):
        ROWS.append(Row(title, run, refused or {}, notes or {}))
        return run

    return add


def everywhere(kind, refused):
    return {(kind, backend): refused for backend in BACKENDS}


def on(backend, refused):
    return {(kind, backend): refused for kind in KINDS}


@row("`compile` as it is, `jit_compile='auto'`")
def defaults(make, tmp_path):
    run = default_run(make.kind)
    expected = [
        np.mean([SCHEDULE(epoch), SCHEDULE(epoch + 0.5)])
        for epoch in range(EPOCHS)
    ]
    check_same([run.logs["temperature"]], [expected])
    assert run.steps == EPOCHS * STEPS


@row(
    "`jit_compile=True`",
    notes={
        (kind, "torch"): (
            "With dense layers. PyTorch compiles for minutes on processors. "
            "With convolutions it fails in a `keras.Model`, and a "
            "`ContrastiveModel` compiles its loss alone: see "
            "[Speed and memory](speed_and_memory.md)."
        )
        for kind in KINDS
    },
)
def jit(make, tmp_path):
    model = make(jit_compile=True)
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "torch":
            import torch

            # The same graph, without the minutes that its compiler takes.
            eager = functools.partial(torch.compile, backend="eager")
            stack.enter_context(
                unittest.mock.patch.object(torch, "compile", eager)
            )
        losses, run = train(model, 1)["loss"], default_run(make.kind)
    check_same(losses, run.logs["loss"][:1])
    check_same(weights(model), run.weights[0])


@row("`jit_compile=False`")
def no_jit(make, tmp_path):
    model = make(jit_compile=False)
    check_as_default(make, model, train(model))


@row("`run_eagerly=True`")
def eager(make, tmp_path):
    model = make(run_eagerly=True)
    check_as_default(make, model, train(model))


class WithoutJit(keras.layers.Layer):
    """A layer that Keras must not compile."""

    def __init__(self):
        super().__init__()
        self.supports_jit = False

    def call(self, x):
        return x


@row("A layer with `supports_jit=False`")
def without_jit(make, tmp_path):
    model = make(extra=[WithoutJit()])
    check_as_default(make, model, train(model))


@row(
    "`steps_per_execution=2`",
    refused=on(
        "torch",
        Refused("`steps_per_execution` must be 1 with the PyTorch", by_keras=1),
    ),
)
def several_steps(make, tmp_path):
    model = make(steps_per_execution=2)
    check_as_default(make, model, train(model))


@row(
    "`train_on_batch`",
    notes={
        CONTRASTIVE: (
            "A schedule in the loss needs "
            "`model.loss_state.set_steps_per_epoch(...)` first, and is refused "
            "without."
        )
    },
)
def one_batch(make, tmp_path):
    model = make()
    if not make.is_plain:
        with pytest.raises(ValueError, match="how many steps an epoch has"):
            model.train_on_batch(VIEWS[:BATCH], IDS[:BATCH])
        assert step_of(model) == 0
        model = make()
        model.loss_state.set_steps_per_epoch(STEPS)
    for _ in range(EPOCHS):
        for start in (0, BATCH):
            rows = slice(start, start + BATCH)
            logs = model.train_on_batch(
                VIEWS[rows], IDS[rows], return_dict=True
            )
    assert {"loss", "temperature"} <= set(logs)
    expected = default_run(make.kind).weights[-1]
    check_same(weights(model), expected)


@row(
    "`fit` twice",
    notes={
        PLAIN: "A schedule in the loss goes on where it was.",
        CONTRASTIVE: (
            "A schedule in the loss follows Keras' epoch, which begins again "
            "at 0; a warning says so, and to pass `initial_epoch`."
        ),
    },
)
def fit_twice(make, tmp_path):
    model, run = make(fixed), default_run(make.kind, fixed)
    losses = train(model, epochs=1)["loss"] + train(model, epochs=2)["loss"]
    check_same([losses], [run.logs["loss"]])
    check_same(weights(model), run.weights[-1])
    model = make()
    train(model, epochs=1)
    if make.is_plain:
        temperatures = train(model, epochs=2)["temperature"]
        expected = default_run(make.kind).logs["temperature"][1:]
    else:
        with pytest.warns(UserWarning, match="pass `initial_epoch=1`"):
            temperatures = train(model, epochs=2)["temperature"]
        expected = default_run(make.kind).logs["temperature"][:2]
    check_same([temperatures], [expected])


@row("`fit` with another batch size")
def other_batch_size(make, tmp_path):
    model, other = make(fixed), make(fixed)
    train(model, epochs=1)
    train(model, epochs=1, batch_size=6)
    for start, end in ((0, 8), (8, 16), (0, 6), (6, 12), (12, 16)):
        other.train_on_batch(VIEWS[start:end], IDS[start:end])
    check_same(weights(model), weights(other))
    assert step_of(model) == 5


@row(
    "`fit(initial_epoch=...)`",
    notes={
        PLAIN: (
            "A schedule in the loss counts its own steps: to begin in epoch "
            "5, call `model.loss.get_state().set_epoch(5)` before."
        )
    },
)
def initial_epoch(make, tmp_path):
    model = make()
    train(model, epochs=1)
    check_goes_on(make, model)
    model = make()
    if make.is_plain:
        state_of(model).set_epoch(2)
    temperatures = train(model, initial_epoch=2)["temperature"]
    check_same([temperatures], [[SCHEDULE(2.25)]])


@row(
    "`fit(steps_per_epoch=...)`",
    notes={
        PLAIN: (
            "A schedule in the loss is told by "
            "`LossState(loss, steps_per_epoch=...)`."
        )
    },
)
def steps_per_epoch(make, tmp_path):
    model = make(steps_per_epoch=1)
    logs = train(model, epochs=2, steps_per_epoch=1)
    check_same([logs["temperature"]], [[SCHEDULE(0), SCHEDULE(1)]])
    assert step_of(model) == 2


@row("`validation_data`")
def validation(make, tmp_path):
    model = make(tase)
    logs = train(model, validation_data=(VIEWS[:4], IDS[:4]))
    check_as_default(make, model, logs, tase)
    again = model.evaluate(VIEWS[:4], IDS[:4], verbose=0, return_dict=True)
    for name, value in again.items():
        check_same([logs[f"val_{name}"][-1]], [value])
    assert step_of(model) == EPOCHS * STEPS


@row("`sample_weight`")
def sample_weight(make, tmp_path):
    model = make(fixed)
    z = ops.convert_to_numpy(model(VIEWS[:BATCH]))
    sample_weight = np.arange(BATCH, dtype="float32")
    logs = train(
        model,
        1,
        x=VIEWS[:BATCH],
        y=IDS[:BATCH],
        sample_weight=sample_weight,
        batch_size=BATCH,
    )
    expected = np.mean(sample_weight * reference.nt_xent(z, 0.5))
    check_same([logs["loss"]], [[expected]])


@row(
    "`class_weight`",
    refused=everywhere(
        CONTRASTIVE, Refused("`class_weight` weights samples by their class")
    ),
    notes={PLAIN: "By `y`, as Keras does: by the id of the sample."},
)
def class_weight(make, tmp_path):
    model = make(fixed)
    values = np.linspace(0.5, 2, len(IDS), dtype="float32")
    train(model, class_weight=dict(enumerate(values.tolist())))
    other = make(fixed)
    train(other, sample_weight=values)
    check_same(weights(model), weights(other))


@row("Moving averages: `SGD(use_ema=True)`")
def moving_average(make, tmp_path):
    data = {"x": VIEWS, "y": IDS, "batch_size": len(VIEWS)}
    model, snapshots = make(fixed), Snapshots()
    logs = train(model, callbacks=[snapshots], **data)
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    other = make(fixed, optimizer=optimizer)
    check_same([train(other, **data)["loss"]], [logs["loss"]])
    count = len(model.trainable_weights)
    steps = [kept[:count] for kept in snapshots.kept]
    expected = [
        0.25 * first + 0.25 * second + 0.5 * third
        for first, second, third in zip(*steps, strict=True)
    ]
    check_same(trained_weights(other), expected)
    assert step_of(other) == EPOCHS


@row("Gradient accumulation: `SGD(gradient_accumulation_steps=2)`")
def gradient_accumulation(make, tmp_path):
    data = {"x": VIEWS[:BATCH], "y": IDS[:BATCH], "batch_size": BATCH}
    model = make(fixed)
    before = trained_weights(model)
    train(model, 1, **data)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    other = make(fixed, optimizer=optimizer)
    train(other, 1, **data)
    check_same(trained_weights(other), before)
    train(other, 1, **data)
    # Of twice the same gradient, the mean is that gradient.
    check_same(trained_weights(other), trained_weights(model))
    assert step_of(other) == 2


@contextlib.contextmanager
def dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@row("`mixed_float16`, with its scaling of the loss")
def float16(make, tmp_path):
    with dtype_policy("mixed_float16"):
        model = make(tase)
        scaling = keras.optimizers.LossScaleOptimizer
        assert isinstance(model.optimizer, scaling)
        logs = train(model)
        check_as_default(make, model, logs, tase, tolerance=0.02)
        # A scale that overflows: the step is left out, and the scale halved.
        optimizer = scaling(keras.optimizers.SGD(0.1), initial_scale=2.0**40)
        model = make(fixed, optimizer=optimizer)
        before = trained_weights(model)
        train(model, 1)
    check_same(trained_weights(model), before)
    assert float(optimizer.dynamic_scale) == 2.0**38


@row("`mixed_bfloat16`")
def bfloat16(make, tmp_path):
    with dtype_policy("mixed_bfloat16"):
        model = make()
        logs = train(model)
    check_as_default(make, model, logs, tolerance=0.1)
    kinds = {weight.dtype for weight in model.trainable_weights}
    assert kinds == {"float32"}


@row(
    "float64 as the default float",
    notes={
        (kind, "jax"): (
            "As everything on JAX in float32, unless its user switches "
            "`jax_enable_x64` on."
        )
        for kind in KINDS
    },
)
def float64(make, tmp_path):
    keras.config.set_floatx("float64")
    try:
        model = make()
        logs = train(model)
    finally:
        keras.config.set_floatx("float32")
    check_as_default(make, model, logs)


@row("A frozen encoder")
def frozen(make, tmp_path):
    kept = []

    def freeze(encoder):
        encoder.trainable = False
        kept.append(encoder)

    model = make(tase, prepare=freeze)
    before, projector = weights(kept[0]), trained_weights(model)
    train(model)
    check_same(weights(kept[0]), before, 0)
    assert len(projector) == 2
    for old, new in zip(projector, trained_weights(model), strict=True):
        assert (old != new).any()
    assert step_of(model) == EPOCHS * STEPS


@row(
    "`clone_model`",
    notes={
        PLAIN: (
            "The copy has a state and a loss of its own: compile it with "
            "`copy.get_layer('loss_state').loss`."
        ),
        CONTRASTIVE: ("`compile` copies a loss that belongs to another model."),
    },
)
def clone(make, tmp_path):
    model = make()
    again = keras.models.clone_model(model)
    loss = model.loss
    if make.is_plain:
        loss = again.get_layer(state_of(model).name).loss
    again.compile(keras.optimizers.SGD(0.1), loss=loss)
    make.built(again, (None, 2, 6))
    again.set_weights(model.get_weights())
    check_as_default(make, again, train(again))
    assert step_of(model) == 0
    check_as_default(make, model, train(model))


@row(
    "`clone_model`, compiled with the loss of the first model",
    refused={
        (PLAIN, backend): Refused(
            "The LossState of this TASELoss is not part of the model that is "
            "trained",
            at_once=backend != "jax",
        )
        for backend in BACKENDS
    },
    notes={
        (PLAIN, "jax"): (
            "As after any error in a step on JAX, Keras has lost the weights "
            "of the model: make it anew."
        )
    },
)
def clone_with_the_old_loss(make, tmp_path):
    model = make(tase)
    again = keras.models.clone_model(model)
    again.compile(keras.optimizers.SGD(0.1), loss=model.loss)
    make.built(again, (None, 2, 6))
    train(again)
    assert step_of(model) == 0
    assert step_of(again) == EPOCHS * STEPS


def check_copy(make, copied):
    """Asserts that a copy in the middle of a run and its model go on alike."""
    model = make(tase, momentum=0.9)
    train(model, epochs=1)
    again = copied(model)
    check_goes_on(make, again, tase, momentum=0.9)
    assert step_of(model) == STEPS
    check_goes_on(make, model, tase, momentum=0.9)


@row("`copy.deepcopy`")
def deepcopy(make, tmp_path):
    check_copy(make, copy.deepcopy)


@row("`pickle`")
def pickled(make, tmp_path):
    check_copy(make, lambda model: pickle.loads(pickle.dumps(model)))


@functools.cache
def logs_of_another_process(folder):
    """Returns what each kind of model logs that another process loads."""
    for kind in KINDS:
        model = Maker(kind)(tase, momentum=0.9)
        train(model, epochs=1)
        model.save(folder / f"{KINDS.index(kind)}.keras")
    code = (
        "import json, sys, keras, keras_ltssl\n"
        "models = [keras.models.load_model(path) for path in sys.argv[2:]]\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import contract\n"
        "logs = [contract.train(model, initial_epoch=1) for model in models]\n"
        "print(json.dumps(logs))\n"
    )
    here = pathlib.Path(__file__).parent
    output = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            here,
            folder / "0.keras",
            folder / "1.keras",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=here.parent,
    ).stdout
    return dict(zip(KINDS, json.loads(output.splitlines()[-1]), strict=True))


@row("A `.keras` file in another process")
def fresh_process(make, tmp_path):
    logs = logs_of_another_process(tmp_path.parent)[make.kind]
    for name, values in default_run(make.kind, tase, 0.9).logs.items():
        check_same([logs[name]], [values[1:]])


@row("`save_weights` and `load_weights`")
def weights_alone(make, tmp_path):
    model = make(tase)
    train(model, epochs=1)
    model.save_weights(tmp_path / "model.weights.h5")
    again = make(tase)
    again.load_weights(tmp_path / "model.weights.h5")
    check_goes_on(make, again, tase)
    assert step_of(model) == STEPS


class StopError(Exception):
    """What a test interrupts training with."""


class Interrupt(keras.callbacks.Callback):
    """Raises at the end of the first epoch, or of its first batch."""

    def __init__(self, after="epoch"):
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        if self.after == "batch":
            raise StopError

    def on_epoch_end(self, epoch, logs=None):
        raise StopError


@row("`BackupAndRestore`")
def backup(make, tmp_path):
    def callback():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(StopError):
        train(make(tase), callbacks=[callback(), Interrupt()])
    again = make(tase)
    logs = train(again, callbacks=[callback()])
    check_as_default(make, again, logs, tase, start=1)


# A temperature that falls is best, if large is good, in the first epoch.
BEST = {"monitor": "temperature", "mode": "max"}


@row("`EarlyStopping(restore_best_weights=True)`")
def early_stopping(make, tmp_path):
    model = make(tase)
    stopping = keras.callbacks.EarlyStopping(
        patience=1, restore_best_weights=True, **BEST
    )
    logs = train(model, callbacks=[stopping])
    assert len(logs["loss"]) == 2
    assert step_of(model) == STEPS
    check_goes_on(make, model, tase)


@row("`ModelCheckpoint`")
def model_checkpoint(make, tmp_path):
    model = make(tase, momentum=0.9)
    path = tmp_path / "best.keras"
    keep = keras.callbacks.ModelCheckpoint(path, save_best_only=True, **BEST)
    logs = train(model, callbacks=[keep])
    check_as_default(make, model, logs, tase, momentum=0.9)
    check_goes_on(make, keras.models.load_model(path), tase, momentum=0.9)


@row("`TensorBoard`")
def tensorboard(make, tmp_path):
    pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")
    model = make()
    logs = train(model, callbacks=[keras.callbacks.TensorBoard(tmp_path)])
    check_as_default(make, model, logs)
    events = [path.read_bytes() for path in tmp_path.rglob("events.*")]
    assert any(b"epoch_temperature" in event for event in events)


@row("`LearningRateScheduler`")
def learning_rate(make, tmp_path):
    model = make()
    scheduler = keras.callbacks.LearningRateScheduler(
        lambda epoch: 0.1 if epoch == 0 else 0.0
    )
    train(model, callbacks=[scheduler])
    count = len(model.trainable_weights)
    expected = default_run(make.kind).weights[0][:count]
    check_same(trained_weights(model), expected)
    assert step_of(model) == EPOCHS * STEPS


@row("`ReduceLROnPlateau`")
def plateau(make, tmp_path):
    # No loss falls by 100, so that each epoch after the first one is flat.
    reduce = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=1, min_delta=100
    )
    model = make()
    logs = train(model, callbacks=[reduce])
    check_same([logs["learning_rate"]], [[0.1, 0.1, 0.05]])
    other = make()
    scheduler = keras.callbacks.LearningRateScheduler(
        lambda epoch: [0.1, 0.1, 0.05][epoch]
    )
    train(other, callbacks=[scheduler])
    check_same(weights(model), weights(other))


@row("An exception at the end of an epoch, and `fit` again")
def exception_after_an_epoch(make, tmp_path):
    model = make(tase)
    with pytest.raises(StopError):
        train(model, callbacks=[Interrupt()])
    check_goes_on(make, model, tase)


@row("An exception in the middle of an epoch, and `fit` again")
def exception_after_a_batch(make, tmp_path):
    model = make(fixed)
    with pytest.raises(StopError):
        train(model, callbacks=[Interrupt("batch")])
    data = {"x": VIEWS[BATCH:], "y": IDS[BATCH:], "batch_size": BATCH}
    train(model, epochs=1, **data)
    check_same(weights(model), default_run(make.kind, fixed).weights[0])


@row("A `tf.data` set of unknown size")
def unknown_size(make, tmp_path):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((VIEWS, IDS)).batch(BATCH)
    model = make(fixed)
    logs = train(model, x=data.filter(lambda views, ids: True))
    check_as_default(make, model, logs, fixed)


@row(
    "A `tf.data` set of unknown size, and a schedule in the loss",
    refused=everywhere(
        CONTRASTIVE,
        Refused(
            "NTXentLoss follows a schedule of epochs, but this data does not "
            "say how many batches it has. Pass `steps_per_epoch` to `fit`"
        ),
    ),
)
def unknown_size_with_a_schedule(make, tmp_path):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((VIEWS, IDS)).batch(BATCH)
    model = make()
    logs = train(model, x=data.filter(lambda views, ids: True))
    check_as_default(make, model, logs)


@row("A PyTorch `DataLoader`")
def data_loader(make, tmp_path):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(
        torch.tensor(VIEWS), torch.tensor(IDS)
    )
    model = make()
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH)
    check_as_default(make, model, train(model, x=loader))


@row("A generator, with `steps_per_epoch`")
def generator(make, tmp_path):
    def batches():
        while True:
            for start in (0, BATCH):
                rows = slice(start, start + BATCH)
                yield VIEWS[rows], IDS[rows]

    model = make()
    logs = train(model, x=batches(), steps_per_epoch=STEPS)
    check_as_default(make, model, logs)


def image_folder(folder):
    """Writes 16 images of two classes, and returns them as they are read."""
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), "uint8")
    for number, image in enumerate(images):
        path = folder / ("cat" if number < 8 else "dog")
        path.mkdir(exist_ok=True)
        keras.utils.save_img(path / f"{number:02}.png", image, scale=False)
    return images.astype("float32")


def as_views(*batch):
    """Returns twice the same view of each image of a `tf.data` set, and ids."""
    import tensorflow as tf

    images, ids = batch if len(batch) == 2 else (*batch, None)
    if ids is None:
        ids = -tf.ones((tf.shape(images)[0],), "int32")
    return tf.stack([images, images], axis=1), ids


def train_on_folder(make, folder, **arguments):
    pytest.importorskip("tensorflow")
    pytest.importorskip("PIL")
    images = image_folder(folder)
    data = keras.utils.image_dataset_from_directory(
        folder,
        image_size=(8, 8),
        batch_size=BATCH,
        shuffle=False,
        verbose=False,
        **arguments,
    )
    model, other = make.of_images(), make.of_images()
    if make.is_plain:
        data, images = data.map(as_views), np.stack([images] * 2, axis=1)
    train(model, x=data)
    train(other, x=images, y=IDS, batch_size=BATCH)
    check_same(weights(model), weights(other))


@row(
    "`image_dataset_from_directory(labels=None)`",
    notes={
        PLAIN: (
            "Keras needs two views and some targets: `data.map` to "
            "`(views, ids)`, where -1 names no sample."
        )
    },
)
def folder_of_images(make, tmp_path):
    train_on_folder(make, tmp_path, labels=None)


@row(
    "`image_dataset_from_directory` with class labels",
    refused=everywhere(
        CONTRASTIVE,
        Refused("Repeated ids look like class labels", at_once=False),
    ),
    notes={
        PLAIN: (
            "Class labels are taken for ids, and nothing notices: leave them "
            "out with losses that need ids."
        ),
        CONTRASTIVE: "In the first batches.",
    },
)
def folder_with_labels(make, tmp_path):
    train_on_folder(make, tmp_path)


ROWS.append(
    Row(
        "`export` of the encoder",
        None,
        {},
        {
            (kind, "torch"): (
                "With `format='torch'`; see "
                "[Getting started](../getting_started.md)."
            )
            for kind in KINDS
        },
    )
)


def table():
    """Returns the table of all cells, and what there is to say, in Markdown."""
    columns = [(kind, backend) for kind in KINDS for backend in BACKENDS]
    heads = [f"{kind}, {BACKENDS[backend]}" for kind, backend in columns]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    notes: list[str] = []
    for each in ROWS:
        cells = []
        for column in columns:
            text = each.note(*column)
            mark = "no" if column in each.refused else "yes"
            if text is not None:
                if text not in notes:
                    notes.append(text)
                mark += f" ({notes.index(text) + 1})"
            cells.append(mark)
        lines.append(f"| {each.title} | {' | '.join(cells)} |")
    lines.append("")
    lines += [f"{number}. {text}" for number, text in enumerate(notes, 1)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
