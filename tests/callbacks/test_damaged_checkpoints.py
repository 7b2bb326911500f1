"""A checkpoint is restored as a whole or not at all."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from checkpoints import (
    assert_same,
    everything,
    names,
    pretend,
    small_model,
    weights_of,
)
from keras import ops

import keras_ltssl as lt


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(**entries):
    def damage(path):
        manifest = json.loads(path.read_text())
        for key, value in entries.items():
            if value is None:
                del manifest[key]
            else:
                manifest[key] = value
        path.write_text(json.dumps(manifest))

    return damage


DAMAGES = [
    ("weights.npz", Path.unlink, "weights.npz is missing"),
    ("weights.npz", cut, "bytes instead of"),
    ("weights.npz", flip, r"weights.npz is not as it was written \(SHA-256"),
    ("weights.npz", lambda path: path.write_bytes(b""), "has 0 bytes instead"),
    ("optimizer.npz", flip, "optimizer.npz is not as"),
    ("random_states.npz", flip, "random_states.npz is not as"),
    ("manifest.json", Path.unlink, "manifest.json is missing"),
    ("manifest.json", cut, "manifest.json is not JSON"),
    ("manifest.json", lambda path: path.write_text("7"), "names no format"),
    ("manifest.json", rewrite(epoch=-5), "says epoch -5"),
    ("manifest.json", rewrite(epoch=2), "says epoch 2"),
    ("manifest.json", rewrite(epoch=True), "says epoch True"),
    ("manifest.json", rewrite(epoch="3"), "says epoch '3'"),
    ("manifest.json", rewrite(files=None), "incomplete .*'files'"),
    ("manifest.json", rewrite(files={}), "does not list all files"),
    ("manifest.json", rewrite(format=2), "reads format 1"),
    (".", shutil.rmtree, None),
    (".", lambda path: [p.unlink() for p in path.iterdir()], "is missing"),
]


@pytest.fixture(scope="module")
def one_model():
    return small_model()


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_a_damaged_checkpoint_is_named_and_an_older_one_offered(
    folder, one_model, name, damage, message
):
    before = everything(one_model)
    newest = folder / "epoch-000003"
    damage(newest / name)
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    if message is not None:
        with pytest.raises(ValueError, match=message) as e:
            checkpoint.restore(one_model)
        assert f"The checkpoint {newest} is damaged" in str(e.value)
        advice = "epoch-000002 is whole: remove epoch-000003 to go on from it."
        assert str(e.value).endswith(advice)
        assert_same(everything(one_model), before)
        shutil.rmtree(newest)
    model = small_model()
    assert checkpoint.restore(model) == 2
    pretend(model, checkpoint, 4, start=2)


def test_without_an_older_one_another_folder_is_offered(folder):
    for name in names(folder):
        flip(folder / name / "weights.npz")
    with pytest.raises(ValueError, match="no older one that is whole: use"):
        lt.callbacks.ResumableCheckpoint(folder).restore(small_model())


def nt_xent(temperature):
    return lt.losses.NTXentLoss(temperature)


def rate(steps):
    return keras.optimizers.schedules.CosineDecay(0.1, steps)


@pytest.mark.parametrize(
    ("saved", "other", "message"),
    [
        ({}, {"loss": nt_xent(0.2)}, "loss was 'TASELoss' and is 'NTXentLoss'"),
        (
            {"loss": nt_xent(0.2)},
            {"loss": nt_xent(0.3)},
            "loss.temperature was 0.2 and is 0.3",
        ),
        (
            {},
            {"optimizer": keras.optimizers.Adam()},
            "optimizer was 'SGD' and is 'Adam'",
        ),
        (
            {},
            {"optimizer": keras.optimizers.SGD(0.1, momentum=0.8)},
            "optimizer.momentum was 0.9 and is 0.8",
        ),
        (
            {"optimizer": keras.optimizers.SGD(rate(10))},
            {"optimizer": keras.optimizers.SGD(rate(20))},
            "optimizer.learning_rate.decay_steps was 10 and is 20",
        ),
        (
            {},
            {"units": 5},
            r"among its weights is \S*kernel of shape \(8, 4\)",
        ),
        (
            {},
            {"dtype": "bfloat16"},
            "dtype float32, where the model has .* dtype bfloat16",
        ),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    tmp_path, saved, other, message
):
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    pretend(small_model(**saved), checkpoint, 1)
    model = small_model(**other)
    before = everything(model)
    with pytest.raises(ValueError, match=message) as e:
        checkpoint.restore(model)
    assert f"{tmp_path / 'epoch-000001'} does not fit" in str(e.value)
    assert_same(everything(model), before)


class Counter(keras.callbacks.Callback):
    def __init__(self, fails=False):
        super().__init__()
        self.count, self.fails = 0, fails

    def get_state(self):
        return {"count": np.array(self.count)}

    def set_state(self, arrays):
        if self.fails and arrays["count"]:
            raise TypeError("no such count")
        self.count = int(arrays["count"])


def test_a_state_that_no_callback_takes_is_refused(tmp_path):
    counter = Counter()
    counter.count = 7
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path, callbacks=[counter])
    pretend(small_model(), checkpoint, 1)
    without = lt.callbacks.ResumableCheckpoint(tmp_path)
    with pytest.raises(ValueError, match="the state of Counter, which"):
        without.restore(small_model())
    fresh = Counter()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path, callbacks=[fresh])
    assert checkpoint.restore(small_model()) == 1
    assert fresh.count == 7


@pytest.mark.every_backend
def test_a_restore_that_fails_at_its_end_leaves_all_as_it_was(tmp_path):
    counters = [Counter(), Counter()]
    counters[0].count = counters[1].count = 7
    model = small_model()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path, callbacks=counters)
    pretend(model, checkpoint, 1)
    counters = [Counter(), Counter(fails=True)]
    other = small_model()
    before = everything(other)
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path, callbacks=counters)
    with pytest.raises(
        ValueError, match=r"could not be loaded .*no such count"
    ):
        checkpoint.restore(other)
    assert_same(everything(other), before)
    assert counters[0].count == 0
    with pytest.raises(AssertionError):
        assert_same(everything(model), before)


@pytest.mark.every_backend
def test_a_learning_rate_that_callbacks_have_set_is_restored(tmp_path):
    model = small_model()
    model.optimizer.learning_rate = 0.025
    pretend(model, lt.callbacks.ResumableCheckpoint(tmp_path), 1)
    other = small_model()
    lt.callbacks.ResumableCheckpoint(tmp_path).restore(other)
    assert float(ops.convert_to_numpy(other.optimizer.learning_rate)) == (
        pytest.approx(0.025)
    )


@pytest.mark.every_backend
def test_weights_in_bfloat16_are_restored_exactly(tmp_path):
    model = small_model(dtype="bfloat16")
    pretend(model, lt.callbacks.ResumableCheckpoint(tmp_path), 1)
    other = small_model(dtype="bfloat16")
    assert lt.callbacks.ResumableCheckpoint(tmp_path).restore(other) == 1
    assert_same(everything(other), everything(model))


def write_old(folder, model, epoch, random_states):
    """Writes a checkpoint as versions before the manifest did."""
    path = folder / f"epoch-{epoch:06d}"
    path.mkdir(parents=True)
    model.save_weights(path / "model.weights.h5")
    np.savez(
        path / "random_states.npz",
        **{str(i): a for i, a in enumerate(random_states)},
    )
    (path / "epoch.json").write_text(json.dumps({"epoch": epoch}))
    return path


def seeds(model):
    known = {id(weight) for weight in model.weights}
    known |= {id(v) for v in model.metrics_variables}
    return [
        np.array(ops.convert_to_numpy(v))
        for v in model.variables
        if id(v) not in known
    ]


@pytest.mark.every_backend
def test_a_checkpoint_without_a_manifest_is_restored(tmp_path):
    saved = small_model()
    for variable in (*saved.trainable_weights, *saved.optimizer.variables[2:]):
        variable.assign(ops.convert_to_numpy(variable) + 1)
    states = [state + 3 for state in seeds(saved)]
    path = write_old(tmp_path, saved, 4, states)
    model = small_model()
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    with pytest.raises(ValueError, match="holds a run of 4 epochs"):
        pretend(model, checkpoint, 5)
    assert checkpoint.restore(model) == 4
    assert (weights_of(saved)[0] != weights_of(small_model())[0]).any()
    assert_same(weights_of(model)[:4], weights_of(saved)[:4])
    assert_same(seeds(model), states)
    before = everything(model)
    other = lt.callbacks.ResumableCheckpoint(tmp_path)
    for name, damage, message in (
        ("model.weights.h5", cut, "could not be loaded into this model"),
        ("epoch.json", lambda p: p.write_text('{"epoch": -5}'), "epoch -5"),
        ("epoch.json", lambda p: p.write_text("{"), "names no epoch"),
        ("random_states.npz", cut, "random_states.npz cannot be read"),
        ("model.weights.h5", Path.unlink, "model.weights.h5 is missing"),
    ):
        whole = (path / name).read_bytes()
        damage(path / name)
        with pytest.raises(ValueError, match=message):
            other.restore(model)
        (path / name).write_bytes(whole)
        assert_same(everything(model), before)
    pretend(model, checkpoint, 6, start=4)
    assert names(tmp_path) == ["epoch-000005", "epoch-000006"]


@pytest.mark.every_backend
@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="only JAX gives arrays away"
)
def test_a_model_whose_step_was_cut_short_is_restored(folder):
    model = small_model()
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    checkpoint.restore(model)
    before = everything(model)
    for variable in (*model.variables, *model.optimizer.variables):
        variable.value.delete()
    assert checkpoint.restore(model) == 3
    assert_same(everything(model), before)
