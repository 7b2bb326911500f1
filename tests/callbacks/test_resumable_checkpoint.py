"""A run that is cut short and resumed ends as an uninterrupted one."""

import keras
import numpy as np
import pytest
from checkpoints import assert_same, everything, names, pretend, small_model
from keras import ops

import keras_ltssl as lt


def make_model():
    keras.utils.set_random_seed(3)
    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Dropout(0.3, seed=5),
        ]
    )
    model = lt.models.ContrastiveModel(
        encoder,
        augmenter=lt.layers.TwoViews(lt.layers.RandomResizedCrop(8, 8, seed=1)),
    )
    schedule = lt.schedules.CosineTemperature(0.1, 0.5, period=4)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        loss=lt.losses.TASELoss(schedule, num_prototypes=4, warmup_steps=3),
    )
    return model


def run(folder, epochs, by_hand=False):
    images, _ = lt.datasets.load_digits()
    model = make_model()
    data = lt.datasets.ImageBatches(images[:150], batch_size=50, seed=2)
    checkpoint = lt.callbacks.ResumableCheckpoint(folder, resume=not by_hand)
    arguments = {}
    if by_hand:
        model.build((None, 8, 8, 1))
        data.epoch = start = checkpoint.restore(model)
        arguments = {"initial_epoch": start, "shuffle": False}
    history = model.fit(
        data, epochs=epochs, verbose=0, callbacks=[checkpoint], **arguments
    )
    weights = [ops.convert_to_numpy(weight) for weight in model.weights]
    return weights, history.epoch


@pytest.mark.every_backend
def test_resumed_weights_equal_uninterrupted_ones(tmp_path):
    whole, _ = run(tmp_path / "whole", epochs=4, by_hand=True)
    for name, by_hand in (("by_hand", True), ("by_itself", False)):
        run(tmp_path / name, epochs=2, by_hand=by_hand)
        parts, trained = run(tmp_path / name, epochs=4, by_hand=by_hand)
        assert trained == [2, 3]
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (1, ["epoch-000004"]),
        (2, ["epoch-000003", "epoch-000004"]),
        (9, [f"epoch-00000{i}" for i in (1, 2, 3, 4)]),
    ],
)
def test_so_many_of_the_newest_checkpoints_are_kept(tmp_path, keep, left):
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path, keep=keep)
    pretend(small_model(), checkpoint, 4)
    assert names(tmp_path) == left


def test_a_run_leaves_nothing_but_two_checkpoints_and_its_lock(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.lock",
        "epoch-000002",
        "epoch-000003",
    ]


def test_an_unfinished_checkpoint_is_never_read(folder):
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "weights.npz").write_bytes(b"half")
    checkpoint, model = lt.callbacks.ResumableCheckpoint(folder), small_model()
    assert checkpoint.restore(model) == 3
    pretend(model, checkpoint, 4, start=3)
    assert not (folder / "unfinished").exists()


def test_every_counts_epochs_and_the_last_one_is_always_saved(tmp_path):
    saved = []

    class Spy(lt.callbacks.ResumableCheckpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            saved.append(names(tmp_path))

    pretend(small_model(), Spy(tmp_path, interval=2), 3)
    assert saved == [
        [],
        ["epoch-000002"],
        ["epoch-000002", "epoch-000003"],
    ]


def test_an_unbuilt_model_is_refused(folder):
    encoder = keras.Sequential([keras.layers.Dense(2)])
    model = lt.models.ContrastiveModel(encoder)
    with pytest.raises(ValueError, match="must be built and compiled"):
        lt.callbacks.ResumableCheckpoint(folder).restore(model)


@pytest.mark.parametrize("name", ["interval", "keep"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "2", None])
def test_impossible_numbers_are_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer >= 1"):
        lt.callbacks.ResumableCheckpoint(tmp_path, **{name: value})


def test_a_folder_that_is_no_path_is_refused():
    with pytest.raises(ValueError, match="`folder` must be a path"):
        lt.callbacks.ResumableCheckpoint(5)


@pytest.mark.parametrize("only", ["get_state", "set_state"])
def test_a_callback_with_half_of_a_state_is_refused(tmp_path, only):
    half = keras.callbacks.Callback()
    setattr(half, only, dict)
    with pytest.raises(ValueError, match="`callbacks` must have `get_state"):
        lt.callbacks.ResumableCheckpoint(tmp_path, callbacks=[half])


# Weights that are not finite.


@pytest.mark.every_backend
def test_a_diverged_run_keeps_the_last_good_checkpoint(tmp_path):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.01), loss="mse")
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    good = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                good.extend(everything(self.model))

    explode = keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: 0.01 if epoch < 2 else 1e30
    )
    checkpoint = lt.callbacks.ResumableCheckpoint(tmp_path)
    with pytest.raises(ValueError, match=r"is not finite after epoch \d") as e:
        model.fit(
            x,
            x[:, :2],
            epochs=9,
            verbose=0,
            callbacks=[explode, Note(), checkpoint],
        )
    assert "kernel" in str(e.value)
    last = names(tmp_path)[-1]
    assert f"{last}, stays" in str(e.value)
    # One step with that rate is still finite, on some backends.
    again = lt.callbacks.ResumableCheckpoint(tmp_path)
    assert again.restore(model) == int(last[-1]) >= 2
    assert all(np.isfinite(array).all() for array in everything(model))
    if last == "epoch-000002":
        assert_same(everything(model), good)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (lambda model: model.encoder.weights[0], np.nan),
        (lambda model: model.loss_state.parts["prototypes"].weights[0], np.inf),
        (lambda model: model.optimizer.variables[-1], -np.inf),
    ],
    ids=["weight", "loss state", "optimizer"],
)
def test_what_is_not_finite_is_named_and_not_written(folder, where, value):
    model = small_model()
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    checkpoint.restore(model)
    good = everything(model)
    bad = where(model)
    bad.assign(np.full(bad.shape, value))
    with pytest.raises(ValueError, match="after epoch 4") as e:
        pretend(model, checkpoint, 4, start=3)
    assert bad.path in str(e.value)
    assert names(folder) == ["epoch-000002", "epoch-000003"]
    assert checkpoint.restore(model) == 3
    assert_same(everything(model), good)


def test_a_run_that_diverges_at_once_says_that_nothing_was_saved(tmp_path):
    model = small_model()
    model.encoder.weights[0].assign(np.full((8, 4), np.nan))
    with pytest.raises(ValueError, match=r"after epoch 1\..*there is none"):
        pretend(model, lt.callbacks.ResumableCheckpoint(tmp_path), 1)
