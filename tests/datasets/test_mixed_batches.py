import gc
import multiprocessing
import time
import weakref

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from keras_ltssl.datasets import ImageBatches, MixedBatches

NUM_ID, NUM_POOL, BUDGET = 43, 60, 20


def samples_that_say_their_row(num_samples, in_distribution):
    """Images of one pixel: (row, whether it is of the pool, 0)."""
    samples = np.zeros((num_samples, 1, 1, 3), "uint8")
    samples[:, 0, 0, 0] = np.arange(num_samples)
    samples[:, 0, 0, 1] = not in_distribution
    return samples


IMAGES = samples_that_say_their_row(NUM_ID, True)
POOL = samples_that_say_their_row(NUM_POOL, False)


def mixed(images=IMAGES, pool=POOL, budget=BUDGET, batch_size=10, **arguments):
    return MixedBatches(
        images, pool, budget=budget, batch_size=batch_size, **arguments
    )


def some_rows(num_rows, seed):
    return np.random.default_rng(seed).permutation(NUM_POOL)[:num_rows]


def samples_of_epoch(data):
    """Pairs (row, id) in order; a row of the pool counts from 1000."""
    pairs = []
    for images, ids in data:
        pixels = images[:, 0, 0].astype(int)
        rows = pixels[:, 0] + 1000 * pixels[:, 1]
        pairs += list(zip(rows.tolist(), ids.tolist(), strict=True))
    return pairs


def whole_epoch(chosen=()):
    return sorted(
        [(row, row) for row in range(NUM_ID)]
        + [(1000 + int(row), -1) for row in chosen]
    )


@pytest.fixture
def save_files(tmp_path):
    def save(samples, name):
        (tmp_path / name).mkdir()
        paths = [tmp_path / name / f"{row}.png" for row in range(len(samples))]
        for path, sample in zip(paths, samples, strict=True):
            Image.fromarray(sample).save(path)
        return paths

    return save


