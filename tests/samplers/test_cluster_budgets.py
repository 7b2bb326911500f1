"""Low scores get the larger part of a budget, and all of it is shared out."""

from pathlib import Path

import numpy as np
import pytest

import keras_ltssl as lt
import reference

GOLDEN = Path(__file__).parents[1] / "golden"
SCORES = [0.9, 0.7, 0.2, 0.4, 0.5]
LABELS = [0, 0, 1, 1, 2]


def golden(case):
    with np.load(GOLDEN / f"ood_sampling_{case}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("case", [0, 1])
def test_scores_and_budgets_equal_the_published_ones(case):
    data = golden(case)
    clusters = len(data["cluster_score"])
    np.testing.assert_allclose(
        lt.samplers.cluster_scores(
            data["tail_score"], data["cluster_labels"], clusters
        ),
        data["cluster_score"],
        rtol=1e-12,
    )
    budgets = lt.samplers.cluster_budgets(
        data["tail_score"],
        data["cluster_labels"],
        clusters,
        int(data["budget"]),
        float(data["cluster_temperature"]),
    )
    assert budgets.dtype == np.int64
    assert budgets.tolist() == data["cluster_budget"].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_budgets_equal_a_loop_over_clusters(seed):
    random = np.random.default_rng(seed)
    clusters = int(random.integers(2, 9))
    labels = random.permutation(np.arange(40) % clusters)
    scores = random.normal(size=40)
    temperature = float(random.uniform(0.2, 3))
    means, budgets = reference.cluster_budgets(
        scores, labels, clusters, 1000, temperature
    )
    np.testing.assert_allclose(
        lt.samplers.cluster_scores(scores, labels, clusters), means
    )
    found = lt.samplers.cluster_budgets(
        scores, labels, clusters, 1000, temperature
    )
    assert found.tolist() == budgets


def test_the_lowest_score_gets_the_most():
    budgets = lt.samplers.cluster_budgets(SCORES, LABELS, 3, 1000)
    assert np.argsort(budgets).tolist() == [0, 2, 1]
    assert budgets.sum() == 1000


def test_a_small_temperature_gives_all_to_the_lowest_score():
    for temperature in (1e-3, 1e-308):
        budgets = lt.samplers.cluster_budgets(
            SCORES, LABELS, 3, 10, temperature
        )
        assert budgets.tolist() == [0, 10, 0]


def test_a_large_temperature_shares_equally():
    budgets = lt.samplers.cluster_budgets(SCORES, LABELS, 3, 11, 1e9)
    assert budgets.tolist() == [3, 3, 5]


def test_a_shift_and_a_scale_of_all_scores_change_nothing():
    expected = lt.samplers.cluster_budgets(SCORES, LABELS, 3, 1000)
    moved = 1e3 + 1e-3 * np.array(SCORES)
    found = lt.samplers.cluster_budgets(moved, LABELS, 3, 1000)
    assert found.tolist() == expected.tolist()


def test_equal_scores_share_equally_whatever_the_sizes():
    # 0.1 has no exact binary form, so that the means differ by rounding.
    labels = np.repeat(np.arange(49), np.arange(1, 50))
    scores = np.full(len(labels), 0.1)
    means = lt.samplers.cluster_scores(scores, labels, 49)
    assert np.ptp(means) > 0
    budgets = lt.samplers.cluster_budgets(scores, labels, 49, 490)
    assert budgets.tolist() == [10] * 49


def test_equal_scores_leave_the_remainder_to_the_last():
    budgets = lt.samplers.cluster_budgets([1, 1, 1], [0, 1, 2], 3, 11)
    assert budgets.tolist() == [3, 3, 5]


def test_one_cluster_gets_everything():
    assert lt.samplers.cluster_budgets([3, 5], [0, 0], 1, 7).tolist() == [7]


def test_a_cluster_without_members_gets_nothing_and_changes_nothing():
    expected = lt.samplers.cluster_budgets(SCORES, LABELS, 3, 100)
    with_gaps = np.array([1, 3, 4])[LABELS]
    found = lt.samplers.cluster_budgets(SCORES, with_gaps, 6, 100)
    assert found[[1, 3, 4]].tolist() == expected.tolist()
    assert found.sum() == 100
    scores = lt.samplers.cluster_scores(SCORES, with_gaps, 6)
    assert np.isnan(scores).tolist() == [True, False, True, False, False, True]


def test_no_budget_is_no_budget_for_anyone():
    budgets = lt.samplers.cluster_budgets(SCORES, LABELS, 3, 0)
    assert budgets.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.1, np.nan, 0.2, 1, 2]}, "`scores` must be finite.*1 of"),
        ({"scores": [0.1, np.inf, 0.2, 1, 2]}, "first is sample 1"),
        ({"scores": []}, "`scores` must be real numbers"),
        ({"scores": [SCORES]}, r"`scores` .*shape=\(1, 5\)"),
        ({"scores": list("abcde")}, "`scores` must be real numbers"),
        ({"labels": [0, 0, 1, 1]}, "4 labels for 5 scores"),
        ({"labels": [0, 0, 1, 1, 3]}, "`labels` must lie in 0 .* = 2.* 0 to 3"),
        ({"labels": [0, 0, 1, 1, -1]}, "`labels` must lie in 0 .*-1 to 1"),
        ({"labels": [0.0, 0, 1, 1, 2]}, "`labels` must be integers"),
        ({"num_clusters": 0}, "num_clusters=0"),
        ({"num_clusters": 3.0}, "num_clusters=3.0"),
        ({"budget": -1}, "`budget` must be an integer >= 0.*budget=-1"),
        ({"budget": 2.5}, "budget=2.5"),
        ({"budget": True}, "budget=True"),
        (
            {"temperature": 0},
            "`temperature` must be a finite number > 0.*temperature=0",
        ),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": np.nan}, "temperature=nan"),
        ({"temperature": np.inf}, "temperature=inf"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    arguments = {
        "scores": SCORES,
        "labels": LABELS,
        "num_clusters": 3,
        "budget": 10,
        "temperature": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        lt.samplers.cluster_budgets(**{**arguments, **changes})
