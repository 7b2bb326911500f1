"""What may be claimed: intervals, and paired tests with Holm's correction."""

import dataclasses

import numpy as np
from scipy import stats

LEVEL = 0.05
LEAST_CLAIMED = 4  # Class orders of an arm of which something is claimed.


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One number of one arm, in points to SimCLR of the same class order."""

    arm: str
    number: str
    differences: list[float]
    p: float
    corrected: float


class Family:
    """All tests of a protocol that are corrected together.

    Args:
        results: the paired runs of the protocol.
        roles: those of the arms, see `arms.role`.
        numbers: the numbers of each arm, as `(title, probe, key)`.

    Attributes:
        arms: those of at least `LEAST_CLAIMED` class orders that are paired.
        tests: one for each arm and number, the smallest p first.
        gains, losses: those that hold beyond the correction.
    """

    def __init__(self, results, roles, numbers):
        self.arms = [
            arm
            for arm in results.names(roles)[1:]
            if len(results.differences(arm, *numbers[0][1:])) >= LEAST_CLAIMED
        ]
        tested = [
            (arm, title, list(results.differences(arm, *place).values()))
            for arm in self.arms
            for title, *place in numbers
        ]
        p_values = [paired_p(differences) for *_, differences in tested]
        tests = [
            Comparison(*each, p, float(corrected))
            for each, p, corrected in zip(
                tested, p_values, holm(p_values), strict=True
            )
        ]
        self.tests = sorted(tests, key=lambda test: test.p)
        found = [test for test in self.tests if test.corrected < LEVEL]
        self.gains = [test for test in found if np.mean(test.differences) > 0]
        self.losses = [test for test in found if np.mean(test.differences) < 0]


def interval(values):
    """Returns the mean and half of its 95 % confidence interval."""
    values = np.asarray(values)
    if len(values) < 2:
        return float(values.mean()), float("nan")
    error = stats.sem(values) * stats.t.ppf(1 - LEVEL / 2, len(values) - 1)
    return float(values.mean()), float(error)


def paired_p(differences):
    """Returns the two-sided p value of Student's t for paired differences.

    1 where all are equal: they do not show how far chance moves them.
    """
    if np.ptp(differences) < 1e-9:
        return 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values):
    """Returns p values corrected for their number (Holm 1979), in their order.

    The smallest of n is multiplied by n, the next one by n - 1, and so on. None
    comes out below one that was smaller before, nor above 1.
    """
    p_values = np.asarray(p_values, "float64")
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
