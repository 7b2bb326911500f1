"""Groups of near-duplicates, against a slow reference."""

import tracemalloc

import numpy as np
import pytest

from keras_ltssl.evaluation import near_duplicates
from keras_ltssl.samplers import duplicate_groups

RANDOM = np.random.default_rng(0)


def slow_groups(rows, similarity):
    """Each sample joins the nearest leader before it, or leads a group."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    leaders, groups = [], []
    for unit in units:
        cosines = [float(unit @ units[leader]) for leader in leaders]
        if cosines and max(cosines) >= similarity:
            groups.append(int(np.argmax(cosines)))
        else:
            groups.append(len(leaders))
            leaders.append(len(groups) - 1)
    return groups


def few_directions(count=300, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3))


@pytest.mark.parametrize("similarity", [0.8, 0.95, 0.995])
@pytest.mark.parametrize("block", [7, 64, 2**10])
def test_groups_are_those_of_a_slow_reference(monkeypatch, similarity, block):
    monkeypatch.setattr(duplicate_groups, "BLOCK_ROWS", block)
    monkeypatch.setattr(duplicate_groups, "BLOCK_LEADERS", block)
    rows = few_directions()
    expected = slow_groups(rows, similarity)
    assert near_duplicates(rows, similarity).tolist() == expected
    assert 0 < len(set(expected)) < 300


def test_every_member_is_near_the_first_of_its_group():
    rows = few_directions(500)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    groups = near_duplicates(rows, 0.9)
    first = np.unique(groups, return_index=True)[1]
    assert np.all(np.diff(first) > 0)  # Numbers in order of appearance.
    assert np.all(np.sum(units * units[first][groups], axis=1) > 0.9 - 1e-5)


def test_copies_of_any_length_are_found_in_half_precision_too():
    rows = RANDOM.normal(size=(30, 16)).astype("float16")
    both = np.concatenate([rows, rows * np.float16(2), rows])
    groups = near_duplicates(both, 1.0)
    assert groups.tolist() == [*range(30)] * 3
    assert groups.dtype == np.int64


def test_distinct_samples_have_groups_of_their_own():
    rows = RANDOM.normal(size=(50, 64))
    assert near_duplicates(rows).tolist() == list(range(50))


def test_rows_of_zeros_are_one_group():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert near_duplicates(rows).tolist() == [0, 1, 0, 2]
    assert near_duplicates(rows[::-1]).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("shape", [(28, 28), (9, 40, 3), (33, 17, 1)])
def test_brighter_flatter_and_noisy_images_are_duplicates(shape):
    images = RANDOM.integers(0, 200, size=(20, *shape)).astype("uint8")
    # Smooth, as photos are: noise would be averaged to gray.
    images = np.repeat(np.repeat(images[:, :3, :3], 14, 1), 14, 2)
    other = np.clip(
        0.7 * images + 30 + RANDOM.normal(size=images.shape), 0, 255
    )
    both = np.concatenate([images, other.astype("uint8")])
    assert near_duplicates(both).tolist() == [*range(20)] * 2


def test_images_of_one_color_are_one_group():
    images = np.zeros((3, 20, 20, 3), "uint8")
    images[1] = 77
    images[2, :10] = 77
    assert near_duplicates(images).tolist() == [0, 0, 1]


def test_images_as_large_as_a_cell_are_compared_by_pixels():
    images = RANDOM.integers(0, 255, size=(25, 6, 5)).astype("float64")
    rows = images.reshape(25, -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    assert near_duplicates(images, 0.3).tolist() == slow_groups(rows, 0.3)


def test_a_memory_mapped_file_is_read_in_blocks(tmp_path):
    rows = RANDOM.normal(size=(20_000, 16)).astype("float32")
    rows[10_000:] = rows[:10_000]
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    near_duplicates(rows[:100])
    tracemalloc.start()
    groups = near_duplicates(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(groups[:10_000], groups[10_000:])
    assert peak < 64 * 2**20  # All pairs, even as bits, have 50 MB.


@pytest.mark.parametrize(
    ("features", "similarity", "message"),
    [
        (np.zeros(3), 0.9, "`features` must have shape"),
        (np.zeros((0, 3)), 0.9, "`features` must have shape"),
        ([[1.0, np.nan]], 0.9, "`features` must be finite"),
        (
            np.full((2, 4, 4), np.inf),
            0.9,
            "`features` must be finite.* image 0",
        ),
        (np.zeros((2, 4, 0)), 0.9, "`features` must be real numbers"),
        (np.zeros((2, 4, 4), bool), 0.9, "`features` must be real numbers"),
        (np.eye(3), 0, "`similarity` must be a finite number > 0 and <= 1"),
        (np.eye(3), 1.1, "`similarity` must be a finite number"),
    ],
)
def test_wrong_argument_is_named(features, similarity, message):
    with pytest.raises(ValueError, match=message):
        near_duplicates(features, similarity)
