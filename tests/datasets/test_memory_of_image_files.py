"""An epoch of image files holds a few batches at a time, not the images."""

import tracemalloc

import keras
import numpy as np
import pytest

import keras_ltssl as lt

pytest.importorskip("PIL")

FILES, SIZE, BATCH = 400, 64, 4
BYTES = FILES * SIZE * SIZE * 3  # 4.7 MiB as an array


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [str(folder / f"{row}.png") for row in range(FILES)]
    for row, path in enumerate(paths):
        color = np.full((1, 1, 3), row % 256, "uint8")
        keras.utils.save_img(path, color, scale=False)
    return paths


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_is_that_of_the_batches_read_ahead(paths, workers):
    batches = lt.datasets.ImageBatches(
        paths,
        batch_size=BATCH,
        image_size=(SIZE, SIZE),
        workers=workers,
        max_queue_size=4,
    )
    batches[0]  # What is loaded at first use is no part of an epoch.
    tracemalloc.start()
    try:
        seen = []
        for epoch in range(2):
            batches.epoch = epoch
            for index in range(len(batches)):
                images, ids = batches[index]
                assert (images == (ids % 256)[:, None, None, None]).all()
                seen.extend(ids.tolist())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorted(seen) == sorted([*range(FILES), *range(FILES)])
    assert peak < BYTES / 4
