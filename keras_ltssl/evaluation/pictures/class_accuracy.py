"""Draws class sizes from head to tail, and the accuracies of several runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation.groups import FEW, MANY, MEDIUM, class_groups
from keras_ltssl.evaluation.pictures.canvas import (
    COLORS,
    LINE_STYLES,
    MARKERS,
    new_figure,
    plain,
    plain_ticks,
    png_path,
    save_png,
    tidy,
)
from keras_ltssl.evaluation.pictures.lines import (
    apart,
    over_repeats,
    running_mean,
)
from keras_ltssl.evaluation.report import (
    PROBE_TITLES,
    LongTailReport,
    check_reports,
)
from keras_ltssl.evaluation.tables import shortened
from keras_ltssl.validation import check_choice

# More class names than this do not fit under the bars.
MOST_NAMES = 20
# Lines of more classes than this are smoothed, to be readable.
MOST_POINTS = 40


def plot_class_accuracy(
    reports: Sequence[LongTailReport],
    path: str | os.PathLike[str],
    probe: str = "few_shot",
) -> Path:
    """Draws class accuracies of several runs over the class sizes.

    Classes stand from the most to the least frequent. Above, the accuracy of
    each run, beside its last point the run's name; below, the number of
    training images on a log scale; bands mark the many, medium and few groups.
    With more than 40 classes the lines are running means over a tenth of the
    classes, and single classes are dots.

    Reports of the same name are taken as repeats of one run (other seeds,
    other class orders): the line is their mean, with bars of one standard
    deviation to both sides, or bands with more than 40 classes. Where repeats
    have other classes in the tail, the picture shows the mean over the classes
    of each rank, and ranks instead of names.

    Args:
        reports: Reports of one to six names, each of the same splits: class
            names and counts, in whatever order the reports come.
        path: Where to write, ending in `.png`.
        probe: `"linear"`, `"few_shot"`, `"knn"` or `"knn1"`. Defaults to
            `"few_shot"`.

    Returns:
        The path of the picture.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there are no reports or too many names, the runs are not
            about the same splits, or `probe` is unknown.
    """
    target = png_path(path)
    check_reports(reports)
    runs: dict[str, list[LongTailReport]] = {}
    for report in reports:
        runs.setdefault(report.name, []).append(report)
    if not 1 <= len(runs) <= len(COLORS):
        raise ValueError(
            f"`reports` must be of 1 to {len(COLORS)} names. Received: "
            f"{len(runs)}"
        )
    check_choice("probe", probe, tuple(PROBE_TITLES))
    first = reports[0]
    splits = {name: sorted(map(_split, same)) for name, same in runs.items()}
    for name, theirs in splits.items():
        # Repeats of a split are averaged, so only distinct splits count.
        if set(theirs) != set(splits[first.name]):
            raise ValueError(
                "`reports` must have the same class names, counts and groups. "
                f"Received others in {name!r} than in {first.name!r}"
            )
    if len({(r.groups, tuple(sorted(r.class_counts))) for r in reports}) > 1:
        raise ValueError(
            "`reports` must have the same groups, and the same class counts in "
            "whatever order. Received different ones"
        )
    head_first = _head_first(first)
    counts = np.asarray(first.class_counts)[head_first]
    members = class_groups(first.class_counts, first.groups)[head_first]
    names = None
    if len(set(splits[first.name])) == 1:
        names = [first.class_names[c] for c in head_first]
    lines = [
        np.stack([r.probes[probe].class_accuracy[_head_first(r)] for r in same])
        for same in runs.values()
    ]
    titles = [
        shortened(name, 26)
        + (f"\n(mean of {len(same)} ± std)" if len(same) > 1 else "")
        for name, same in runs.items()
    ]

    figure = new_figure(10, 6)
    above, below = figure.subplots(
        2, 1, sharex=True, height_ratios=[3, 2], squeeze=True
    )
    _draw_lines(above, lines, titles)
    _draw_counts(below, counts, names)
    _draw_groups(above, below, members)
    title = f"Accuracy by class: {PROBE_TITLES[probe]} probe"
    if probe == "few_shot":
        title += f", {first.shots} labels a class"
    above.set_title(title, pad=22)
    return save_png(figure, target)


Split: TypeAlias = tuple[tuple[str, ...], tuple[int, ...], str]


def _split(report: LongTailReport) -> Split:
    return report.class_names, report.class_counts, report.groups


def _head_first(report: LongTailReport) -> NDArray[np.int64]:
    return np.argsort(report.class_counts, kind="stable")[::-1]


def _draw_lines(
    axes: Any, runs: Sequence[NDArray[np.float64]], names: Sequence[str]
) -> None:
    """Draws runs, each `(repeats, classes)`, with a name at each line's end."""
    classes = runs[0].shape[1]
    smooth = classes > MOST_POINTS
    ends = []
    for index, repeats in enumerate(runs):
        # Bars of several runs stand side by side.
        x = np.arange(1, classes + 1) + 0.0
        if not smooth and any(len(run) > 1 for run in runs):
            x += 0.1 * (index - (len(runs) - 1) / 2)
        look = {"color": COLORS[index], "marker": MARKERS[index]}
        accuracy, spread = over_repeats(100 * repeats)
        if smooth:
            axes.plot(
                x, accuracy, linestyle="", markersize=2.5, alpha=0.35, **look
            )
            accuracy, spread = over_repeats(
                np.stack(
                    [running_mean(100 * run, classes // 10) for run in repeats]
                )
            )
            look["marker"] = ""
            if len(repeats) > 1:
                axes.fill_between(
                    x,
                    accuracy - spread,
                    accuracy + spread,
                    color=COLORS[index],
                    alpha=0.2,
                    linewidth=0,
                )
        elif len(repeats) > 1:
            axes.errorbar(
                x,
                accuracy,
                spread,
                linestyle="",
                color=COLORS[index],
                capsize=2.5,
                linewidth=1,
            )
        axes.plot(
            x,
            accuracy,
            linestyle=LINE_STYLES[index],
            linewidth=2,
            markersize=5,
            **look,
        )
        tested = np.flatnonzero(np.isfinite(accuracy))
        ends.append((x[tested[-1]], accuracy[tested[-1]]))
    axes.set_ylim(-3, 103)
    gap = 13 if any("\n" in name for name in names) else 7
    heights = apart([height for _, height in ends], gap=gap, low=0, high=100)
    for index, (end, height) in enumerate(zip(ends, heights, strict=True)):
        axes.annotate(
            plain(names[index]),
            end,
            xytext=(1.03, height),
            textcoords=("axes fraction", "data"),
            va="center",
            color=COLORS[index],
            fontweight="bold",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": COLORS[index],
                "linestyle": LINE_STYLES[index],
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 3,
            },
        )
    axes.set_ylabel(
        f"accuracy (%)\nline: running mean of {classes // 10} classes"
        if smooth
        else "accuracy (%)"
    )
    tidy(axes)


def _draw_counts(
    axes: Any, counts: NDArray[np.int64], names: Sequence[str] | None
) -> None:
    x = np.arange(1, len(counts) + 1)
    axes.bar(x, counts, width=0.8, color="0.6")
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set_ylim(0.7, 3 * max(counts.max(), 1))
    axes.set_ylabel("training images\n(log scale)")
    axes.set_xlim(0.4, len(counts) + 0.6)
    if len(counts) <= MOST_NAMES:
        for position, count in zip(x, counts, strict=True):
            axes.annotate(
                f"{count:,}",
                (position, max(count, 0.7)),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.set_xticks(x)
    if names is not None and len(counts) <= MOST_NAMES:
        shown = [plain(shortened(name, 18)) for name in names]
        crowded = max(map(len, shown)) * len(shown) > 90
        axes.set_xticks(
            x,
            shown,
            rotation=40 if crowded else 0,
            ha="right" if crowded else "center",
        )
        axes.set_xlabel("class, most training images first")
    else:
        axes.set_xlabel("rank of the class, most training images first")
    tidy(axes)


def _draw_groups(above: Any, below: Any, members: NDArray[np.int64]) -> None:
    for group, name in ((MANY, "many"), (MEDIUM, "medium"), (FEW, "few")):
        ranks = 1 + np.flatnonzero(members == group)
        if not len(ranks):
            continue
        if group == MEDIUM:
            for axes in (above, below):
                axes.axvspan(
                    ranks[0] - 0.5, ranks[-1] + 0.5, color="0.95", zorder=0
                )
        above.annotate(
            f"{name} ({len(ranks)})",
            ((ranks[0] + ranks[-1]) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            color="0.35",
        )
