"""A run that is cut short and resumed ends as an uninterrupted one."""

import keras
import numpy as np
import pytest
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
    model.build((None, 8, 8, 1))
    return model


def run(folder, epochs, stop_after=None):
    images, _ = lt.datasets.load_digits()
    model = make_model()
    data = lt.datasets.ImageBatches(images[:150], batch_size=50, seed=2)
    checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    data.epoch = start = checkpoint.restore(model)
    model.fit(
        data,
        epochs=stop_after or epochs,
        initial_epoch=start,
        shuffle=False,
        verbose=0,
        callbacks=[checkpoint],
    )
    return [ops.convert_to_numpy(weight) for weight in model.weights], start


def test_resumed_weights_equal_uninterrupted_ones(tmp_path):
    whole, _ = run(tmp_path / "whole", epochs=4)
    run(tmp_path / "parts", epochs=4, stop_after=2)
    parts, start = run(tmp_path / "parts", epochs=4)
    assert start == 2
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    run(tmp_path, epochs=3)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000003"]


def test_an_unfinished_checkpoint_is_never_read(tmp_path):
    run(tmp_path, epochs=2)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "model.weights.h5").write_bytes(b"half")
    assert lt.callbacks.ResumableCheckpoint(tmp_path).restore(make_model()) == 2


def test_every_counts_epochs_and_the_last_one_is_always_saved(tmp_path):
    saved = []

    class Spy(lt.callbacks.ResumableCheckpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            saved.append(sorted(p.name for p in tmp_path.iterdir()))

    model = make_model()
    images, _ = lt.datasets.load_digits()
    model.fit(
        images[:50], epochs=3, verbose=0, callbacks=[Spy(tmp_path, every=2)]
    )
    assert saved == [[], ["epoch-000002"], ["epoch-000003"]]


def test_an_unbuilt_model_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    encoder = keras.Sequential([keras.layers.Dense(2)])
    model = lt.models.ContrastiveModel(encoder)
    with pytest.raises(ValueError, match="must be built and compiled"):
        lt.callbacks.ResumableCheckpoint(tmp_path).restore(model)


def test_impossible_every_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`every` must be an integer"):
        lt.callbacks.ResumableCheckpoint(tmp_path, every=0)
