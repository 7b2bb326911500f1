"""The rows are those of the plain algorithm in float64, in its order."""

import sys
import tracemalloc

import numpy as np
import pytest

import keras_ltssl as lt
import reference

module = sys.modules["keras_ltssl.samplers.greedy_k_centers"]
choose = lt.samplers.greedy_k_centers


def rows_of(kind, count=150, seed=0):
    random = np.random.default_rng(seed)
    if kind == "line":
        return random.normal(size=(count, 1))
    if kind == "plane":
        return random.normal(size=(count, 2))
    if kind == "sphere":
        return reference.unit(random.normal(size=(count, 24)))
    if kind == "clusters":
        middles = 9 * random.normal(size=(7, 16))
        return middles[random.integers(7, size=count)] + random.normal(
            size=(count, 16)
        )
    if kind == "whole numbers":  # Many of them equally far, or equal.
        return np.round(random.normal(size=(count, 3)))
    if kind == "signs":  # All are as long; only few distances are possible.
        return reference.unit(np.sign(random.normal(size=(count, 16))))
    if kind == "collapsed":
        return reference.unit(1 + 1e-6 * random.normal(size=(count, 16)))
    # Lengths so different that most distances drown in rounding errors.
    return random.normal(size=(count, 8)) * 10.0 ** random.integers(
        -9, 9, size=(count, 1)
    )


KINDS = [
    "line",
    "plane",
    "sphere",
    "clusters",
    "whole numbers",
    "signs",
    "collapsed",
    "lengths",
]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_plain_algorithm(kind, dtype):
    rows = rows_of(kind)
    rows = np.clip(rows, -6e4, 6e4) if dtype == "float16" else rows
    rows = rows.astype(dtype)
    found = choose(rows, 100)
    assert found.dtype == np.int64
    assert found.tolist() == reference.greedy_k_centers(rows, 100)


@pytest.mark.parametrize("kind", KINDS)
def test_given_centers_are_centers_from_the_start(kind):
    rows, centers = rows_of(kind), rows_of(kind, 40, seed=1)
    expected = reference.greedy_k_centers(rows, 100, centers)
    assert choose(rows, 100, centers).tolist() == expected
    assert choose(rows, 100).tolist() != expected


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_candidates_do_not_matter(kind, monkeypatch):
    rows, centers = rows_of(kind, 90), rows_of(kind, 20, seed=1)
    expected = choose(rows, 60, centers).tolist()
    for entries, candidates in ((1, 2), (50, 1), (600, 5), (2**30, 600)):
        monkeypatch.setattr(module, "BLOCK_ENTRIES", entries)
        monkeypatch.setattr(module, "CANDIDATES", candidates)
        assert choose(rows, 60, centers).tolist() == expected


def test_a_smaller_budget_is_the_beginning():
    rows = rows_of("clusters")
    whole = choose(rows, 150).tolist()
    assert sorted(whole) == list(range(150))
    for budget in (0, 1, 37, 149):
        assert choose(rows, budget).tolist() == whole[:budget]


def test_no_choice_leaves_less_than_half_the_distance():
    # The bound of greedy k-center, against the best of many random choices.
    rows = rows_of("plane", 60)
    gaps = np.linalg.norm(rows[:, None] - rows, axis=2)
    radius = gaps[:, choose(rows, 5)].min(axis=1).max()
    random = np.random.default_rng(0)
    best = min(
        gaps[:, random.choice(60, 5, replace=False)].min(axis=1).max()
        for _ in range(2000)
    )
    assert best < radius * 1.2
    assert radius <= 2 * best


def test_first_comes_row_0_or_the_farthest_from_the_centers():
    rows = [[0.0], [1.0], [6.0], [10.0]]
    assert choose(rows, 4).tolist() == [0, 3, 2, 1]
    assert choose(rows, 4, [[10.0]]).tolist() == [0, 2, 1, 3]


