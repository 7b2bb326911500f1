"""The choice of samples to label, against a slow reference, and its rules."""

import tracemalloc

import numpy as np
import pytest

from keras_ltssl.samplers import bank_cosines, choose_to_label

RANDOM = np.random.default_rng(0)


def slow_order(features, labeled=(), outlier=1 / 3):
    """The order of distinct samples, pair by pair, in float64."""
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    n = len(units)
    nearest = []
    for i in range(n):
        near = sorted(
            ((float(units[i] @ units[j]), j) for j in range(n) if j != i),
            reverse=True,
        )
        nearest.append(near[:5])
    radius = [
        np.sqrt(2 - 2 * np.mean([s for s, _ in near])) for near in nearest
    ]
    values, isolated = {}, {}
    for i in range(n):
        if i in labeled:
            continue
        usual = max(
            np.median([radius[j] for _, j in nearest[i]]), np.median(radius)
        )
        isolated[i] = 1 - usual / radius[i] > outlier
        gaps = [
            np.linalg.norm(units[i] - units[j])
            for j in range(n)
            if j in labeled or radius[j] < radius[i]
        ]
        gap = min(gaps) if gaps else np.inf
        values[i] = gap / radius[i] ** 0.25
    return sorted(values, key=lambda i: (isolated[i], -values[i]))


def blobs(sizes, dim=16, spread=0.15, seed=0):
    random = np.random.default_rng(seed)
    centers = np.eye(dim)[: len(sizes)]
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    noise = random.normal(size=(len(kinds), dim))
    return centers[kinds] + spread * noise, kinds


@pytest.mark.parametrize("labeled", [(), (3, 50, 7)])
def test_choice_is_that_of_a_slow_reference(labeled):
    features = RANDOM.normal(size=(90, 12))
    chosen = choose_to_label(
        features, 90 - len(labeled), labeled=labeled or None
    )
    assert chosen.tolist() == slow_order(features, labeled)


def test_small_blocks_give_the_same_choice(monkeypatch):
    features = RANDOM.normal(size=(90, 12))
    expected = choose_to_label(features, 90)
    monkeypatch.setattr(bank_cosines, "BLOCK_COSINES", 700)
    monkeypatch.setattr("keras_ltssl.samplers.density_peaks.BLOCK_COSINES", 700)
    assert choose_to_label(features, 90).tolist() == expected.tolist()


def test_every_kind_is_among_the_first_however_rare():
    features, kinds = blobs([300, 100, 30, 10, 6])
    chosen = choose_to_label(features, 5)
    assert sorted(kinds[chosen]) == [0, 1, 2, 3, 4]


def test_a_smaller_budget_is_the_beginning_of_a_larger_one():
    features, _ = blobs([60, 20, 10])
    whole = choose_to_label(features, 90)
    assert sorted(whole) == list(range(90))
    for budget in (0, 1, 7, 40):
        chosen = choose_to_label(features, budget)
        assert chosen.tolist() == whole[:budget].tolist()
        assert chosen.dtype == np.int64


def test_lengths_and_precision_of_features_do_not_matter():
    features = RANDOM.normal(size=(70, 12))
    expected = choose_to_label(features, 20).tolist()
    scaled = features * RANDOM.uniform(0.1, 10, size=(70, 1))
    assert choose_to_label(scaled, 20).tolist() == expected
    assert choose_to_label(features.astype("f4"), 20).tolist() == expected


def test_one_of_a_group_of_near_duplicates_is_chosen():
    features = RANDOM.normal(size=(40, 12))
    copies = np.concatenate([features, features * 1.5, features + 1e-3])
    chosen = choose_to_label(copies, 40)
    assert sorted(chosen) == list(range(40))
    # The second members of all groups come before any third one.
    whole = choose_to_label(copies, 120)
    assert sorted(whole % 40) == sorted([*range(40)] * 3)
    assert sorted(whole[40:80] % 40) == list(range(40))
    assert (whole[40:80] % 40).tolist() == whole[:40].tolist()


