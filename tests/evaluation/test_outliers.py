"""Scores of outliers, against a slow reference."""

import numpy as np
import pytest

from keras_ltssl.evaluation import outliers
from keras_ltssl.samplers import bank_cosines

RANDOM = np.random.default_rng(0)


def slow_scores(features, k):
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    n = len(units)
    near = [
        sorted(
            (j for j in range(n) if j != i),
            key=lambda j, i=i: -float(units[i] @ units[j]),
        )[:k]
        for i in range(n)
    ]
    distance = [
        np.sqrt(2 - 2 * np.mean([units[i] @ units[j] for j in near[i]]))
        for i in range(n)
    ]
    return [
        max(
            0,
            1
            - max(
                np.median([distance[j] for j in near[i]]), np.median(distance)
            )
            / distance[i],
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("block", [300, 2**22])
def test_scores_are_those_of_a_slow_reference(monkeypatch, k, block):
    monkeypatch.setattr(bank_cosines, "BLOCK_COSINES", block)
    features = RANDOM.normal(size=(80, 6))
    assert outliers(features, k) == pytest.approx(
        np.array(slow_scores(features, k)), abs=1e-5
    )


def tail_and_outliers():
    """A frequent kind, a rare one of five samples, and three outliers."""
    kinds = np.repeat([0, 1], [200, 5])
    rows = np.eye(64)[kinds] + 0.05 * RANDOM.normal(size=(205, 64))
    return np.concatenate([rows, RANDOM.normal(size=(3, 64))])


def test_an_outlier_has_a_high_score_and_a_rare_kind_has_not():
    found = outliers(tail_and_outliers()) > 1 / 3
    assert np.flatnonzero(found).tolist() == [205, 206, 207]


def test_lengths_of_rows_do_not_matter():
    features = RANDOM.normal(size=(60, 8))
    longer = features * RANDOM.uniform(0.1, 9, size=(60, 1))
    assert outliers(longer) == pytest.approx(outliers(features), abs=1e-4)


def test_a_copy_hides_an_outlier_unless_groups_are_given():
    features = tail_and_outliers()
    copies = np.concatenate([features, np.repeat(features[-1:], 3, axis=0)])
    groups = np.arange(len(copies))
    groups[-3:] = groups[-4]
    assert not np.any(outliers(copies)[-4:] > 1 / 3)
    scores = outliers(copies, groups=groups)
    assert np.all(scores[-4:] == scores[-4])
    assert scores[-4] > 1 / 3
    # Any numbers may name the groups.
    assert np.array_equal(outliers(copies, groups=-7 * groups), scores)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_samples_have_low_scores(count):
    scores = outliers(np.eye(4)[:count])
    assert scores.tolist() == [0] * count


def test_scores_are_in_range_for_equal_and_zero_rows():
    features = np.zeros((12, 3))
    features[6:] = 1
    features[-1] = [1, -1, 0]
    scores = outliers(features)
    assert np.all((scores >= 0) & (scores < 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": [[np.inf, 1.0]]}, "`features` must be finite"),
        ({"num_neighbors": 0}, "`num_neighbors` must be an integer >= 1"),
        ({"groups": np.zeros(3, int)}, "`groups` must be integers, one for"),
        ({"groups": np.zeros(4)}, "`groups` must be integers, one for"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        outliers(**{"features": np.eye(4), **arguments})
