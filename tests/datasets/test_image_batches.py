import gc
import random
import time
import weakref

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

import keras_ltssl as lt
from keras_ltssl.datasets import ImageBatches


class IdRecorder(keras.Model):
    """Notes the ids that its training steps really get."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.seen = []

    def call(self, x):
        x = ops.cast(x, "float32")
        return self.dense(ops.reshape(x, (-1, int(np.prod(x.shape[1:])))))

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if training:
            pixels = ops.convert_to_numpy(x).reshape(len(x), -1)[:, 0]
            self.seen.append((ops.convert_to_numpy(y), pixels))
        return super().compute_loss(x, y, y_pred, sample_weight, training)


@keras.saving.register_keras_serializable()
class MeanLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(y_pred, axis=-1)


@pytest.fixture
def model():
    # Eager, so that the ids can be looked at; unbuilt and with a loss that
    # is unbuilt, so that `fit` looks at the first batches before it trains.
    model = IdRecorder()
    model.compile("sgd", loss=MeanLoss(), run_eagerly=True, jit_compile=False)
    return model


def images_that_say_their_row(num_images):
    return np.arange(num_images, dtype="int32").reshape(-1, 1, 1, 1)


def ids_of_epoch(batches):
    return np.concatenate([ids for _, ids in batches])


def recorded_epochs(model, num_batches):
    ids = [ids for ids, _ in model.seen]
    assert len(ids) % num_batches == 0
    return [
        np.concatenate(ids[start : start + num_batches])
        for start in range(0, len(ids), num_batches)
    ]


def promised_order(num_images, seed, epoch):
    batches = ImageBatches(images_that_say_their_row(num_images), seed=seed)
    batches.epoch = epoch
    return ids_of_epoch(batches)


# Order, by hand


def test_every_image_comes_once_with_its_own_id():
    batches = ImageBatches(images_that_say_their_row(103), batch_size=10)
    assert len(batches) == 11
    pixels = np.concatenate([x[:, 0, 0, 0] for x, _ in batches])
    ids = ids_of_epoch(batches)
    np.testing.assert_array_equal(pixels, ids)
    np.testing.assert_array_equal(np.sort(ids), np.arange(103))


def test_last_batch_is_kept():
    batches = ImageBatches(images_that_say_their_row(103), batch_size=10)
    x, ids = batches[10]
    assert x.shape == (3, 1, 1, 1)
    assert ids.shape == (3,)


def test_whole_last_batch_is_not_followed_by_an_empty_one():
    batches = ImageBatches(images_that_say_their_row(20), batch_size=10)
    assert [len(ids) for _, ids in batches] == [10, 10]
    with pytest.raises(IndexError, match=r"0 \.\.\. 1"):
        batches[2]


def test_order_is_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): tuple(promised_order(50, seed, epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    for (seed, epoch), order in orders.items():
        assert tuple(promised_order(50, seed, epoch)) == order


def test_order_does_not_depend_on_batch_size():
    images = images_that_say_their_row(50)
    np.testing.assert_array_equal(
        ids_of_epoch(ImageBatches(images, batch_size=7)),
        ids_of_epoch(ImageBatches(images, batch_size=64)),
    )


def test_global_random_numbers_do_not_matter():
    first = promised_order(50, seed=0, epoch=2)
    keras.utils.set_random_seed(99)
    random.random()
    np.testing.assert_array_equal(first, promised_order(50, 0, 2))


def test_order_is_that_of_earlier_releases():
    # A changed order would silently change what a resumed run sees.
    assert promised_order(10, seed=3, epoch=5).tolist() == [
        0,
        5,
        8,
        4,
        7,
        2,
        6,
        3,
        1,
        9,
    ]


def test_images_come_in_the_given_order_without_shuffle():
    batches = ImageBatches(images_that_say_their_row(10), shuffle=False)
    for _ in range(2):
        assert ids_of_epoch(batches).tolist() == list(range(10))
        batches.on_epoch_end()


def test_epoch_moves_on_after_a_whole_pass():
    batches = ImageBatches(images_that_say_their_row(50), batch_size=10)
    for epoch in range(3):
        assert batches.epoch == epoch
        np.testing.assert_array_equal(
            ids_of_epoch(batches), promised_order(50, 0, epoch)
        )
        batches.on_epoch_end()


def test_epoch_stays_when_its_last_batch_was_not_asked_for():
    batches = ImageBatches(images_that_say_their_row(50), batch_size=10)
    batches.on_epoch_end()
    batches[0]
    batches[3]
    batches.on_epoch_end()
    assert batches.epoch == 0
    batches[4]
    batches.on_epoch_end()
    batches.on_epoch_end()
    assert batches.epoch == 1


def test_batch_asked_for_twice_is_the_same():
    batches = ImageBatches(
        images_that_say_their_row(50), batch_size=10, workers=2
    )
    for index in (3, 3, 0, 4, 3):
        order = promised_order(50, 0, 0)[10 * index : 10 * index + 10]
        np.testing.assert_array_equal(batches[index][1], order)


# Order, through `fit`


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_fit_sees_every_id_once_per_epoch_in_the_promised_order(model, workers):
    batches = ImageBatches(
        images_that_say_their_row(530),
        batch_size=60,
        seed=7,
        workers=workers,
        max_queue_size=3,
    )
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    for ids, pixels in model.seen:
        np.testing.assert_array_equal(ids, pixels)
    epochs = recorded_epochs(model, len(batches))
    assert len(epochs) == 3
    for epoch, ids in enumerate(epochs):
        np.testing.assert_array_equal(
            ids, promised_order(530, seed=7, epoch=epoch)
        )
    assert batches.epoch == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_queue_longer_than_an_epoch_changes_nothing(model, workers):
    batches = ImageBatches(
        images_that_say_their_row(50), batch_size=15, workers=workers
    )
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    for epoch, ids in enumerate(recorded_epochs(model, len(batches))):
        np.testing.assert_array_equal(ids, promised_order(50, 0, epoch))


@pytest.mark.parametrize("batch_size", [50, 30])
def test_fit_sees_every_id_once_per_epoch_of_one_or_two_batches(
    model, batch_size
):
    batches = ImageBatches(
        images_that_say_their_row(50), batch_size=batch_size, workers=2
    )
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    epochs = recorded_epochs(model, len(batches))
    assert len(epochs) == 3
    for ids in epochs:
        np.testing.assert_array_equal(np.sort(ids), np.arange(50))


@pytest.mark.parametrize("workers", [1, 2])
def test_second_fit_goes_on_where_the_first_ended(model, workers):
    batches = ImageBatches(
        images_that_say_their_row(130), batch_size=40, workers=workers
    )
    model.fit(batches, epochs=2, shuffle=False, verbose=0)
    model.fit(batches, epochs=1, shuffle=False, verbose=0)
    for epoch, ids in enumerate(recorded_epochs(model, len(batches))):
        np.testing.assert_array_equal(ids, promised_order(130, 0, epoch))


def test_resumed_fit_sees_what_an_uninterrupted_one_sees(model):
    batches = ImageBatches(images_that_say_their_row(130), batch_size=40)
    batches.epoch = 5
    model.fit(batches, epochs=7, initial_epoch=5, shuffle=False, verbose=0)
    first, second = recorded_epochs(model, len(batches))
    np.testing.assert_array_equal(first, promised_order(130, 0, 5))
    np.testing.assert_array_equal(second, promised_order(130, 0, 6))


def test_fit_that_was_cut_short_begins_its_epoch_again(model):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    batches = ImageBatches(
        images_that_say_their_row(300), batch_size=25, workers=2
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(batches, shuffle=False, verbose=0, callbacks=[Stop()])
    model.seen.clear()
    model.fit(batches, shuffle=False, verbose=0)
    np.testing.assert_array_equal(
        recorded_epochs(model, len(batches))[0], promised_order(300, 0, 0)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_that_shuffles_batches_still_sees_every_id_once(model, workers):
    batches = ImageBatches(
        images_that_say_their_row(130), batch_size=30, workers=workers
    )
    model.fit(batches, epochs=3, verbose=0)
    epochs = recorded_epochs(model, len(batches))
    assert len(epochs) == 3
    for ids in epochs:
        np.testing.assert_array_equal(np.sort(ids), np.arange(130))


@pytest.mark.every_backend
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_contrastive_model_reads_the_promised_order_even_if_it_shuffles(
    shuffle,
):
    class Recorded(ImageBatches):
        requested = ()

        def __getitem__(self, index):
            self.requested += (index,)
            return super().__getitem__(index)

    encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
    contrastive = lt.models.ContrastiveModel(
        encoder, augmenter=lt.layers.TwoViews(keras.layers.GaussianNoise(0.1))
    )
    # The images are of one value each, which `fit` would warn of.
    contrastive.compile(
        "sgd", loss=lt.losses.NTXentLoss(), monitor_learning=False
    )
    images = images_that_say_their_row(130).astype("float32")
    batches = Recorded(images, batch_size=30)
    contrastive.fit(batches, epochs=2, shuffle=shuffle, verbose=0)
    assert batches.requested[-5:] == (0, 1, 2, 3, 4)


def test_steps_per_epoch_cuts_one_pass_into_pieces(model):
    batches = ImageBatches(images_that_say_their_row(120), batch_size=20)
    model.fit(batches, epochs=4, steps_per_epoch=3, shuffle=False, verbose=0)
    for epoch, ids in enumerate(recorded_epochs(model, len(batches))):
        np.testing.assert_array_equal(ids, promised_order(120, 0, epoch))


def test_validation_batches_are_all_seen(model):
    batches = ImageBatches(images_that_say_their_row(130), batch_size=40)
    validation = ImageBatches(images_that_say_their_row(70), batch_size=40)
    model.fit(
        batches, epochs=2, validation_data=validation, shuffle=False, verbose=0
    )
    for epoch, ids in enumerate(recorded_epochs(model, len(batches))):
        np.testing.assert_array_equal(ids, promised_order(130, 0, epoch))


@pytest.mark.every_backend
def test_compiled_training_runs_from_batches():
    inputs = keras.Input((2, 2, 1))
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss="mse")
    images = np.random.default_rng(0).random((50, 2, 2, 1), "float32")
    history = model.fit(
        ImageBatches(images, batch_size=20, workers=2),
        epochs=2,
        shuffle=False,
        verbose=0,
    )
    assert np.isfinite(history.history["loss"]).all()


# What batches hold


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "float16", "float32", "float64", "bool"]
)
def test_array_keeps_its_dtype(dtype):
    images = np.ones((5, 2, 2, 1), dtype)
    x, ids = ImageBatches(images, batch_size=3)[0]
    assert x.dtype == dtype
    assert ids.dtype == np.int32


def test_array_of_any_rank_is_not_copied():
    for shape in ((6,), (6, 4), (6, 2, 8, 8, 3)):
        images = np.zeros(shape)
        batches = ImageBatches(images, batch_size=4)
        assert batches.images is images
        assert batches[0][0].shape == (4, *shape[1:])


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_map_is_read_batch_by_batch(tmp_path, workers):
    path = tmp_path / "images.npy"
    np.save(path, images_that_say_their_row(40))
    images = np.load(path, mmap_mode="r")
    batches = ImageBatches(images, batch_size=16, workers=workers)
    assert isinstance(batches.images, np.memmap)
    for x, ids in batches:
        assert type(x) is np.ndarray
        np.testing.assert_array_equal(x[:, 0, 0, 0], ids)


def test_given_ids_go_with_their_images():
    images = images_that_say_their_row(6)
    given = np.array([50, 40, -1, 20, -1, 0])
    x, ids = ImageBatches(images, ids=given)[0]
    np.testing.assert_array_equal(ids, given[x[:, 0, 0, 0]])
    assert ids.dtype == np.int32


def test_ids_are_64_bit_only_where_they_must_be():
    images = images_that_say_their_row(2)
    largest = 2**31 - 1
    assert ImageBatches(images, ids=[0, largest])[0][1].dtype == np.int32
    _, ids = ImageBatches(images, ids=[0, largest + 1])[0]
    assert ids.dtype == np.int64
    assert ids.max() == largest + 1


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint64"])
def test_class_labels_are_refused_as_ids(dtype):
    labels = np.array([1, 0, 2, 1, 1, 0], dtype)
    message = "`ids` must name each sample once.* class labels.*3 distinct "
    with pytest.raises(ValueError, match=message + "ids for 6.*id 1 comes 3"):
        ImageBatches(images_that_say_their_row(6), ids=labels)


def test_labels_among_out_of_distribution_ids_are_refused():
    images = images_that_say_their_row(6)
    with pytest.raises(ValueError, match="2 distinct ids for 3 samples; id 4"):
        ImageBatches(images, ids=[-1, 4, -1, -1, 2, 4])


def test_an_id_of_one_class_only_is_refused():
    with pytest.raises(ValueError, match="1 distinct ids for 6 samples; id 0"):
        ImageBatches(images_that_say_their_row(6), ids=np.zeros(6, int))


def test_given_ids_are_not_shared_with_the_caller():
    given = np.arange(3, dtype="int32")
    batches = ImageBatches(images_that_say_their_row(3), ids=given)
    given[:] = 9
    assert sorted(batches[0][1].tolist()) == [0, 1, 2]


# Image files


@pytest.fixture
def paths(tmp_path):
    paths = []
    for row in range(30):
        path = tmp_path / f"{row}.png"
        Image.new("RGB", (9, 12), (row, 0, 0)).save(path)
        paths.append(path)
    return paths


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_files_are_decoded_in_the_promised_order(model, paths, workers):
    batches = ImageBatches(
        paths, batch_size=8, seed=2, image_size=(6, 4), workers=workers
    )
    x, _ = batches[0]
    assert x.shape == (8, 6, 4, 3)
    assert x.dtype == np.uint8
    model.fit(batches, epochs=2, shuffle=False, verbose=0)
    for ids, red in model.seen:
        np.testing.assert_array_equal(ids, red)
    for epoch, ids in enumerate(recorded_epochs(model, len(batches))):
        np.testing.assert_array_equal(ids, promised_order(30, 2, epoch))


def test_array_of_path_strings_is_a_sequence_of_paths(paths):
    batches = ImageBatches(
        np.array([str(path) for path in paths]), image_size=(4, 4)
    )
    x, ids = batches[0]
    np.testing.assert_array_equal(x[:, 0, 0, 0], ids)


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_file_is_named_when_its_batch_is_due(paths, workers):
    paths[20].write_bytes(paths[20].read_bytes()[:40])
    batches = ImageBatches(
        paths, batch_size=5, shuffle=False, image_size=(4, 4), workers=workers
    )
    for index in range(4):
        assert len(batches[index][1]) == 5
    with pytest.raises(ValueError, match=r"Cannot read the image .*20\.png"):
        batches[4]
    assert len(batches[5][1]) == 5


def test_missing_first_file_is_named_at_once(paths):
    paths[0].unlink()
    with pytest.raises(ValueError, match=r"Cannot read the image .*0\.png"):
        ImageBatches(paths, image_size=(4, 4))


# Bad input


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_image_that_is_not_finite_is_named(value, dtype):
    images = np.zeros((20, 4, 4, 3), dtype)
    images[13, 1, 2, 0] = value
    with pytest.raises(ValueError, match=r"`images` must be finite.*image 13"):
        ImageBatches(images)


def test_image_that_is_not_finite_is_found_in_every_chunk():
    # 16 MiB are looked at at a time; this is 48 MiB in three and a bit.
    images = np.zeros((6200, 2, 1024), "float32")
    ImageBatches(images)
    for row in (0, 2047, 2048, 4100, 6199):
        images[row, 1, 1023] = np.nan
        with pytest.raises(ValueError, match=f"in image {row}$"):
            ImageBatches(images)
        images[row, 1, 1023] = 0


IMAGES = images_that_say_their_row(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": IMAGES[:0]}, "`images` must be an array.*not empty"),
        ({"images": []}, "`images` must not be empty"),
        ({"images": np.array(3.0)}, "`images` must be an array"),
        ({"images": IMAGES.astype(object)}, "`images` must be an array"),
        ({"images": IMAGES * 1j}, "`images` must be an array of real"),
        ({"images": IMAGES.tolist()}, "`images` must be a NumPy array or"),
        ({"images": "photo.jpg"}, "`images` must be a NumPy array or"),
        ({"images": None}, "`images` must be a NumPy array or"),
        ({"images": ["a.jpg"]}, "`image_size` must be given"),
        ({"images": ["a"], "image_size": 32}, "`image_size` must be 2 int"),
        (
            {"images": ["a"], "image_size": (0, 9)},
            "`image_size` must be 2 integers",
        ),
        ({"image_size": (8, 8)}, "`image_size` is for image files"),
        ({"ids": np.zeros(4)}, "`ids` must hold one integer per image"),
        ({"ids": np.ones(4, bool)}, "`ids` must hold one integer per image"),
        ({"ids": [0, 1, 2]}, "`ids` must hold one integer per image"),
        ({"ids": [[0, 1, 2, 3]]}, "`ids` must hold one integer per image"),
        ({"ids": [0, 1, -2, 3]}, "`ids` must be rows .*Received: -2 to 3"),
        ({"ids": np.full(4, 2**63, "uint64")}, "`ids` must be rows"),
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1"),
        ({"batch_size": 2.0}, "`batch_size` must be an integer >= 1"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"seed": None}, "`seed` must be an integer >= 0"),
        ({"workers": -1}, "`workers` must be an integer >= 0"),
        ({"max_queue_size": 0}, "`max_queue_size` must be an integer >= 1"),
    ],
)
def test_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageBatches(**{"images": IMAGES, **arguments})


@pytest.mark.parametrize("epoch", [-1, 0.5, None])
def test_bad_epoch_is_named(epoch):
    batches = ImageBatches(IMAGES)
    with pytest.raises(ValueError, match="`epoch` must be an integer >= 0"):
        batches.epoch = epoch


def test_batches_are_freed_with_their_threads():
    batches = ImageBatches(IMAGES, batch_size=1, workers=2)
    batches[0]
    reference = weakref.ref(batches)
    del batches
    for _ in range(200):
        gc.collect()
        if reference() is None:
            break
        time.sleep(0.01)
    assert reference() is None