class Batches(keras.utils.PyDataset):
    """A `PyDataset` that notes which of its batches are read."""

    def __init__(self, samples, batch_size, with_labels=True):
        super().__init__()
        self.samples = samples
        self.batch_size = batch_size
        self.with_labels = with_labels
        self.read = []

    def __len__(self):
        return -(-len(self.samples) // self.batch_size)

    def __getitem__(self, index):
        self.read.append(index)
        start = index * self.batch_size
        x = self.samples[start : start + self.batch_size]
        return (x, np.zeros(len(x))) if self.with_labels else x


# What training sees, through `fit`


class Counter(keras.Model):
    """Counts in the training step how often each sample came with each id."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.counts = self.add_weight(
            shape=(512, NUM_ID + 1), initializer="zeros", trainable=False
        )

    def call(self, x):
        return self.dense(ops.cast(x, "float32")[:, 0, 0])

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if training:
            pixels = ops.cast(x, "int32")
            samples = pixels[:, 0, 0, 0] + 256 * pixels[:, 0, 0, 1]
            pairs = ops.matmul(
                ops.transpose(ops.one_hot(samples, 512)),
                ops.one_hot(ops.cast(y, "int32") + 1, NUM_ID + 1),
            )
            self.counts.assign_add(pairs)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


@keras.saving.register_keras_serializable()
class MeanLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(y_pred, axis=-1)


class ChooseAndRecord(keras.callbacks.Callback):
    def __init__(self, data, choices):
        super().__init__()
        self.data = data
        self.choices = choices
        self.sums = []

    def on_train_begin(self, logs=None):
        if not self.sums:
            self.note()

    def on_epoch_begin(self, epoch, logs=None):
        if epoch in self.choices:
            self.data.chosen = self.choices[epoch]

    def on_epoch_end(self, epoch, logs=None):
        self.note()

    def note(self):
        self.sums.append(np.array(ops.convert_to_numpy(self.model.counts)))

    @property
    def counts_of_epochs(self):
        return list(np.diff(self.sums, axis=0))


def expected_counts(chosen):
    counts = np.zeros((512, NUM_ID + 1))
    counts[np.arange(NUM_ID), np.arange(NUM_ID) + 1] = 1
    counts[256 + np.asarray(chosen, int), 0] = 1
    return counts


@pytest.fixture(scope="module")
def model():
    # One for all tests, to compile once. The first of them builds it, for
    # which `fit` looks at batches before it trains.
    model = Counter()
    model.compile("sgd", loss=MeanLoss())
    return model


def check_that_each_sample_comes_once(model, data, shuffle=False):
    choices = {2: some_rows(12, seed=1), 4: some_rows(BUDGET, seed=2)}
    callback = ChooseAndRecord(data, choices)
    assert len(data) == 7
    model.fit(data, epochs=4, shuffle=shuffle, verbose=0, callbacks=[callback])
    model.fit(
        data,
        epochs=6,
        initial_epoch=4,
        shuffle=shuffle,
        verbose=0,
        callbacks=[callback],
    )
    expected = [(), (), choices[2], choices[2], choices[4], choices[4]]
    assert len(callback.counts_of_epochs) == len(expected)
    for counts, chosen in zip(callback.counts_of_epochs, expected, strict=True):
        np.testing.assert_array_equal(counts, expected_counts(chosen))


@pytest.mark.parametrize("workers", [2, 0])
def test_training_step_sees_each_sample_once_per_epoch(model, workers):
    data = mixed(workers=workers, max_queue_size=3)
    check_that_each_sample_comes_once(model, data)
    assert data.epoch == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_training_step_sees_each_sample_once_if_fit_shuffles(model, workers):
    check_that_each_sample_comes_once(
        model, mixed(workers=workers), shuffle=True
    )


def test_training_step_sees_each_sample_once_from_threads(model, save_files):
    data = mixed(pool=save_files(POOL, "pool"), image_size=(1, 1), workers=2)
    check_that_each_sample_comes_once(model, data)


@pytest.mark.every_backend
def test_training_step_sees_each_sample_once_from_processes(model, save_files):
    data = mixed(
        images=save_files(IMAGES, "images"),
        pool=save_files(POOL, "pool"),
        image_size=(1, 1),
        workers=2,
        use_multiprocessing=True,
    )
    before = set(multiprocessing.active_children())
    check_that_each_sample_comes_once(model, data)
    children = set(multiprocessing.active_children()) - before
    assert len(children) == 2
    # TensorFlow never lets go of a dataset that `fit` has read.
    if keras.backend.backend() != "tensorflow":
        del data
        gc.collect()
        deadline = time.monotonic() + 60
        while any(child.is_alive() for child in children):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_choice_within_an_epoch_waits_for_the_next(model):
    class ChooseLate(ChooseAndRecord):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3 and not len(self.data.chosen):
                self.data.chosen = some_rows(12, seed=1)

    data = mixed(workers=2)
    callback = ChooseLate(data, {})
    model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    before, after = callback.counts_of_epochs
    np.testing.assert_array_equal(before, expected_counts(()))
    np.testing.assert_array_equal(after, expected_counts(some_rows(12, seed=1)))


# What an epoch holds, by hand


@pytest.mark.parametrize("num_chosen", [0, 1, 12, BUDGET])
def test_samples_are_spread_evenly_over_a_fixed_number_of_batches(num_chosen):
    data = mixed()
    data.chosen = some_rows(num_chosen, seed=0)
    sizes = [len(ids) for _, ids in data]
    assert len(data) == data.num_batches == len(sizes) == 7
    assert sum(sizes) == NUM_ID + num_chosen
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 10


def test_batches_are_full_when_the_whole_budget_is_chosen():
    data = mixed(images=IMAGES[:40], batch_size=15)
    data.chosen = some_rows(BUDGET, seed=0)
    assert [len(ids) for _, ids in data] == [15] * 4


def test_nothing_is_chosen_at_first():
    data = mixed()
    assert data.chosen.shape == (0,)
    assert sorted(samples_of_epoch(data)) == whole_epoch()


def test_both_kinds_are_shuffled_together():
    data = mixed()
    data.chosen = some_rows(BUDGET, seed=0)
    shares = [np.mean(ids == -1) for _, ids in data]
    assert min(shares) < BUDGET / (NUM_ID + BUDGET) < max(shares) < 1
    ids = np.concatenate([ids for _, ids in data])
    assert np.count_nonzero(np.diff(ids == -1)) > 10


def test_ids_have_the_dtype_of_image_batches():
    data = mixed()
    data.chosen = [0]
    assert {ids.dtype for _, ids in data} == {np.dtype("int32")}


def test_order_is_a_function_of_seed_epoch_and_chosen():
    def order(seed, epoch, chosen):
        data = mixed(seed=seed)
        data.epoch = epoch
        data.chosen = chosen
        return samples_of_epoch(data)

    orders = {
        (seed, epoch, chosen): order(seed, epoch, chosen)
        for seed in range(2)
        for epoch in range(2)
        for chosen in [(), (3, 50), (3, 51), (3, 50, 51)]
    }
    assert len({tuple(each) for each in orders.values()}) == 16
    for key, samples in orders.items():
        keras.utils.set_random_seed(5)
        assert order(*key) == samples
        assert order(*key[:2], key[2][::-1]) == samples


def test_order_without_a_choice_is_that_of_image_batches():
    data = mixed(seed=3)
    data.epoch = 2
    alone = ImageBatches(IMAGES, batch_size=4, seed=3)
    alone.epoch = 2
    assert samples_of_epoch(data) == samples_of_epoch(alone)


def test_order_is_that_of_earlier_releases():
    # A changed order would silently change what a resumed run sees.
    data = mixed(images=IMAGES[:6], budget=2, batch_size=4, seed=3)
    data.epoch = 5
    data.chosen = [9, 4]
    ids = [4, 0, 2, -1, 5, 1, 3, -1]
    rows = [4, 0, 2, 1004, 5, 1, 3, 1009]
    assert samples_of_epoch(data) == list(zip(rows, ids, strict=True))


def test_resumed_data_goes_on_as_if_never_interrupted():
    data = mixed(seed=4)
    seen = []
    for epoch in range(5):
        if epoch == 2:
            data.chosen = some_rows(12, seed=0)
        seen.append(samples_of_epoch(data))
        data.on_epoch_end()
    resumed = mixed(seed=4, workers=2)
    resumed.epoch = 3
    resumed.chosen = some_rows(12, seed=0)
    for epoch in (3, 4):
        assert samples_of_epoch(resumed) == seen[epoch]
        resumed.on_epoch_end()


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_read_before_a_choice_are_not_delivered_after_it(workers):
    data = mixed(workers=workers)
    # As Keras does to find out the shapes.
    data.on_epoch_begin()
    data[0], data[1]
    data.on_epoch_end()
    data.chosen = some_rows(5, seed=0)
    assert sorted(samples_of_epoch(data)) == whole_epoch(some_rows(5, seed=0))
    data.on_epoch_end()
    data.chosen = some_rows(7, seed=1)
    assert sorted(samples_of_epoch(data)) == whole_epoch(some_rows(7, seed=1))


def test_choice_is_in_force_from_the_next_first_batch():
    data = mixed()
    data[0]
    data.chosen = some_rows(5, seed=0)
    assert sorted(samples_of_epoch(data)) == whole_epoch(some_rows(5, seed=0))


def test_choice_after_a_look_into_an_epoch_is_in_force_when_keras_begins_it():
    data = mixed()
    # TensorFlow's thread may still read ahead when an epoch is over.
    data[3]
    data.chosen = some_rows(5, seed=0)
    data.on_epoch_begin()
    seen = [len(data[index][1]) for index in (6, 2, 4, 1, 5, 3, 0)]
    assert sum(seen) == NUM_ID + 5


def test_choice_can_be_taken_back():
    data = mixed()
    data.chosen = [1, 2]
    data.chosen = []
    assert sorted(samples_of_epoch(data)) == whole_epoch()


def test_chosen_cannot_be_changed_unnoticed():
    data = mixed()
    rows = np.array([5, 2])
    data.chosen = rows
    rows[:] = 7
    assert data.chosen.tolist() == [5, 2]
    with pytest.raises(ValueError, match="read-only"):
        data.chosen[0] = 1


def test_refused_choice_changes_nothing():
    data = mixed()
    data.chosen = [1, 2]
    with pytest.raises(ValueError, match="`chosen`"):
        data.chosen = [1, 1]
    assert data.chosen.tolist() == [1, 2]
    assert sorted(samples_of_epoch(data)) == whole_epoch([1, 2])


# Sources


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_maps_are_read_batch_by_batch(tmp_path, workers):
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "pool.npy", POOL)
    data = mixed(
        np.load(tmp_path / "images.npy", mmap_mode="r"),
        np.load(tmp_path / "pool.npy", mmap_mode="r"),
        workers=workers,
    )
    data.chosen = some_rows(9, seed=0)
    assert sorted(samples_of_epoch(data)) == whole_epoch(some_rows(9, seed=0))
    assert type(data.pool_rows[2:4]) is np.ndarray


@pytest.mark.parametrize("of_files", ["images", "pool", "both"])
def test_arrays_and_files_can_be_mixed(save_files, of_files):
    images, pool = IMAGES, POOL
    if of_files in ("images", "both"):
        images = save_files(IMAGES, "images")
    if of_files in ("pool", "both"):
        pool = save_files(POOL, "pool")
    data = mixed(images, pool, image_size=(1, 1))
    data.chosen = some_rows(9, seed=0)
    assert sorted(samples_of_epoch(data)) == whole_epoch(some_rows(9, seed=0))


def test_image_batches_stand_for_what_they_hold(save_files):
    paths = save_files(POOL, "pool")
    data = mixed(
        ImageBatches(IMAGES, batch_size=3, seed=9),
        ImageBatches(paths, ids=np.full(NUM_POOL, -1), image_size=(1, 1)),
    )
    assert data.id_rows.array is IMAGES
    assert list(data.pool_rows.paths) == [str(path) for path in paths]
    data.chosen = some_rows(9, seed=0)
    assert sorted(samples_of_epoch(data)) == whole_epoch(some_rows(9, seed=0))


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("batch_size", [1, 8, 43, 60, 100])
def test_samples_of_datasets_come_once(batch_size, with_labels):
    data = mixed(
        Batches(IMAGES, batch_size, with_labels),
        Batches(POOL, batch_size, with_labels),
    )
    for seed in (0, 1):
        chosen = some_rows(9, seed)
        data.chosen = chosen
        assert sorted(samples_of_epoch(data)) == whole_epoch(chosen)
        data.on_epoch_end()


@pytest.mark.every_backend
def test_dataset_of_tensors_is_read():
    class Tensors(Batches):
        def __getitem__(self, index):
            x, _ = super().__getitem__(index)
            return [ops.convert_to_tensor(x), None]

    data = mixed(Tensors(IMAGES, 8), Tensors(POOL, 8))
    data.chosen = some_rows(9, seed=0)
    assert sorted(samples_of_epoch(data)) == whole_epoch(some_rows(9, seed=0))


def test_id_dataset_is_held_in_memory():
    source = Batches(IMAGES, 8)
    data = mixed(source)
    assert set(source.read) == set(range(6))
    source.read.clear()
    for _ in range(2):
        assert sorted(samples_of_epoch(data)) == whole_epoch()
        data.on_epoch_end()
    assert not source.read


def test_only_batches_that_hold_chosen_rows_are_read():
    source = Batches(POOL, 8)
    data = mixed(pool=source)
    source.read.clear()
    data.chosen = [17, 40, 16, 47, 23]
    assert source.read == [2, 5]
    samples_of_epoch(data)
    data.on_epoch_end()
    samples_of_epoch(data)
    assert source.read == [2, 5]


def test_rows_of_a_source_are_read_in_order_and_as_they_are(save_files):
    paths = save_files(POOL, "pool")
    for pool in (POOL, paths, Batches(POOL, 8)):
        data = mixed(pool=pool, image_size=(1, 1) if pool is paths else None)
        rows = data.pool_rows
        assert len(rows) == NUM_POOL
        assert rows.shape == (1, 1, 3)
        assert rows.dtype == np.uint8
        np.testing.assert_array_equal(rows[:], POOL)
        np.testing.assert_array_equal(rows[50:70], POOL[50:])
        np.testing.assert_array_equal(rows[5:40:7], POOL[5:40:7])
        chosen = np.array([50, 3, 3, 59, 0])
        np.testing.assert_array_equal(rows[chosen], POOL[chosen])
        assert rows[[]].shape == (0, 1, 1, 3)
        np.testing.assert_array_equal(data.id_rows[4:9], IMAGES[4:9])


@pytest.mark.parametrize("block", [1, 5, 8, 13, 60])
def test_pass_over_a_dataset_in_order_reads_each_batch_once(block):
    source = Batches(POOL, 8)
    rows = mixed(pool=source).pool_rows
    rows[59:60]
    source.read.clear()
    for start in range(0, NUM_POOL, block):
        rows[start : start + block]
    assert source.read == list(range(8))


@pytest.mark.parametrize("index", [None, [0.5], [[1]], [True], 1.0])
def test_rows_are_read_by_integer_slice_or_array_of_integers(index):
    with pytest.raises(TypeError, match="by an integer, a slice or"):
        mixed().pool_rows[index]


def test_a_single_row_is_a_sample():
    rows = mixed().pool_rows
    np.testing.assert_array_equal(rows[7], rows[[7]][0])
    assert len(list(rows)) == len(rows)


@pytest.mark.parametrize("index", [[-1], [60]])
def test_row_that_is_not_there_is_named(index):
    with pytest.raises(IndexError, match=rf"0 \.\.\. 59.*{index[0]}"):
        mixed().pool_rows[index]


def test_data_is_freed():
    data = mixed(workers=2)
    data[0]
    reference = weakref.ref(data)
    del data
    gc.collect()
    assert reference() is None


# Bad input

FLOATS = np.zeros((NUM_POOL, 1, 1, 3), "float32")
NOT_FINITE = FLOATS.copy()
NOT_FINITE[33] = np.nan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": POOL[:0]}, "`pool` must be an array.*not empty"),
        ({"pool": []}, "`pool` must not be empty"),
        ({"images": IMAGES[:0]}, "`images` must be an array.*not empty"),
        ({"pool": None}, "`pool` must be .* a `PyDataset`.*NoneType"),
        ({"images": 3}, "`images` must be .* a `PyDataset`.*int"),
        ({"pool": POOL.tolist()}, "`pool` must be .*that holds: list"),
        ({"pool": POOL.astype(object)}, "`pool` must be an array of real"),
        ({"budget": 0}, "`budget` must be an integer >= 1"),
        ({"budget": 2.0}, "`budget` must be an integer >= 1"),
        ({"budget": 61}, "`budget` must not be larger .*budget=61.*: 60"),
        ({"pool": POOL[:, 0]}, r"`pool`.*shape=\(1, 1, 3\).*shape=\(1, 3\)"),
        ({"pool": FLOATS}, "`pool`.*dtype=uint8.*Received.*dtype=float32"),
        (
            {"pool": Batches(FLOATS, 8)},
            "`pool`.*dtype=uint8.*Received.*dtype=float32",
        ),
        (
            {"images": FLOATS, "pool": NOT_FINITE},
            "`pool` must be finite.*image 33",
        ),
        (
            {"images": NOT_FINITE, "pool": FLOATS},
            "`images` must be finite.*image 33",
        ),
        (
            {"images": Batches(NOT_FINITE, 8), "pool": FLOATS},
            "`images` must be finite.*image 33",
        ),
        ({"image_size": (1, 1)}, "`image_size` is for paths"),
        ({"pool": ["a.png"]}, "`image_size` must be given"),
        ({"batch_size": 1}, "`batch_size` must be an integer >= 2"),
        ({"batch_size": 2}, "`images` must have two samples for each batch"),
        (
            {"images": IMAGES[:7], "budget": 60},
            "Received: 7 samples for 7 batches of up to 10, .* budget of 60",
        ),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"workers": -1}, "`workers` must be an integer >= 0"),
        ({"max_queue_size": 0}, "`max_queue_size` must be an integer >= 1"),
        (
            {"images": ImageBatches(IMAGES, ids=np.arange(NUM_ID)[::-1])},
            "The ids of `images` are its rows",
        ),
    ],
)
def test_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mixed(**arguments)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (3, r"one-dimensional.*shape=\(\)"),
        ([[1, 2]], r"one-dimensional.*shape=\(1, 2\)"),
        ([1.0], "integers.*dtype=float64"),
        (np.ones(NUM_POOL, bool), "integers.*dtype=bool"),
        (["a"], "integers.*dtype=<U1"),
        ([-1], r"rows of the pool, 0 \.\.\. 59.*Received: -1"),
        ([4, 60], r"rows of the pool, 0 \.\.\. 59.*Received: 4 to 60"),
        ([4, 9, 4], "no row twice. Received: row 4, 2 times"),
        (np.arange(21), "at most `budget` rows, 20. Received: 21"),
    ],
)
def test_bad_choice_is_named(chosen, message):
    with pytest.raises(ValueError, match=f"`chosen` must .*{message}"):
        mixed().chosen = chosen


class OddBatches(Batches):
    """One batch, or what the dataset says of itself, is not as it should be."""

    def __init__(self, samples, odd, num_batches=8, number=3):
        super().__init__(samples, batch_size=8)
        self.odd = odd
        self.number = number
        self.said_num_batches = num_batches

    @property
    def num_batches(self):
        return self.said_num_batches

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        return self.odd(*batch) if index == self.number else batch


@pytest.mark.parametrize(
    ("odd", "number", "message"),
    [
        (lambda x, y: {"x": x}, 0, "yield batches.*dict in batch 0"),
        (lambda x, y: (x.tolist(), y), 0, "yield batches.*list in batch"),
        (lambda x, y: x[:0], 0, r"yield.*\(0, 1, 1, 3\).* in batch 0"),
        (lambda x, y: x.astype(object), 7, "yield.*object in batch 7"),
        (lambda x, y: x[:, 0], 7, r"of one size, shape.*\(4, 1, 3\).*batch 7"),
        (lambda x, y: x.astype("int8"), 7, "of one size.*dtype=int8 in batch"),
        (lambda x, y: np.repeat(x, 4, 0), 7, r"of one size.*\(16, .*batch 7"),
        (
            lambda x, y: np.random.default_rng().permutation(x),
            0,
            "always give the same batch",
        ),
    ],
)
def test_odd_batch_of_a_dataset_is_named(odd, number, message):
    with pytest.raises(ValueError, match=f"`pool` must .*{message}"):
        mixed(pool=OddBatches(POOL, odd, number=number))


@pytest.mark.parametrize("num_batches", [None, 0])
def test_dataset_must_have_a_known_number_of_batches(num_batches):
    pool = OddBatches(POOL, tuple, num_batches)
    with pytest.raises(ValueError, match=f"num_batches={num_batches}"):
        mixed(pool=pool)


def test_odd_batch_of_the_pool_is_named_when_it_is_read():
    data = mixed(pool=OddBatches(POOL, lambda x, y: x[:5]))
    data.chosen = [1]
    with pytest.raises(ValueError, match=r"`pool`.*\(5, 1, 1, 3\).*batch 3"):
        data.chosen = [30]
    assert sorted(samples_of_epoch(data)) == whole_epoch([1])
    data = mixed(FLOATS, Batches(NOT_FINITE, 8))
    with pytest.raises(ValueError, match=r"`pool` must be finite.*image 33"):
        data.pool_rows[:40]


def test_missing_file_is_named_at_once(save_files):
    paths = save_files(POOL, "pool")
    paths[0].unlink()
    with pytest.raises(ValueError, match=r"Cannot read the image .*0\.png"):
        mixed(pool=paths, image_size=(1, 1))
