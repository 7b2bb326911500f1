"""The result of a tail diagnosis, and its text form."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation.groups import Grouping, class_groups
from keras_ltssl.evaluation.imbalance_curve import ImbalanceCurve
from keras_ltssl.evaluation.tail_agreement import TailAgreement, tail_agreement

# Standard deviation of a uniform number in [0, 1]: of a percentile that is
# drawn anew in each run.
RANDOM_ORDER = 12**-0.5


@dataclasses.dataclass(frozen=True, eq=False)
class TailDiagnosis:
    """Holds what features tell about the tail of a training set.

    Made by `tail_diagnosis`, drawn by `plot_tail_diagnosis`.

    Attributes:
        estimate: Name of the headness estimate.
        scores: What it gave, float64 array of shape `(samples,)`, low in the
            tail.
        percentiles: Headness of each sample, `(samples,)` in [0, 1]: the share
            of samples with a lower score, equal ones counted half.
        uncertainty: Standard deviation of each percentile over the re-runs,
            `(samples,)`: 0 is sure, 0.29 is no better than a random order. NaN
            if scores were given with fewer than two re-runs.
        curve: Sizes of the clusters, with those of the re-runs.
        labels: Class of each sample, `(samples,)`, or `None`.
        groups: How the classes are grouped: `"thirds"` or `"thresholds"`.
        near_duplicates: Which samples were taken out since an earlier one is
            nearly the same, boolean array of shape `(samples,)`; they have its
            numbers. `None` is none.
        outliers: Which samples were taken out as outliers, likewise; they have
            the lowest score and the percentile 0.
    """

    estimate: str
    scores: NDArray[np.float64]
    percentiles: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    curve: ImbalanceCurve
    labels: NDArray[Any] | None = None
    groups: Grouping = "thirds"
    near_duplicates: NDArray[np.bool_] | None = None
    outliers: NDArray[np.bool_] | None = None

    @property
    def kept(self) -> NDArray[np.int64]:
        """Returns rows of the samples that were not taken out."""
        out = np.zeros(len(self.scores), "bool")
        for some in (self.near_duplicates, self.outliers):
            if some is not None:
                out |= some
        return np.flatnonzero(~out)

    @property
    def tail_first(self) -> NDArray[np.int64]:
        """Returns rows of the samples kept, lowest percentile first."""
        kept = self.kept
        return kept[np.argsort(self.scores[kept], kind="stable")]

    @property
    def agreement(self) -> TailAgreement | None:
        """Returns how right the scores are, or `None` without labels.

        Of the samples kept.
        """
        if self.labels is None:
            return None
        kept = self.kept
        return tail_agreement(self.scores[kept], self.labels[kept], self.groups)

    @property
    def class_curve(self) -> ImbalanceCurve | None:
        """Returns the true sizes of the classes, or `None` without labels."""
        if self.labels is None:
            return None
        return ImbalanceCurve(np.unique(self.labels, return_counts=True)[1])

    @property
    def members(self) -> NDArray[np.int64] | None:
        """Returns each sample's group, 0 few to 2 many, or `None`."""
        if self.labels is None:
            return None
        _, position, counts = np.unique(
            self.labels, return_inverse=True, return_counts=True
        )
        return class_groups(counts, self.groups)[position]

    def to_text(self) -> str:
        """Returns the diagnosis in a few lines of at most 80 columns."""
        curve = self.curve
        heading = f"Tail diagnosis of {len(self.scores):,} samples"
        lines = [
            heading,
            "=" * len(heading),
            *self._taken_out(),
            f"Imbalance, from {len(curve.shares)} clusters "
            f"(± standard deviation over {len(curve.rerun_shares)} re-runs)",
            f"  largest cluster      {_share(curve, 0)} of the samples",
            f"  smallest cluster     {_share(curve, -1)}",
            f"  Gini coefficient     {curve.gini:6.2f} ± {curve.gini_std:.2f}"
            "  (0: all of one size)",
            f"  effective groups     {curve.effective_groups:6.1f} ± "
            f"{curve.effective_groups_std:.1f}  (exponential of the entropy)",
            f"  inverse Simpson      {curve.inverse_simpson:6.1f} ± "
            f"{curve.inverse_simpson_std:.1f}",
            "  Clusters tend to be of similar size, so this says little of "
            "classes.",
            "",
            f"Headness of each sample, by {self.estimate}",
            self._sureness(),
        ]
        agreement, classes = self.agreement, self.class_curve
        if agreement is not None and classes is not None:
            lines += [
                "",
                "Compared with the labels",
                f"  {len(classes.shares)} classes: largest "
                f"{classes.shares[0]:.1%}, smallest {classes.shares[-1]:.1%}; "
                f"Gini {classes.gini:.2f}, effective "
                f"{classes.effective_groups:.1f}",
                "  rank correlation of headness and class size "
                f"{agreement.rank_correlation:+.2f} (1 perfect, 0 none)",
                "  AUC for samples of few-image classes "
                f"{agreement.few_auc:.2f} (1 perfect, 0.5 chance)",
            ]
        return "\n".join(lines) + "\n"

    def _taken_out(self) -> list[str]:
        counts = [
            0 if some is None else np.count_nonzero(some)
            for some in (self.near_duplicates, self.outliers)
        ]
        if not any(counts):
            return []
        return [
            f"Taken out: {counts[0]:,} near-duplicates of others, "
            f"{counts[1]:,} outliers",
            "",
        ]

    def _sureness(self) -> str:
        if np.isnan(self.uncertainty).any():
            return "  one run: its uncertainty is not known"
        tail = self.uncertainty[self.percentiles <= 0.1]
        typical = f"{np.median(tail):.2f}" if len(tail) else "-"
        return (
            "  its uncertainty: median "
            f"{np.median(self.uncertainty):.2f}, in the lowest tenth {typical} "
            f"({RANDOM_ORDER:.2f}: random)"
        )


def _share(curve: ImbalanceCurve, rank: int) -> str:
    share, spread = curve.shares[rank], curve.shares_std[rank]
    return f"{100 * share:6.2f}% ± {100 * spread:.2f}%"
