"""The recipes of docs/guides/shards.md give right ids, also after a resume."""

import io
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_ltssl as lt

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "shards.md"
NUM_FILES, IN_FILE, SIZE, BATCH, EPOCHS = 3, 10, 8, 8, 4
COUNT = NUM_FILES * IN_FILE
STEPS = COUNT // BATCH


def encoded(row):
    """Returns a file of an image whose color is its number."""
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    pixels = np.full((12, 16, 3), 8 * row, "uint8")
    image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def recipe(title):
    """Returns the code under a heading, for few and small images."""
    section = GUIDE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    for large, small in (
        ("64, 64", f"{SIZE}, {SIZE}"),
        ("256", str(BATCH)),
        ("10_000", str(COUNT)),
        ('"jpg"', '"png"'),
    ):
        code = code.replace(large, small)
    return code


def fit_recipe():
    """Returns the code that trains and goes on."""
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    return code.replace("64, 64", f"{SIZE}, {SIZE}").replace(
        "steps_per_epoch", "verbose=0, steps_per_epoch"
    )


def tfrecord(folder):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")
    files = []
    for number in range(NUM_FILES):
        files.append(str(folder / f"{number}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for row in range(number * IN_FILE, (number + 1) * IN_FILE):
                value = tf.train.BytesList(value=[encoded(row)])
                feature = {"image": tf.train.Feature(bytes_list=value)}
                example = tf.train.Example(
                    features=tf.train.Features(feature=feature)
                )
                writer.write(example.SerializeToString())
    return files


def array_record(folder):
    pytest.importorskip("grain")
    # Older versions of Keras do not know grain.
    pytest.importorskip(
        "keras.src.trainers.data_adapters.grain_dataset_adapter"
    )
    module = pytest.importorskip("array_record.python.array_record_module")
    files = []
    for number in range(NUM_FILES):
        files.append(str(folder / f"{number}.array_record"))
        writer = module.ArrayRecordWriter(files[-1], "group_size:1")
        for row in range(number * IN_FILE, (number + 1) * IN_FILE):
            writer.write(encoded(row))
        writer.close()
    return files


def web_dataset(folder):
    wds = pytest.importorskip("webdataset")
    files = []
    for number in range(NUM_FILES):
        files.append(str(folder / f"{number}.tar"))
        with wds.TarWriter(files[-1]) as writer:
            for row in range(number * IN_FILE, (number + 1) * IN_FILE):
                writer.write({"__key__": f"{row:06}", "png": encoded(row)})
    return files


KINDS = pytest.mark.parametrize(
    ("title", "make"),
    [
        ("TFRecord", tfrecord),
        ("ArrayRecord", array_record),
        pytest.param(
            "WebDataset",
            web_dataset,
            # webdataset leaves the last file to the garbage collector.
            marks=pytest.mark.filterwarnings(
                "ignore::pytest.PytestUnraisableExceptionWarning",
                "ignore:unclosed file:ResourceWarning",
            ),
        ),
    ],
)


def names_of(title, make, folder):
    names = {
        **{"files": make(folder), "np": np, "lt": lt, "keras": keras},
        **{"epochs": EPOCHS, "steps": STEPS},
    }
    exec(compile(recipe(title), title, "exec"), names)
    return names


def read(batches):
    """Returns images and ids of each batch, as arrays."""
    return [
        tuple(np.asarray(part) for part in batch) for batch in iter(batches)
    ]


@pytest.mark.every_backend
@KINDS
def test_each_image_comes_with_its_number_in_an_order_of_the_epoch(
    title, make, tmp_path
):
    names = names_of(title, make, tmp_path)
    found = read(names["batches"](0))
    assert len(found) == EPOCHS * STEPS
    orders = []
    for images, ids in found:
        assert images.shape == (BATCH, SIZE, SIZE, 3)
        assert ids.dtype.kind == "i"
        np.testing.assert_allclose(images[:, 0, 0, 0], 8 * ids)
        orders.append(ids.tolist())
    for epoch in range(EPOCHS):
        part = np.ravel(orders[epoch * STEPS : (epoch + 1) * STEPS]).tolist()
        assert len(set(part)) == STEPS * BATCH
        assert part != sorted(part)
    assert orders[:STEPS] != orders[STEPS : 2 * STEPS]
    # From a later epoch on, the same batches.
    later = [ids.tolist() for _, ids in read(names["batches"](2))]
    assert later == orders[2 * STEPS :]


class StoppedError(Exception):
    """Ends a training as a kill does."""


class StopIn(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise StoppedError


def made():
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    views = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.GaussianNoise(0.5, seed=0),
    ]
    model = lt.models.ContrastiveModel(
        encoder, augmenter=lt.layers.TwoViews(views)
    )
    model.compile("sgd", loss=lt.losses.COLTLoss(num_samples=COUNT))
    return model


def train(names, folder, callbacks=()):
    """Trains by the recipe, and returns the model."""
    model = made()
    code = fit_recipe().replace(
        "callbacks=[checkpoint]", "callbacks=[*others, checkpoint]"
    )
    names = {**names, "model": model, "folder": folder, "others": callbacks}
    exec(compile(code, "fit", "exec"), names)
    return model


@pytest.mark.every_backend
@KINDS
def test_a_run_that_goes_on_ends_as_one_without_a_break(title, make, tmp_path):
    names = names_of(title, make, tmp_path)
    whole = train(names, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(names, tmp_path / "run", [StopIn()])
    resumed = train(names, tmp_path / "run")
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )
    # Every sample has left its trace in the memory, under its own number.
    _, seen = whole.loss_state.parts["tailness"].read()
    assert np.sum(keras.ops.convert_to_numpy(seen)) > COUNT - BATCH


def test_records_can_be_a_pool_that_is_embedded_and_chosen_from(tmp_path):
    names = names_of("A pool in shards", array_record, tmp_path)
    pool = names["pool"]
    assert sum(len(pool[number]) for number in range(len(pool))) == COUNT
    images = np.zeros((16, SIZE, SIZE, 3), "uint8")
    mixed = lt.datasets.MixedBatches(images, pool, budget=6, batch_size=8)
    mixed.chosen = [29, 3]
    chosen = [image for batch, ids in mixed for image in batch[ids == -1]]
    assert sorted(image[0, 0, 0] for image in chosen) == [24, 232]
    assert np.all(mixed.pool_rows[[7]] == 56)
    encoder = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), keras.layers.GlobalAveragePooling2D()]
    )
    features = lt.evaluation.embed(encoder, pool, tmp_path / "features.npy")
    np.testing.assert_allclose(features[:, 0], 8 * np.arange(COUNT), rtol=1e-6)
