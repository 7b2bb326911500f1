"""Draws a tail diagnosis: curve, headness, uncertainty, and images."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation.groups import FEW, MANY, MEDIUM
from keras_ltssl.evaluation.pictures.canvas import (
    COLORS,
    new_figure,
    plain,
    png_path,
    save_png,
    tidy,
)
from keras_ltssl.evaluation.pictures.image_cells import as_pixels, draw_cell
from keras_ltssl.evaluation.pictures.imbalance_curve import draw_curve
from keras_ltssl.evaluation.tables import shortened
from keras_ltssl.evaluation.tail_diagnosis_result import (
    RANDOM_ORDER,
    TailDiagnosis,
)
from keras_ltssl.validation import check_instance, check_integer, check_samples

COLUMNS = 14
BINS = 10
HATCHES = {MANY: "", MEDIUM: "////", FEW: "xx"}
GRAYS = {MANY: "0.35", MEDIUM: "0.75", FEW: "1.0"}


def plot_tail_diagnosis(
    diagnosis: TailDiagnosis,
    images: Any,
    path: str | os.PathLike[str],
    images_per_column: int = 3,
) -> Path:
    """Draws a `TailDiagnosis`, with images from head to tail.

    Above, from left to right: sizes of the clusters from the largest to the
    smallest, in multiples of an even split, with a band of two standard
    deviations over the re-runs to both sides, and beside it the true classes
    if labels are known; how many samples have which headness score, or with
    labels which share of the many-, medium- and few-image classes is in each
    tenth of the percentiles; how sure the percentiles are. Below: images, those
    of the largest headness on the left.

    Args:
        diagnosis: What `tail_diagnosis` returned.
        images: The samples that it is about, in their order: anything whose
            `images[row]` is a `uint8` image of shape `(height, width, 1)` or
            `(height, width, 3)`.
        path: Where to write, ending in `.png`.
        images_per_column: Images of next to equal headness below each other,
            1 to 10. Defaults to `3`.

    Returns:
        The path of the picture.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there are not as many images as samples, one of them has
            another shape or dtype, or `images_per_column` is not in 1 to 10.
    """
    target = png_path(path)
    check_instance("diagnosis", diagnosis, TailDiagnosis, "a TailDiagnosis")
    check_samples("images", images)
    check_integer("images_per_column", images_per_column, 1, 10)
    samples = len(diagnosis.scores)
    if len(images) != samples:
        raise ValueError(
            "`images` must be the samples that `diagnosis` is about, "
            f"{samples}. Received: {len(images)}"
        )
    rows = _rows_to_show(diagnosis, images_per_column)
    shown = [[as_pixels(images[row], "images") for row in c] for c in rows]

    width = 12.5
    strip = 0.62 + images_per_column * (width - 0.6) / COLUMNS
    figure = new_figure(width, 4.4 + strip)
    grid = figure.add_gridspec(2, 3, height_ratios=[3.9, strip])
    draw_curve(figure.add_subplot(grid[0, 0]), diagnosis)
    if diagnosis.members is None:
        _draw_scores(figure.add_subplot(grid[0, 1]), diagnosis)
    else:
        _draw_members(
            figure.add_subplot(grid[0, 1]), diagnosis, diagnosis.members
        )
    _draw_uncertainty(figure.add_subplot(grid[0, 2]), diagnosis)
    _draw_images(figure.add_subplot(grid[1, :]), diagnosis, rows, shown)
    figure.suptitle(
        f"Tail of {samples:,} samples, estimated without labels "
        f"({plain(shortened(diagnosis.estimate, 60))})"
    )
    return save_png(figure, target)


def _rows_to_show(
    diagnosis: TailDiagnosis, per_column: int
) -> list[NDArray[np.int64]]:
    """Rows of samples for each column, evenly from head to tail."""
    head_first = diagnosis.tail_first[::-1]
    per_column = min(per_column, len(head_first))
    columns = min(COLUMNS, len(head_first) // per_column)
    starts = np.linspace(0, len(head_first) - per_column, columns)
    return [
        head_first[start : start + per_column]
        for start in np.round(starts).astype("int64")
    ]


def _draw_scores(axes: Any, diagnosis: TailDiagnosis) -> None:
    axes.hist(diagnosis.scores, bins=40, color=COLORS[0])
    tenth = np.quantile(diagnosis.scores, 0.1)
    axes.axvline(tenth, color=COLORS[1], linestyle="--", linewidth=2)
    axes.annotate(
        "lowest tenth",
        (tenth, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        rotation=90,
    )
    axes.xaxis.get_major_locator().set_params(nbins=5)
    axes.set_xlabel("headness score, low: tail-like")
    axes.set_ylabel("samples")
    axes.set_title("Headness of the samples", fontsize=11)
    tidy(axes)


def _draw_members(
    axes: Any, diagnosis: TailDiagnosis, members: NDArray[np.int64]
) -> None:
    width = 100 / BINS
    groups = [
        (MANY, "many-image classes"),
        (MEDIUM, "medium"),
        (FEW, "few-image classes"),
    ]
    groups = [(g, name) for g, name in groups if np.any(members == g)]
    bar = 0.86 * width / len(groups)
    for index, (group, name) in enumerate(groups):
        counts, edges = np.histogram(
            100 * diagnosis.percentiles[members == group],
            bins=BINS,
            range=(0, 100),
        )
        axes.bar(
            edges[:-1] + 0.07 * width + (index + 0.5) * bar,
            100 * counts / counts.sum(),
            width=bar,
            color=GRAYS[group],
            hatch=HATCHES[group],
            edgecolor="black",
            linewidth=0.6,
            label=f"{name} ({counts.sum():,})",
        )
    axes.axhline(100 / BINS, color="0.4", linewidth=1, linestyle=":")
    axes.set_xlim(0, 100)
    axes.set_xticks(np.arange(0, 101, 20))
    axes.set_xlabel("headness percentile (%), low: tail-like")
    axes.set_ylabel("samples of the group (%)")
    agreement = diagnosis.agreement
    title = "Against the labels"
    if agreement is not None:
        title += (
            f": AUC {agreement.few_auc:.2f}, "
            f"rank corr. {agreement.rank_correlation:+.2f}"
        )
    axes.set_title(title, fontsize=11)
    axes.set_ylim(0, 1.38 * axes.get_ylim()[1])
    axes.legend(fontsize=8.5, loc="upper right")
    tidy(axes)


def _draw_uncertainty(axes: Any, diagnosis: TailDiagnosis) -> None:
    axes.set_title("How sure are the percentiles?", fontsize=11)
    axes.set_xlabel("headness percentile (%), low: tail-like")
    axes.set_ylabel("std over re-runs (percentage points)")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 50)
    axes.set_xticks(np.arange(0, 101, 20))
    tidy(axes)
    axes.axhline(100 * RANDOM_ORDER, color="0.4", linewidth=1, linestyle=":")
    axes.annotate(
        "random order",
        (98, 100 * RANDOM_ORDER),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        color="0.3",
    )
    if np.isnan(diagnosis.uncertainty).any():
        axes.annotate(
            "not known: one run",
            (0.5, 0.4),
            xycoords="axes fraction",
            ha="center",
            color="0.3",
        )
        return
    bins = 2 * BINS
    place = np.minimum((bins * diagnosis.percentiles).astype("int64"), bins - 1)
    used = np.unique(place)
    low, middle, high = np.stack(
        [
            np.quantile(diagnosis.uncertainty[place == b], [0.1, 0.5, 0.9])
            for b in used
        ],
        axis=1,
    )
    x = 100 * (used + 0.5) / bins
    axes.fill_between(
        x,
        100 * low,
        100 * high,
        color="0.8",
        linewidth=0,
        label="10% to 90% of the samples",
    )
    axes.plot(
        x,
        100 * middle,
        color=COLORS[0],
        linewidth=2,
        marker="o",
        markersize=4,
        label="median",
    )
    axes.set_ylim(0, max(50, 140 * high.max()))
    axes.legend(fontsize=8.5, loc="upper left")


def _draw_images(
    axes: Any,
    diagnosis: TailDiagnosis,
    rows: list[NDArray[np.int64]],
    shown: list[list[NDArray[np.uint8]]],
) -> None:
    known = not np.isnan(diagnosis.uncertainty).any()
    for column, (chosen, images) in enumerate(zip(rows, shown, strict=True)):
        for row, pixels in enumerate(images):
            draw_cell(axes, pixels, column, row, fill=0.92)
        percentile = 100 * diagnosis.percentiles[chosen].mean()
        label = f"{percentile:.0f}%"
        if known:
            spread = 100 * diagnosis.uncertainty[chosen].mean()
            label += f" ±{spread:.0f}"
        axes.annotate(
            label,
            (column + 0.5, len(images)),
            xytext=(0, -3),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9,
            annotation_clip=False,
        )
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(len(shown[0]) + 0.25, 0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(
        "Images from head (left) to tail (right), with their headness "
        "percentile" + (" and its standard deviation" if known else ""),
        fontsize=11,
    )
