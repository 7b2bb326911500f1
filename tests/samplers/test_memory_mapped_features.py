"""Features in files are read block by block, never copied as a whole."""

import tracemalloc

import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.arrays import unit_rows

ROWS, DIM = 50_000, 256
MIB = ROWS * DIM * 4 / 2**20  # 49, and a whole one in float64 twice that
MOST = 16


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "features.npy"
    array = np.lib.format.open_memmap(path, "w+", "float32", (ROWS, DIM))
    random = np.random.default_rng(0)
    for start in range(0, ROWS, 10_000):
        part = array[start : start + 10_000]
        part[:] = random.normal(size=part.shape)
        part[:, :4] += 20 * np.eye(4)[random.integers(4, size=len(part))]
    array.flush()
    return np.load(path, mmap_mode="r")


def peak_mib(function):
    """What a call returns, and the most memory that it held."""
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_memory_that_is_held_can_be_seen(features):
    _, peak = peak_mib(lambda: features * 2)
    assert peak > 0.9 * MIB


def test_kmeans_holds_only_the_rows_it_finds_centers_on(features):
    (labels, centers), peak = peak_mib(
        lambda: lt.samplers.kmeans(features, 4, engine="sklearn", max_rows=4096)
    )
    assert peak < MOST
    groups = features[:, :4].argmax(axis=1)
    assert len({(a, b) for a, b in zip(labels, groups, strict=True)}) == 4
    assert centers.shape == (4, DIM)


def test_choosing_ood_samples_copies_neither_features_nor_pool(features):
    scores = features[:, 0].astype("float64")
    choice, peak = peak_mib(
        lambda: lt.samplers.choose_colt(
            features,
            features,
            scores,
            budget=1000,
            num_clusters=4,
            engine="sklearn",
            max_rows=4096,
        )
    )
    assert peak < MOST
    units = unit_rows(choice.centers, "centers")
    cosines = unit_rows(features, "features") @ units.T
    assert (choice.labels == cosines.argmax(axis=1)).mean() > 0.999
    np.testing.assert_allclose(
        choice.cosines, cosines[np.arange(ROWS), choice.labels], atol=1e-6
    )


def test_nearest_rows_are_found_block_by_block(features):
    centers = np.eye(4, DIM)
    chosen, peak = peak_mib(
        lambda: lt.samplers.nearest_to_centers(features, centers, [5] * 4)
    )
    assert peak < MOST
    cosines = unit_rows(features, "features") @ centers.T
    for cluster in range(4):
        best = np.argsort(-cosines[:, cluster])[:5]
        some = chosen[5 * cluster : 5 * cluster + 5]
        assert set(some.tolist()) == set(best.tolist())


def test_mak_copies_neither_features_nor_pool(features):
    losses = features[:, 1].astype("float64")
    arguments = {
        "pool_features": features,
        "pool_losses": losses,
        "budget": 20,
        "num_clusters": 4,
        "engine": "sklearn",
        "max_rows": 4096,
    }
    choice, peak = peak_mib(
        lambda: lt.samplers.choose_mak(id_features=features, **arguments)
    )
    assert peak < MOST
    assert choice.losses.mean() > losses.mean()
    # Of the farthest from all ID samples, as of ID samples held in memory.
    same = lt.samplers.choose_mak(
        id_features=np.asarray(features).copy(), **arguments
    )
    assert choice.indices.tolist() == same.indices.tolist()
