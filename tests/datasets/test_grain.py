"""Pipelines of grain feed `fit`, ids included; they need no adapter of ours."""

import os

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt

grain = pytest.importorskip("grain")
# Older versions of Keras do not know grain.
pytest.importorskip("keras.src.trainers.data_adapters.grain_dataset_adapter")

# float32 does not know odd numbers from here on.
FIRST_ID = 2**24
SAMPLES, BATCH = 12, 4
# By default, 16 threads read 500 batches ahead.
READING = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)


class Source(grain.sources.RandomAccessDataSource):
    """Samples `(sample, id)`, as a user's own source would have them."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, row):
        return self.samples[row], np.int64(FIRST_ID + row)


def map_dataset(source):
    dataset = grain.MapDataset.source(source).shuffle(seed=0).repeat()
    return dataset.batch(BATCH)


def iter_dataset(source):
    return map_dataset(source).to_iter_dataset(READING)


def data_loader(source):
    sampler = grain.samplers.IndexSampler(
        num_records=len(source),
        shard_options=grain.sharding.NoSharding(),
        shuffle=True,
        seed=0,
    )
    return grain.DataLoader(
        data_source=source,
        sampler=sampler,
        operations=[grain.transforms.Batch(BATCH)],
        read_options=READING,
    )


def remembered(model):
    _, seen = model.loss_state.parts["tailness"].read()
    return (np.flatnonzero(seen) - FIRST_ID).tolist()


def fit(model, dataset):
    model.compile(
        "sgd", loss=lt.losses.COLTLoss(num_samples=FIRST_ID + SAMPLES)
    )
    steps = SAMPLES // BATCH
    return model.fit(
        dataset, epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("pipeline", [map_dataset, iter_dataset, data_loader])
def test_every_kind_of_pipeline_trains_with_exact_ids(pipeline):
    views = np.random.default_rng(0).normal(size=(SAMPLES, 2, 3))
    model = lt.models.ContrastiveModel(
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]),
        projector=keras.layers.Dense(2),
    )
    fit(model, pipeline(Source(views.astype("float32"))))
    assert remembered(model) == list(range(SAMPLES))
    assert int(ops.convert_to_numpy(model.loss_state.step)) == 6


class Decode(grain.transforms.Map):
    """From a path and an id to an image and the id."""

    def map(self, element):
        path, row = element
        return lt.datasets.read_images([path], (16, 16))[0], row


def test_image_files_train_on_the_default_views(tmp_path):
    pytest.importorskip("PIL")
    paths = [os.path.join(tmp_path, f"{row}.png") for row in range(SAMPLES)]
    for row, path in enumerate(paths):
        keras.utils.save_img(path, np.full((20, 18, 3), 20 * row), scale=False)
    dataset = grain.MapDataset.source(Source(paths)).map(Decode())
    dataset = dataset.shuffle(seed=0).repeat().batch(BATCH)
    model = lt.models.ContrastiveModel(
        lt.models.small_convnet((16, 16, 3), width=2)
    )
    history = fit(model, dataset.to_iter_dataset(READING))
    assert np.isfinite(history.history["loss"]).all()
    assert remembered(model) == list(range(SAMPLES))
