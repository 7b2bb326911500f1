import numpy as np
import pytest

from keras_ltssl.evaluation import ProbeResult


def test_accuracy_is_the_mean_over_classes_and_draws():
    result = ProbeResult([1, 2], [[0.0, 0.5], [1.0, 0.5]])
    assert result.draws == 2
    assert result.class_accuracy.tolist() == [0.5, 0.5]
    assert result.accuracy == 0.5
    assert result.accuracy_std == 0.25


def test_balancedness_is_computed_for_each_draw_and_then_averaged():
    # The two draws are unfair in opposite ways: their average looks fair.
    result = ProbeResult([0, 1, 2], [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    groups = result.group_accuracy([30, 20, 10])
    assert groups[:3] == (0.5, 0.5, 0.5)
    assert groups.std == pytest.approx(np.std([0, 0.5, 1]))


def test_class_without_test_images_is_left_out_of_the_accuracy():
    assert ProbeResult([0, 1, 2], [[1.0, np.nan, 0.5]]).accuracy == 0.75


def test_results_are_equal_by_value_and_read_only():
    result = ProbeResult([0, 1], [[1.0, np.nan]])
    assert result == ProbeResult([0, 1], [[1.0, np.nan]])
    assert result != ProbeResult([0, 1], [[0.5, np.nan]])
    assert result != ProbeResult([0, 2], [[1.0, np.nan]])
    with pytest.raises(ValueError, match="read-only"):
        result.draw_accuracy[0, 0] = 0


@pytest.mark.parametrize(
    ("classes", "draws", "message"),
    [
        ([1, 0], [[0.5, 0.5]], "rising order"),
        ([1, 1], [[0.5, 0.5]], "rising order"),
        ([], [[]], "`classes`"),
        ([0, 1], [0.5, 0.5], "`draw_accuracy` must have shape"),
        ([0, 1], [[0.5]], "`draw_accuracy` must have shape"),
        ([0, 1], [[0.5, 84.0]], "0 to 1"),
        ([0, 1], [[np.nan, np.nan]], "not NaN alone"),
    ],
)
def test_bad_input_is_named(classes, draws, message):
    with pytest.raises(ValueError, match=message):
        ProbeResult(classes, draws)
