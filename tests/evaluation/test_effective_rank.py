"""RankMe against its formula and cases that are known."""

import numpy as np
import pytest

from keras_ltssl.evaluation import effective_rank


def test_rank_is_the_exponential_of_the_entropy_of_singular_values():
    features = np.random.default_rng(0).normal(size=(40, 6)) + 0.5
    # The singular values are the roots of the eigenvalues of FᵀF.
    values = np.sqrt(np.linalg.eigvalsh(features.T @ features))
    shares = [value / sum(values) for value in values]
    expected = np.exp(-sum(share * np.log(share) for share in shares))
    assert effective_rank(features) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_singular_values_count_the_dimensions(rank):
    features = np.zeros((20, 8))
    features[:rank, :rank] = np.eye(rank)
    assert effective_rank(features) == pytest.approx(rank)


def test_scale_does_not_matter_and_small_types_are_taken():
    features = np.random.default_rng(0).normal(size=(40, 6))
    expected = effective_rank(features)
    for scale in (1e-200, 1e200):
        assert effective_rank(scale * features) == pytest.approx(expected)
    half = effective_rank(features.astype("float16"))
    assert half == pytest.approx(expected, rel=1e-3)


def test_no_features_at_all_have_rank_0():
    assert effective_rank(np.zeros((4, 3))) == 0