def test_copies_come_last_and_in_order():
    rows = rows_of("sphere", 20).astype("float32")
    doubled = np.concatenate([rows, rows, rows[:1] * np.float32(-1)])
    found = choose(doubled, 41).tolist()
    assert sorted(found[:21]) == [*range(20), 40]
    assert found[21:] == list(range(20, 40))
    # A copy of a given center is 0 away as well, whatever its index.
    found = choose(doubled, 41, rows[:5]).tolist()
    assert found[16:] == [0, 1, 2, 3, 4, *range(20, 40)]
    assert choose(-np.zeros((3, 2)), 3, np.zeros((1, 2))).tolist() == [0, 1, 2]


def test_equal_distances_go_by_the_index():
    assert choose(np.eye(50), 50).tolist() == list(range(50))
    assert choose(-np.eye(50), 50, np.zeros((1, 50))).tolist() == list(
        range(50)
    )


def test_near_ties_of_float32_are_resolved_in_float64():
    # On a circle around the only center; radii differ by less than float32
    # distances can tell.
    random = np.random.default_rng(0)
    angles = random.uniform(0, 2 * np.pi, size=200)
    radii = 1e3 * (1 + 1e-9 * random.permutation(200))
    rows = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    center = np.zeros((1, 2))
    assert choose(rows, 1, center)[0] == radii.argmax()
    expected = reference.greedy_k_centers(rows, 150, center)
    assert choose(rows, 150, center).tolist() == expected


@pytest.mark.parametrize("power", [-1000, -300, 300, 1000])
def test_scale_does_not_matter(power):
    rows, centers = rows_of("clusters", 100), rows_of("clusters", 9, seed=1)
    scaled = np.ldexp(rows, power), np.ldexp(centers, power)
    expected = choose(rows, 60, centers).tolist()
    assert choose(scaled[0], 60, scaled[1]).tolist() == expected


def test_rows_may_be_a_memory_map_and_of_any_layout(tmp_path):
    rows = rows_of("sphere").astype("float32")
    expected = choose(rows, 99).tolist()
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert choose(mapped, 99).tolist() == expected
    assert choose(np.asfortranarray(rows), 99).tolist() == expected
    assert choose(np.repeat(rows, 2, axis=1)[:, ::2], 99).tolist() == expected


def test_arguments_are_left_as_they_are():
    rows, centers = rows_of("plane"), rows_of("plane", 40, seed=1)
    before = rows.copy(), centers.copy()
    choose(rows, 50, centers)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(centers, before[1])


def test_memory_is_that_of_blocks():
    random = np.random.default_rng(0)
    rows = random.standard_normal((20_000, 128), dtype="float32")
    tracemalloc.start()
    choose(rows, 100, rows[:1000] + np.float32(1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A float64 copy of the rows would be 20 MB, all distances 176 MB.
    assert peak < 18e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 6}, "budget=6, and 5 rows"),
        ({"budget": -1}, "`budget` must be an integer >= 0.*budget=-1"),
        ({"budget": 2.0}, "budget=2.0"),
        ({"budget": True}, "budget=True"),
        ({"features": np.zeros((0, 4))}, r"`features` must have .*\(0, 4\)"),
        ({"features": np.zeros(4)}, "`features` must have shape"),
        ({"features": np.full((5, 4), "a")}, "`features` must be real"),
        ({"features": np.ones((5, 3))}, "number of features.*3 and 4"),
        ({"features": np.diag([1, 1, 1, np.nan])}, "`features`.*is row 3"),
        ({"features": np.diag([1, -np.inf, 1, 1])}, "`features`.*is row 1"),
        ({"centers": np.zeros((0, 4))}, "`centers` must have shape"),
        ({"centers": np.full((2, 4), np.nan)}, "`centers` .*2 of 2 rows"),
        ({"centers": [[1, 2, 3, np.inf]]}, "`centers` must be finite.*row 0"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    arguments = {
        "features": np.eye(5, 4),
        "budget": 2,
        "centers": np.eye(2, 4),
    }
    with pytest.raises(ValueError, match=message):
        choose(**{**arguments, **changes})
