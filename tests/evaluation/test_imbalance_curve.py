"""Inequality of sizes, against closed forms and slow sums."""

import numpy as np
import pytest

from keras_ltssl.evaluation import ImbalanceCurve


def test_equal_sizes_have_gini_0_and_all_groups_count():
    curve = ImbalanceCurve([7] * 12)
    assert curve.gini == pytest.approx(0)
    assert curve.effective_groups == pytest.approx(12)
    assert curve.inverse_simpson == pytest.approx(12)


def test_one_group_with_everything_is_the_other_extreme():
    curve = ImbalanceCurve([0, 0, 30, 0])
    assert curve.shares.tolist() == [1, 0, 0, 0]
    assert curve.gini == pytest.approx(3 / 4)
    assert curve.effective_groups == pytest.approx(1)
    assert curve.inverse_simpson == pytest.approx(1)
    alone = ImbalanceCurve([3])
    assert (alone.gini, alone.effective_groups) == (0, 1)


def test_they_equal_slow_sums():
    sizes = np.random.default_rng(0).integers(0, 50, 9)
    curve = ImbalanceCurve(sizes)
    p = sizes / sizes.sum()
    assert curve.shares.tolist() == sorted(p, reverse=True)
    differences = sum(abs(one - other) for one in p for other in p)
    assert curve.gini == pytest.approx(differences / (2 * len(p)))
    entropy = -sum(one * np.log(one) for one in p if one > 0)
    assert curve.effective_groups == pytest.approx(np.exp(entropy))
    assert curve.inverse_simpson == pytest.approx(1 / sum(p**2))


def test_reruns_tell_the_spread():
    runs = np.array([[1, 2, 3], [2, 2, 2], [0, 0, 6]])
    curve = ImbalanceCurve([3, 2, 1], runs)
    each = [ImbalanceCurve(run) for run in runs]
    for name in ("gini", "effective_groups", "inverse_simpson"):
        expected = np.std([getattr(one, name) for one in each], ddof=1)
        assert getattr(curve, f"{name}_std") == pytest.approx(expected)
    np.testing.assert_allclose(
        curve.shares_std, np.std([one.shares for one in each], axis=0, ddof=1)
    )


@pytest.mark.parametrize("runs", [None, [[1, 2, 3]]])
def test_without_two_reruns_the_spread_is_not_known(runs):
    curve = ImbalanceCurve([3, 2, 1], runs)
    assert np.isnan(curve.gini_std)
    assert np.isnan(curve.shares_std).all()
    assert curve.shares_std.shape == (3,)


@pytest.mark.parametrize(
    ("sizes", "runs", "message"),
    [
        ([], None, r"`sizes` .* shape=\(0,\)"),
        ([[1]], None, r"shape=\(1, 1\)"),
        ([1, -2], None, "`sizes` must be finite numbers >= 0.*-2"),
        ([1, np.nan], None, "nan"),
        ([0, 0], None, "only zeros"),
        ([1, 2], [1, 2], "`rerun_sizes` must have shape"),
        ([1, 2], [[1, 2, 3]], "2 groups like `sizes`"),
        ([1, 2], [[1, 2], [0, 0]], "`rerun_sizes` must not all be 0"),
    ],
)
def test_bad_input_is_named(sizes, runs, message):
    with pytest.raises(ValueError, match=message):
        ImbalanceCurve(sizes, runs)
