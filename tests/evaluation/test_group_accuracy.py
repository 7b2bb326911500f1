import pathlib

import numpy as np
import pytest

from keras_ltssl.evaluation import GroupAccuracy, group_accuracy

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def test_golden_case_is_met_to_round_off():
    with np.load(GOLDEN / "group_accuracy_0.npz") as case:
        found = group_accuracy(case["class_accuracy"], case["class_counts"])
        expected = [case[key] for key in ("many", "medium", "few", "group_std")]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_result_unpacks_into_many_medium_few_and_std():
    many, medium, few, std = group_accuracy([0.0, 0.5, 1.0], [1, 2, 3])
    assert (many, medium, few) == (1.0, 0.5, 0.0)
    assert std == pytest.approx(np.sqrt(1 / 6))


@pytest.mark.parametrize(
    ("classes", "sizes"),
    [(3, (1, 1, 1)), (10, (4, 3, 3)), (11, (5, 3, 3)), (100, (34, 33, 33))],
)
def test_thirds_leave_the_remainder_to_many(classes, sizes):
    counts = np.arange(classes, 0, -1)
    firsts = np.zeros(classes)
    for start, size in zip(np.cumsum((0, *sizes)), sizes, strict=False):
        firsts[:] = 0
        firsts[start : start + size] = 1
        means = group_accuracy(firsts, counts)[:3]
        assert sorted(means) == [0, 0, 1]


def test_order_of_the_classes_does_not_matter():
    rng = np.random.default_rng(0)
    counts, accuracy = rng.permutation(1000)[:17], rng.random(17)
    shuffled = rng.permutation(17)
    for groups in ("thirds", "thresholds"):
        np.testing.assert_allclose(
            group_accuracy(accuracy, counts, groups),
            group_accuracy(accuracy[shuffled], counts[shuffled], groups),
            rtol=1e-14,
        )


def test_of_equal_counts_the_first_is_the_rarer():
    assert group_accuracy([0.1, 0.2, 0.3], [5, 5, 5])[:3] == (0.3, 0.2, 0.1)


def test_thresholds_are_20_and_100_inclusive_for_medium():
    result = group_accuracy([1, 2, 3, 4], [19, 20, 100, 101], "thresholds")
    assert result[:3] == (4.0, 2.5, 1.0)


def test_empty_group_is_nan_and_left_out_of_std():
    result = group_accuracy([0.2, 0.6], [500, 3], "thresholds")
    assert np.isnan(result.medium)
    assert result.std == pytest.approx(0.2)


def test_class_that_was_not_tested_is_left_out_of_its_group():
    result = group_accuracy([np.nan, 0.5, 0.25, 1.0], [9, 8, 2, 1])
    assert result == GroupAccuracy(0.5, 0.25, 1.0, np.std([0.5, 0.25, 1.0]))


def test_percent_in_percent_out():
    assert group_accuracy([50, 60, 70], [3, 2, 1]).many == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, 0.2], [1, 2, 3]), "same shape"),
        (([0.1, 0.2], [1, 2]), "at least 3 classes.*thresholds"),
        (([0.1, 0.2, 0.3], [1, 2, -3]), ">= 0.*-3"),
        (([0.1, 0.2, 0.3], [1, 2, np.nan]), "finite"),
        (([0.1, 0.2, np.inf], [1, 2, 3]), "`class_accuracy` must be finite"),
        (([np.nan] * 3, [1, 2, 3]), "at least one class"),
        (([0.1, 0.2, 0.3], [1, 2, 3], "halves"), "'halves'"),
        (([], []), "num_classes"),
        (([[0.1, 0.2, 0.3]], [[1, 2, 3]]), "num_classes"),
        (([0.1, 0.2, 0.3], ["a", "b", "c"]), "dtype"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        group_accuracy(*arguments)
