"""Cosines between class means, head to tail, a panel for each run."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.evaluation.class_similarity import (
    ClassSimilarity,
    class_similarity,
)
from keras_ltssl.evaluation.groups import (
    FEW,
    MANY,
    MEDIUM,
    Grouping,
    class_groups,
)
from keras_ltssl.evaluation.pictures.canvas import (
    class_titles,
    new_figure,
    plain,
    png_path,
    save_png,
)
from keras_ltssl.evaluation.tables import shortened

MOST_RUNS = 6
MOST_COLUMNS = 3
# Up to so many classes have their names at the axes, and numbers in the cells.
MOST_NAMES, MOST_NUMBERS = 20, 12
# Its lightness rises evenly, so that it reads the same in grayscale.
COLOR_MAP = "cividis"


def plot_class_similarity(
    features: Any,
    labels: Any,
    path: str | os.PathLike[str],
    class_counts: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    groups: Grouping = "thirds",
    centered: bool = True,
) -> Path:
    """Draws the cosines of class means, to show whether the tail collapses.

    A panel for each run, on one color scale; classes stand from the most to
    the least frequent, white lines part the many, medium and few groups. Under
    each panel: the cosine of a class mean to its nearest other, averaged over
    each group. Where that of few-image classes is larger than that of others,
    rare classes are closer to another class than frequent ones are.

    Args:
        features: Float array of shape `(samples, dim)`; or a mapping of one to
            six names of runs to such arrays, of the same samples.
        labels: Integer array of shape `(samples,)`.
        path: Where to write, ending in `.png`.
        class_counts: Training images of each class, in the order of the sorted
            labels. Defaults to `None`: how often each label occurs.
        class_names: A name for each class, in that order. Defaults to `None`,
            the labels themselves.
        groups: `"thirds"` or `"thresholds"`, see `group_accuracy`. Defaults to
            `"thirds"`.
        centered: Whether the mean of the class means is taken off first, see
            `class_similarity`. Defaults to `True`.

    Returns:
        The path of the picture.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there are no or too many runs, or their features are not
            as `class_similarity` takes them.
    """
    target = png_path(path)
    runs = features if isinstance(features, Mapping) else {"": features}
    if not 1 <= len(runs) <= MOST_RUNS:
        raise ValueError(
            f"`features` must be of 1 to {MOST_RUNS} runs. Received: "
            f"{len(runs)}"
        )
    found = {
        str(name): class_similarity(
            values, labels, class_counts, groups, centered
        )
        for name, values in runs.items()
    }
    first = next(iter(found.values()))
    names = class_titles(class_names, first.classes)
    columns = min(len(found), MOST_COLUMNS)
    rows = math.ceil(len(found) / columns)
    figure = new_figure(2.6 + 3.7 * columns, 0.6 + 5.0 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    lowest = min(
        np.min(one.cosines, where=np.isfinite(one.cosines), initial=0.9)
        for one in found.values()
    )
    for index, (name, one) in enumerate(found.items()):
        axes = panels[index]
        image = _draw(axes, one, names, lowest, is_first=index % columns == 0)
        axes.set_title(plain(shortened(name, 40)), pad=18)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    figure.colorbar(
        image,
        ax=list(panels[: len(found)]),
        shrink=0.7,
        label="cosine between class means",
    )
    figure.suptitle(
        "Similarity of class means"
        + (", their common mean taken off" if centered else "")
    )
    figure.get_layout_engine().set(h_pad=0.12)
    return save_png(figure, target)


def _draw(
    axes: Any,
    one: ClassSimilarity,
    names: Sequence[str],
    lowest: float,
    is_first: bool,
) -> Any:
    order = one.head_first
    cosines = one.cosines[np.ix_(order, order)]
    axes.set_facecolor("0.6")  # What has no direction.
    image = axes.imshow(cosines, cmap=COLOR_MAP, vmin=lowest, vmax=1)
    classes = len(order)
    _draw_groups(axes, class_groups(one.class_counts, one.groups)[order])
    if classes <= MOST_NUMBERS:
        middle = (lowest + 1) / 2
        for row in range(classes):
            for column in range(classes):
                value = cosines[row, column]
                if row != column and np.isfinite(value):
                    axes.text(
                        column,
                        row,
                        _short(value),
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        color="white" if value < middle else "black",
                    )
    if classes <= MOST_NAMES:
        shown = [plain(shortened(names[c], 12)) for c in order]
        axes.set_yticks(
            range(classes),
            [
                f"{name} ({one.class_counts[c]:,})" if is_first else ""
                for name, c in zip(shown, order, strict=True)
            ],
            fontsize=9,
        )
        crowded = max(map(len, shown)) * classes > 40
        axes.set_xticks(
            range(classes),
            shown,
            rotation=60 if crowded else 0,
            ha="right" if crowded else "center",
            rotation_mode="anchor",
            fontsize=9,
        )
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.get_major_locator().set_params(integer=True)
    if is_first:
        axes.set_ylabel(
            "class (training images)"
            if classes <= MOST_NAMES
            else "rank of the class, most training images first"
        )
    means = [
        f"{title} {value:.2f}"
        for title, group in (("many", MANY), ("medium", MEDIUM), ("few", FEW))
        if np.isfinite(value := one.nearest_of(group))
    ]
    axes.set_xlabel(
        "cosine to the nearest other class:\n"
        + (", ".join(means) or "not defined, all means are equal")
    )
    return image


def _draw_groups(axes: Any, members: NDArray[np.int64]) -> None:
    """Lines between the groups, of head-first classes, and their names."""
    for group, name in ((MANY, "many"), (MEDIUM, "medium"), (FEW, "few")):
        ranks = np.flatnonzero(members == group)
        if not len(ranks):
            continue
        axes.annotate(
            name,
            ((ranks[0] + ranks[-1]) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            color="0.35",
            fontsize=9,
        )
        if ranks[0] > 0:
            axes.axhline(ranks[0] - 0.5, color="white", linewidth=2)
            axes.axvline(ranks[0] - 0.5, color="white", linewidth=2)


def _short(value: float) -> str:
    """`-0.12` as `-.12`: there is little room in a cell."""
    text = f"{value:.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text
