"""Draws how uneven the sizes of groups are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation.pictures.canvas import (
    COLORS,
    LINE_STYLES,
    plain_ticks,
    tidy,
)
from keras_ltssl.evaluation.tail_diagnosis_result import TailDiagnosis


def draw_curve(axes: Any, diagnosis: TailDiagnosis) -> None:
    """Draws sizes of clusters and, where known, of classes, largest first."""
    curve, classes = diagnosis.curve, diagnosis.class_curve
    x, relative = _relative(curve.shares)
    margin = 2 * len(x) * np.nan_to_num(curve.shares_std)
    # A band of a log scale must not reach zero.
    floor = relative[relative > 0].min() / 3
    axes.fill_between(
        x,
        np.maximum(relative - margin, floor),
        np.maximum(relative + margin, floor),
        color="0.8",
        linewidth=0,
        label="± 2 standard deviations",
    )
    axes.plot(
        x,
        np.where(relative > 0, relative, np.nan),
        color=COLORS[0],
        linewidth=2,
        marker="o" if len(x) <= 60 else "",
        markersize=3.5,
        label=f"{len(x)} clusters",
    )
    if classes is not None:
        axes.plot(
            *_relative(classes.shares),
            color=COLORS[1],
            linestyle=LINE_STYLES[1],
            linewidth=2,
            marker="s" if len(classes.shares) <= 60 else "",
            markersize=4,
            label=f"{len(classes.shares)} true classes",
        )
    axes.axhline(1, color="0.4", linewidth=1, linestyle=":", label="even split")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.4), max(high, 2.5))
    plain_ticks(axes.yaxis, between=True)
    axes.set_xlim(0, 100)
    axes.set_xlabel("groups, largest first (% of the groups)")
    axes.set_ylabel("size / mean size (log scale)")
    axes.set_title(
        f"Imbalance: Gini {curve.gini:.2f}, "
        f"effective {curve.effective_groups:.1f} of {len(x)}",
        fontsize=11,
    )
    axes.legend(fontsize=8.5, loc="lower left")
    tidy(axes)


def _relative(
    shares: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns each group's middle, in percent of groups, and size / mean."""
    groups = len(shares)
    return 100 * (np.arange(groups) + 0.5) / groups, shares * groups
