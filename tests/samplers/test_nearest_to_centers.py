"""The choice is that of a full float64 sort for every cluster."""

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import keras_ltssl as lt
import reference

GOLDEN = Path(__file__).parents[1] / "golden"
nearest = sys.modules["keras_ltssl.samplers.nearest_to_centers"]
choose = lt.samplers.nearest_to_centers


def random_case(seed, dtype="float64", rows=200, dim=7, clusters=4):
    random = np.random.default_rng(seed)
    pool = random.normal(size=(rows, dim)) * random.uniform(
        0.1, 9, size=(rows, 1)
    )
    centers = random.normal(size=(clusters, dim))
    budgets = random.integers(0, rows // clusters, size=clusters)
    return pool.astype(dtype), centers, budgets


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_choice_equals_the_published_one(case, dtype):
    # Case 1 is stored without its ID features and with its pool in float32,
    # 0.7 for 2 MB: the choice published for float64 is the same in both.
    with np.load(GOLDEN / f"ood_sampling_{case}.npz") as data:
        found = choose(
            data["ood_features"].astype(dtype),
            data["cluster_centers"],
            data["cluster_budget"],
        )
        assert found.dtype == np.int64
        assert found.tolist() == data["selected"].tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("seed", range(4))
def test_choice_equals_full_sorts(seed, dtype):
    pool, centers, budgets = random_case(seed, dtype)
    expected = reference.nearest_to_centers(pool, centers, budgets)
    assert choose(pool, centers, budgets).tolist() == expected


def test_blocks_and_turns_of_clusters_do_not_matter(monkeypatch):
    pool, centers, budgets = random_case(0, "float32")
    expected = choose(pool, centers, budgets).tolist()
    monkeypatch.setattr(nearest, "BLOCK_ENTRIES", 13 * pool.shape[1])
    monkeypatch.setattr(nearest, "MOST_COSINES", 2 * len(pool))
    assert choose(pool, centers, budgets).tolist() == expected
    monkeypatch.setattr(nearest, "BLOCK_ENTRIES", 1)
    monkeypatch.setattr(nearest, "MOST_COSINES", 1)
    assert choose(pool, centers, budgets).tolist() == expected


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_rows_are_taken_in_the_order_of_their_indices(dtype, monkeypatch):
    random = np.random.default_rng(0)
    kinds = random.normal(size=(3, 37)).astype(dtype)
    pool = kinds[np.arange(300) % 3]
    monkeypatch.setattr(nearest, "BLOCK_ENTRIES", 31 * 37)
    first, second = choose(pool, kinds[:2], [40, 90]).reshape(-1, 10)[::4][:2]
    assert first.tolist() == list(range(0, 30, 3))
    assert second.tolist() == list(range(1, 31, 3))


def test_whole_numbers_tie_exactly():
    pool = [[2, 1, 0], [0, 1, 2], [1, 2, 0], [0, 2, 1], [4, 2, 0]]
    found = choose(np.array(pool), [[1, 1, 1]], [5])
    assert found.tolist() == [0, 1, 2, 3, 4]


def test_near_ties_of_float32_are_resolved_in_float64():
    # The cosines differ by less than float32 can tell.
    random = np.random.default_rng(0)
    center = random.normal(size=64)
    pool = (1e4 * center + random.normal(size=(500, 64))).astype("float32")
    cosines = reference.unit(pool) @ reference.unit(center)
    assert len(np.unique(cosines.astype("float32"))) < 5
    found = choose(pool, center[None], [500])
    assert found.tolist() == np.argsort(-cosines, kind="stable").tolist()


def test_no_row_is_taken_twice_and_a_whole_pool_can_be_taken():
    pool, centers, _ = random_case(1)
    found = choose(pool, np.repeat(centers[:1], 4, axis=0), [50] * 4)
    assert sorted(found) == list(range(200))
    assert found.tolist() == choose(pool, centers[:1], [200]).tolist()


def test_lengths_of_rows_and_centers_do_not_matter():
    pool, centers, budgets = random_case(2)
    expected = choose(pool, centers, budgets).tolist()
    scale = 2.0 ** np.random.default_rng(0).integers(-900, 900, size=(200, 1))
    assert choose(pool * scale, centers, budgets).tolist() == expected
    assert choose(pool, 1e200 * centers, budgets).tolist() == expected
    short = pool.astype("float32")
    expected = choose(short, centers, budgets).tolist()
    for factor in (2.0**100, 2.0**-110):
        scaled = short * np.float32(factor)
        assert choose(scaled, centers, budgets).tolist() == expected


def test_zero_rows_and_zero_centers_have_cosine_zero():
    pool = [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    found = choose(pool, [[1.0, 0.0]], [4])
    assert found.tolist() == [2, 1, 3, 0]
    assert choose(pool, [[0.0, 0.0]], [3]).tolist() == [0, 1, 2]


def test_float64_is_not_rounded_to_float32():
    center = np.array([[1.0, 0.0]])
    angles = 1e-3 + 1e-12 * np.random.default_rng(0).permutation(50)
    pool = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert len(np.unique(pool[:, 1].astype("float32"))) < 50
    found = choose(pool, center, [50])
    assert found.tolist() == np.argsort(angles).tolist()


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_pool_may_be_a_memory_map(tmp_path, dtype):
    pool, centers, budgets = random_case(3)
    pool = (100 * pool).astype(dtype)
    np.save(tmp_path / "pool.npy", pool)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    expected = reference.nearest_to_centers(pool, centers, budgets)
    assert choose(mapped, centers, budgets).tolist() == expected


def test_layout_of_the_pool_does_not_matter():
    pool, centers, budgets = random_case(3, "float32")
    expected = choose(pool, centers, budgets).tolist()
    assert choose(np.asfortranarray(pool), centers, budgets).tolist() == (
        expected
    )
    wide = np.repeat(pool, 2, axis=1)[:, ::2]
    assert choose(wide, centers, budgets).tolist() == expected


def test_arguments_are_left_as_they_are():
    pool, centers, budgets = random_case(0, "float32")
    pool[0] *= 1e30
    before = [pool.copy(), centers.copy(), budgets.copy()]
    choose(pool, centers, budgets)
    for array, copy in zip((pool, centers, budgets), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_memory_is_that_of_a_block_and_of_the_cosines():
    random = np.random.default_rng(0)
    pool = random.standard_normal((60_000, 128), dtype="float32")
    tracemalloc.start()
    choose(pool, pool[:10], np.full(10, 200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The cosines are 2.4 MB; a normalized copy of the pool would be 31 MB.
    assert peak < 12e6


def test_no_budget_chooses_nothing():
    assert choose(np.eye(3), np.eye(3)[:2], [0, 0]).shape == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": [3, 3]}, "sum of 6 for 5 rows"),
        ({"budgets": [3, -1]}, "must not be negative.*-1 for cluster 1"),
        ({"budgets": [3]}, "one for each of the 2 centers.*shape=\\(1,\\)"),
        ({"budgets": [1.0, 2.0]}, "`budgets` must be integers"),
        ({"pool": np.zeros((0, 4))}, r"`pool` must have shape.*shape=\(0, 4\)"),
        ({"pool": np.zeros(4)}, "`pool` must have shape"),
        ({"pool": np.full((5, 4), "a")}, "`pool` must be real numbers"),
        ({"pool": np.ones((5, 3))}, "same number of features.*3 and 4"),
        ({"centers": np.zeros((0, 4))}, "`centers` must have shape"),
        (
            {"pool": np.diag([1, 1, 1, np.nan, 1])[:, 1:]},
            "`pool` must be finite.*row 3",
        ),
        (
            {"pool": np.diag([1, 1, np.inf, 1, 1])[:, 1:].astype("float32")},
            "`pool` must be finite.*row",
        ),
        ({"centers": [[1, 2, 3, 4], [1, np.nan, 0, 0]]}, "`centers`.*row 1"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    arguments = {
        "pool": np.eye(5, 4),
        "centers": np.eye(2, 4),
        "budgets": [2, 2],
    }
    with pytest.raises(ValueError, match=message):
        choose(**{**arguments, **changes})


def test_nan_in_a_later_block_is_named_by_its_row(monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK_ENTRIES", 8)
    pool = np.ones((9, 4))
    pool[7, 2] = np.nan
    with pytest.raises(ValueError, match="row 7"):
        choose(pool, np.ones((1, 4)), [1])
