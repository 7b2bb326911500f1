"""Agreement of scores with class sizes, and where a budget goes."""

import numpy as np
import pytest

from keras_ltssl.evaluation import budget_shares, tail_agreement

LABELS = np.repeat([0, 1, 2], [60, 30, 10])


def test_a_score_that_knows_the_counts_agrees_perfectly():
    counts = np.repeat([60.0, 30.0, 10.0], [60, 30, 10])
    assert tail_agreement(counts, LABELS) == pytest.approx((1.0, 1.0))
    assert tail_agreement(-counts, LABELS) == pytest.approx((-1.0, 0.0))


def test_it_equals_a_slow_count_over_pairs():
    random = np.random.default_rng(0)
    scores = random.integers(0, 12, 100).astype("float64")  # With ties.
    agreement = tail_agreement(scores, LABELS)
    few, others = scores[LABELS == 2], scores[LABELS != 2]
    pairs = [
        1.0 if one < other else 0.5 if one == other else 0.0
        for one in few
        for other in others
    ]
    assert agreement.few_auc == pytest.approx(np.mean(pairs))

    def ranks(values):
        return [
            np.mean([other < one for other in values])
            + 0.5 * np.mean([other == one for other in values])
            for one in values
        ]

    sizes = np.bincount(LABELS)[LABELS]
    expected = np.corrcoef(ranks(scores), ranks(sizes))[0, 1]
    assert agreement.rank_correlation == pytest.approx(expected)


def test_equal_scores_have_no_rank_correlation():
    agreement = tail_agreement(np.ones(100), LABELS)
    assert np.isnan(agreement.rank_correlation)
    assert agreement.few_auc == 0.5


def test_a_budget_falls_on_the_classes_of_its_cluster():
    # Cluster 0: half many, half medium; cluster 1: few; cluster 2: empty.
    labels = np.array([0] * 3 + [1] * 3 + [0] * 2 + [2])
    clusters = np.array([0] * 6 + [0] * 2 + [1])
    shares = budget_shares([8, 4, 99], clusters, labels)
    assert shares["many"] == pytest.approx((5 / 9, 5 / 12))
    assert shares["medium"] == pytest.approx((3 / 9, 3 / 12))
    assert shares["few"] == pytest.approx((1 / 9, 4 / 12))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="`labels` must hold"):
        tail_agreement(np.ones(3), LABELS)
    with pytest.raises(ValueError, match="finite number"):
        tail_agreement(np.full(100, np.nan), LABELS)
    with pytest.raises(ValueError, match="`budgets` must hold"):
        budget_shares([1, 2], np.repeat([0, 1, 2], [60, 30, 10]), LABELS)
