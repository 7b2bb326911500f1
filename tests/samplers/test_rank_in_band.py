"""Ranks within a band of rarity, against a slow reference."""

import numpy as np
import pytest

from keras_ltssl.samplers import rank_in_band


def slow(scores, low, high):
    result = []
    for score in scores:
        above = np.mean([other > score for other in scores])
        equal = np.mean([other == score for other in scores])
        rarity = above + equal / 2
        inside = low <= rarity <= high
        result.append((high - rarity) / (high - low) if inside else 1.0)
    return result


@pytest.mark.parametrize("band", [(0.75, 0.99), (0.5, 1.0), (0.0, 0.3)])
@pytest.mark.parametrize("ties", [False, True])
def test_ranks_are_those_of_the_reference(band, ties):
    random = np.random.default_rng(0)
    scores = random.normal(size=203)
    if ties:
        scores = np.round(scores)
    np.testing.assert_allclose(
        rank_in_band(scores, band), slow(scores, *band), atol=1e-12
    )


def test_the_rarest_percent_is_not_in_the_tail():
    ranks = rank_in_band(np.arange(1000.0))
    assert np.all(ranks[:10] == 1)
    assert ranks.argmin() == 10
    assert np.all(np.diff(ranks[10:250]) > 0)
    assert np.all(ranks[250:] == 1)


def test_only_the_order_of_scores_matters():
    scores = np.random.default_rng(0).normal(size=50)
    np.testing.assert_array_equal(
        rank_in_band(scores), rank_in_band(np.exp(3 * scores))
    )


def test_equal_scores_are_all_in_the_middle():
    assert rank_in_band(np.ones(8)).tolist() == [1.0] * 8
    assert rank_in_band(np.ones(8), (0.0, 1.0)).tolist() == [0.5] * 8


@pytest.mark.parametrize("band", [(0.9, 0.5), (-0.1, 0.5), (0.5, 1.5), 0.9])
def test_other_bands_are_refused(band):
    with pytest.raises(ValueError, match="`band` must be a pair"):
        rank_in_band(np.ones(8), band)