def test_groups_that_are_given_count():
    features, _ = blobs([30, 30])
    groups = np.arange(60)
    groups[:30] = 0
    chosen = choose_to_label(features, 31, groups=groups)
    assert np.sum(chosen < 30) == 1


def test_a_near_duplicate_of_a_labeled_sample_comes_last():
    features = RANDOM.normal(size=(40, 12))
    copies = np.concatenate([features, features])
    chosen = choose_to_label(copies, 79, labeled=[45])
    assert chosen[-1] == 5
    assert 45 not in chosen


def test_a_kind_that_is_labeled_waits_for_the_others():
    features, kinds = blobs([100, 100, 100, 100])
    labeled = np.flatnonzero(kinds < 2)[::10]
    chosen = choose_to_label(features, 2, labeled=labeled)
    assert sorted(kinds[chosen]) == [2, 3]
    as_mask = np.isin(np.arange(400), labeled)
    assert choose_to_label(features, 2, labeled=as_mask).tolist() == (
        chosen.tolist()
    )


def test_outliers_come_after_all_others():
    features, _ = blobs([200, 50], dim=64, spread=0.05)
    strange = 3 * RANDOM.normal(size=(3, 64))
    both = np.concatenate([features, strange])
    chosen = choose_to_label(both, 253)
    assert {250, 251, 252} == set(chosen[-3:])


def test_headness_moves_labels_to_the_tail():
    features = RANDOM.normal(size=(200, 16))
    headness = np.arange(200)
    plain = choose_to_label(features, 40)
    tail = choose_to_label(features, 40, headness=headness)
    assert headness[tail].mean() < headness[plain].mean() - 20


def test_of_too_many_samples_a_random_part_comes_first():
    features = RANDOM.normal(size=(60, 8))
    first = choose_to_label(features, 60, max_samples=20, seed=1)
    again = choose_to_label(features, 60, max_samples=20, seed=1)
    other = choose_to_label(features, 60, max_samples=20, seed=2)
    assert sorted(first) == list(range(60))
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_are_all_chosen(count):
    features = RANDOM.normal(size=(count, 4))
    assert sorted(choose_to_label(features, count)) == list(range(count))


def test_equal_and_zero_rows_are_chosen_once_each():
    features = np.zeros((30, 4))
    assert sorted(choose_to_label(features, 30)) == list(range(30))
    assert sorted(choose_to_label(features + 1, 30)) == list(range(30))


def test_memory_grows_with_samples_not_with_pairs():
    features = RANDOM.normal(size=(12_000, 8)).astype("f4")
    choose_to_label(features[:100], 10)
    tracemalloc.start()
    choose_to_label(features, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000**2  # A table of all pairs has four times as much.


FEATURES = RANDOM.normal(size=(10, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.zeros(3)}, "`features` must have shape"),
        ({"features": [[np.nan]]}, "`features` must be finite"),
        ({"budget": -1}, "`budget` must be an integer >= 0"),
        ({"budget": 2.5}, "`budget` must be an integer"),
        ({"budget": 11}, "`budget` must not exceed the rows"),
        (
            {"budget": 9, "labeled": [0, 1]},
            "`budget` must not exceed the samples that are not labeled",
        ),
        ({"headness": np.zeros(9)}, "`headness` must hold one score"),
        ({"headness": np.full(10, np.inf)}, "`headness` must be finite"),
        ({"groups": np.zeros(10)}, "`groups` must be integers"),
        ({"groups": np.zeros(9, int)}, "`groups` must be integers"),
        ({"labeled": [10]}, "`labeled` must be rows from 0 to 9"),
        ({"labeled": [-1]}, "`labeled` must be rows from 0 to 9"),
        ({"labeled": [1, 1]}, "`labeled` must not name a row twice"),
        ({"labeled": [0.5]}, "`labeled` must be rows"),
        ({"labeled": np.ones(9, bool)}, "`labeled` must be rows"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"max_samples": 1}, "`max_samples` must be an integer >= 2"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    arguments = {"features": FEATURES, "budget": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        choose_to_label(**arguments)
