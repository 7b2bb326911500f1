"""Features of images, in memory and in a file that outlives a kill."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.evaluation import embedding as module


@pytest.fixture
def encoder():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), "uint8")


def count_calls(encoder, monkeypatch, fails_at=None):
    """Counts batches; a batch of this number raises, as a kill would."""
    calls, predict = [], encoder.predict_on_batch

    def counted(batch):
        calls.append(len(batch))
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        return predict(batch)

    monkeypatch.setattr(encoder, "predict_on_batch", counted)
    return calls


@pytest.mark.every_backend
def test_features_are_those_of_predict(encoder, images, tmp_path):
    expected = encoder.predict(images, verbose=0)

    in_memory = lt.evaluation.embed(encoder, images, batch_size=16)
    path = tmp_path / "new" / "features.npy"
    in_file = lt.evaluation.embed(encoder, images, path, batch_size=16)

    np.testing.assert_allclose(in_memory, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(in_file, in_memory)
    np.testing.assert_array_equal(np.load(path), in_memory)
    assert isinstance(in_file, np.memmap)
    assert not in_file.flags.writeable
    assert sorted(os.listdir(path.parent)) == [
        "features.npy",
        "features.npy.json",
    ]


def test_files_and_batches_give_what_their_images_give(encoder, tmp_path):
    rng = np.random.default_rng(1)
    for number in range(9):
        keras.utils.save_img(
            tmp_path / f"{number}.png", rng.integers(0, 256, (20, 12, 3))
        )
    batches = lt.datasets.image_batches_from_directory(
        tmp_path, image_size=(8, 8), batch_size=4, verbose=False
    )
    images = lt.datasets.read_images(batches.paths, image_size=(8, 8))
    expected = encoder.predict(images, verbose=0)

    for source in (batches, batches.paths):
        found = lt.evaluation.embed(encoder, source, batch_size=4)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_every_batch_has_the_same_size(encoder, images, monkeypatch):
    calls = count_calls(encoder, monkeypatch)
    features = lt.evaluation.embed(encoder, images, batch_size=16)
    assert calls == [16] * 4
    assert features.shape == (50, 5)


def test_what_was_interrupted_goes_on_at_its_last_rows(
    encoder, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "_BLOCK", 2)
    expected = encoder.predict(images, verbose=0)
    path = tmp_path / "features.npy"
    with monkeypatch.context() as patch:
        count_calls(encoder, patch, fails_at=4)
        with pytest.raises(KeyboardInterrupt):
            lt.evaluation.embed(encoder, images, path, batch_size=8)
    assert not path.exists()
    assert (
        json.loads((tmp_path / "features.npy.json").read_text())["done"] == 16
    )

    calls = count_calls(encoder, monkeypatch)
    features = lt.evaluation.embed(encoder, images, path, batch_size=8)

    assert len(calls) == 5  # 34 rows are left.
    np.testing.assert_allclose(features, expected, rtol=1e-6, atol=1e-6)


def test_features_that_are_there_are_not_computed_again(
    encoder, images, tmp_path, monkeypatch
):
    path = tmp_path / "features.npy"
    first = np.array(lt.evaluation.embed(encoder, images, path))
    calls = count_calls(encoder, monkeypatch)
    again = lt.evaluation.embed(encoder, images, path)
    assert calls == []
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e, x: (e, x[:40]), "rows=50, not 40"),
        (lambda e, x: (e, x[::-1].copy()), "images="),
        (lambda e, x: (changed(e), x), "weights="),
    ],
    ids=["count", "images", "weights"],
)
@pytest.mark.parametrize("is_finished", [True, False])
def test_features_of_something_else_are_not_mixed(
    encoder, images, tmp_path, monkeypatch, change, told, is_finished
):
    monkeypatch.setattr(module, "_BLOCK", 1)
    path = tmp_path / "features.npy"
    with monkeypatch.context() as patch:
        if is_finished:
            lt.evaluation.embed(encoder, images, path, batch_size=8)
        else:
            count_calls(encoder, patch, fails_at=3)
            with pytest.raises(KeyboardInterrupt):
                lt.evaluation.embed(encoder, images, path, batch_size=8)
    encoder, images = change(encoder, images)
    with pytest.raises(ValueError, match=f"`path` must name a new.*{told}"):
        lt.evaluation.embed(encoder, images, path, batch_size=8)


def test_images_of_another_dataset_or_file_are_not_taken_for_the_same(
    encoder, images, tmp_path
):
    class Batches(keras.utils.PyDataset):
        def __init__(self, images):
            super().__init__()
            self.images = images

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return self.images[25 * index : 25 * index + 25]

    path = tmp_path / "of_batches.npy"
    lt.evaluation.embed(encoder, Batches(images), path)
    with pytest.raises(ValueError, match=r"`path` must name a new.*images="):
        lt.evaluation.embed(encoder, Batches(255 - images), path)

    photo, path = tmp_path / "a.png", tmp_path / "of_files.npy"
    keras.utils.save_img(photo, np.zeros((8, 8, 3)))
    lt.evaluation.embed(encoder, [str(photo)], path)
    keras.utils.save_img(photo, images[0])
    with pytest.raises(ValueError, match=r"`path` must name a new.*images="):
        lt.evaluation.embed(encoder, [str(photo)], path)


def test_an_encoder_without_weights_is_built_first(images, tmp_path):
    path = tmp_path / "features.npy"

    def encoder(units=3):
        return keras.Sequential(
            [keras.layers.Flatten(), keras.layers.Dense(units)]
        )

    lt.evaluation.embed(encoder(), images, path)
    with pytest.raises(ValueError, match=r"`path` must name a new.*weights="):
        lt.evaluation.embed(encoder(), images, path)


@pytest.mark.every_backend
def test_features_of_mixed_precision_are_float32(images):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = lt.models.small_convnet((8, 8, 3), width=4)
    finally:
        keras.config.set_dtype_policy(policy)
    features = lt.evaluation.embed(encoder, images, batch_size=16)
    expected = encoder.predict(images, verbose=0).astype("float32")
    assert features.dtype == "float32"
    np.testing.assert_allclose(features, expected, rtol=0.02, atol=0.02)


def changed(encoder):
    encoder.set_weights([weight + 1 for weight in encoder.get_weights()])
    return encoder


def test_a_file_of_unknown_origin_is_not_overwritten(encoder, images, tmp_path):
    path = tmp_path / "features.npy"
    np.save(path, np.zeros((50, 5)))
    with pytest.raises(ValueError, match="rows=unknown, not 50"):
        lt.evaluation.embed(encoder, images, path)
    np.testing.assert_array_equal(np.load(path), 0)


def test_float16_that_overflows_is_refused(encoder, images):
    encoder.set_weights([1e5 * weight for weight in encoder.get_weights()])
    with pytest.raises(ValueError, match="too large for float16 in image 0"):
        lt.evaluation.embed(encoder, images, dtype="float16")


def test_features_that_are_not_finite_are_refused(encoder, images):
    encoder.set_weights([np.nan * weight for weight in encoder.get_weights()])
    with pytest.raises(ValueError, match="NaN or infinity in image 0"):
        lt.evaluation.embed(encoder, images)


def test_images_that_the_encoder_does_not_take_are_refused(encoder):
    with pytest.raises(ValueError, match=r"`images` must .* \(8, 8, 3\)"):
        lt.evaluation.embed(encoder, np.zeros((4, 9, 9, 3), "uint8"))


def test_a_size_for_an_array_is_refused(encoder, images):
    with pytest.raises(ValueError, match="`image_size` is the size"):
        lt.evaluation.embed(encoder, images, image_size=(8, 8))


def test_memory_does_not_grow_with_the_features(tmp_path):
    encoder = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(256, use_bias=False)]
    )
    images = np.zeros((40_000, 4), "float32")
    lt.evaluation.embed(encoder, images[:2000], tmp_path / "first.npy")
    tracemalloc.start()
    features = lt.evaluation.embed(encoder, images, tmp_path / "all.npy")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < features.nbytes / 3  # A block is a tenth.


KILLED = """
import sys, time
import keras, numpy as np
import keras_ltssl as lt
from keras_ltssl.evaluation import embedding as module
module._BLOCK = 1
keras.utils.set_random_seed(0)
encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
predict = encoder.predict_on_batch
def slow(batch):
    time.sleep(float(sys.argv[2]))
    return predict(batch)
encoder.predict_on_batch = slow
images = np.arange(400, dtype="float32").reshape(100, 4)
features = lt.evaluation.embed(encoder, images, sys.argv[1], batch_size=2)
np.save(sys.argv[1] + ".expected.npy", encoder.predict(images, verbose=0))
"""


def test_a_real_kill_loses_no_more_than_a_block(tmp_path):
    path = tmp_path / "features.npy"
    record = tmp_path / "features.npy.json"
    command = [sys.executable, "-c", KILLED, str(path)]
    process = subprocess.Popen([*command, "0.1"])
    while not record.exists() or json.loads(record.read_text())["done"] < 10:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = json.loads(record.read_text())["done"]
    assert 10 <= done < 100

    subprocess.run([*command, "0"], check=True)

    np.testing.assert_allclose(
        np.load(path),
        np.load(f"{path}.expected.npy"),
        rtol=1e-5,
    )
