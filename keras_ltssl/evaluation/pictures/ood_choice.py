"""Clusters from tail to head: score, budget, ID images, chosen OOD images."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation.pictures.canvas import (
    COLORS,
    new_figure,
    plain,
    png_path,
    save_png,
)
from keras_ltssl.evaluation.pictures.image_cells import (
    as_pixels,
    draw_cell,
)
from keras_ltssl.samplers.colt import OODChoice
from keras_ltssl.validation import check_instance, check_integer, check_samples

# More rows than this do not fit on a screen.
MOST_ROWS = 20
# A panel has room for this many images at least, so that its title fits.
FEWEST_CELLS = 5
# Inches: an image's longer side, the space around it, and the other panels.
IMAGE, GAP = 0.52, 0.06
NAMES, BARS, BETWEEN, TOP, BOTTOM = 1.3, 1.5, 0.3, 0.95, 0.15


def plot_ood_choice(
    choice: OODChoice,
    id_images: Any,
    pool_images: Any,
    path: str | os.PathLike[str],
    images_per_cluster: int = 6,
    score_name: str = "tailness",
) -> Path:
    """Draws a row for each cluster: its score, budget and images.

    From left to right: the cluster's number of ID samples, its mean score, the
    ID images nearest to its center, the OOD images that it took first, nearest
    first, and how many it took in all. Clusters stand from the lowest score,
    tail-like, down to the highest, head-like; of more than 20, evenly spaced
    ones are shown.

    Args:
        choice: An `OODChoice`, as `samplers.choose_colt` returns it.
        id_images: The ID training set, in the order of the features that were
            clustered: anything whose `id_images[row]` is a `uint8` image of
            shape `(height, width, 1)` or `(height, width, 3)`.
        pool_images: The OOD pool, alike; its images may have another size.
        path: Where to write, ending in `.png`.
        images_per_cluster: ID images, and OOD images, in a row. Defaults to
            `6`.
        score_name: What `choice.cluster_scores` are means of, for the title.
            Defaults to `"tailness"`.

    Returns:
        The path of the picture.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the images are fewer than the choice is about, one of
            them has another shape or dtype, or `images_per_cluster` is not in
            1 to 20.
    """
    target = png_path(path)
    check_instance("choice", choice, OODChoice, "an OODChoice")
    check_instance("score_name", score_name, str, "a string")
    check_integer("images_per_cluster", images_per_cluster, 1, 20)
    most_pool = int(choice.indices.max(initial=-1)) + 1
    for name, images, least in (
        ("id_images", id_images, len(choice.labels)),
        ("pool_images", pool_images, most_pool),
    ):
        check_samples(name, images)
        if len(images) < least:
            raise ValueError(
                f"`{name}` must hold the images that `choice` is about, at "
                f"least {least}. Received: {len(images)}"
            )
    order = choice.tail_first
    if len(order) > MOST_ROWS:
        spread = np.linspace(0, len(order) - 1, MOST_ROWS)
        order = order[np.round(spread).astype("int64")]
    rows, columns = len(order), images_per_cluster
    known = [
        [as_pixels(id_images[row], "id_images") for row in shown[:columns]]
        for shown in map(choice.id_rows, order)
    ]
    taken = [
        [as_pixels(pool_images[row], "pool_images") for row in shown[:columns]]
        for shown in map(choice.pool_rows, order)
    ]

    cells = max(columns, FEWEST_CELLS)
    images_width = cells * (IMAGE + GAP)
    widths = (BARS, images_width, images_width, BARS)
    width = NAMES + sum(widths) + BETWEEN * len(widths)
    height = rows * (IMAGE + GAP) + TOP + BOTTOM
    figure = new_figure(width, height)
    # Image cells have a size in inches, which no automatic layout keeps.
    figure.set_layout_engine("none")
    panels = []
    left = NAMES
    for inches in widths:
        panels.append(
            figure.add_axes(
                (
                    left / width,
                    BOTTOM / height,
                    inches / width,
                    1 - (TOP + BOTTOM) / height,
                )
            )
        )
        left += inches + BETWEEN
    scores, id_panel, pool_panel, budgets = panels

    _draw_bars(
        scores,
        choice.cluster_scores[order],
        f"mean {plain(score_name)}\n(low: tail-like)",
        "{:#.3g}",
    )
    sizes = np.bincount(choice.labels, minlength=choice.num_clusters)
    scores.set_yticks(
        np.arange(rows) + 0.5,
        [f"cluster {c}\n{sizes[c]:,} ID images" for c in order],
        fontsize=9,
    )
    scores.tick_params(axis="y", length=0, pad=8)
    _draw_images(id_panel, known, cells, "ID images nearest to the center")
    _draw_images(pool_panel, taken, cells, "OOD images chosen, nearest first")
    _draw_bars(budgets, choice.budgets[order], "OOD images\nchosen", "{:,}")
    shown = (
        f"{rows} clusters"
        if rows == choice.num_clusters
        else f"{rows} of {choice.num_clusters} clusters"
    )
    figure.suptitle(
        f"Choice of {len(choice.indices):,} OOD images: {shown}, from "
        "tail-like (top) to head-like",
        y=1 - 0.12 / height,
        va="top",
    )
    return save_png(figure, target)


def _draw_images(
    axes: Any,
    images: list[list[NDArray[np.uint8]]],
    cells: int,
    title: str,
) -> None:
    """A grid of cells of one unit each, the first row on top."""
    fill = IMAGE / (IMAGE + GAP)
    for row, several in enumerate(images):
        for column, pixels in enumerate(several):
            draw_cell(axes, pixels, column, row, fill)
        if not several:
            axes.text(
                0.1, row + 0.5, "none", va="center", color="0.4", fontsize=9
            )
    axes.set_xlim(0, cells)
    axes.set_ylim(len(images), 0)
    axes.set_axis_off()
    _set_title(axes, title)


def _draw_bars(axes: Any, values: NDArray[Any], title: str, form: str) -> None:
    """Horizontal bars from zero, each with its number at its end."""
    rows = np.arange(len(values)) + 0.5
    known = np.isfinite(values)
    axes.barh(
        rows[known],
        values[known],
        height=0.42,
        color=COLORS[0],
    )
    low = min(0.0, values[known].min(initial=0))
    high = max(0.0, values[known].max(initial=0))
    span = (high - low) or 1.0
    # Room for the numbers beyond the longest bars, which are shorter where
    # there are bars to both sides.
    room = (1.2 if low < 0 < high else 0.7) * span
    axes.set_xlim(
        low - (room if low < 0 else 0),
        high + (room if high > 0 or low == 0 else 0),
    )
    axes.set_ylim(len(values), 0)
    for row, value, drawn in zip(rows, values, known, strict=True):
        outward = -1 if drawn and value < 0 else 1
        axes.annotate(
            form.format(value) if drawn else "none",
            (value if drawn else 0, row),
            xytext=(4 * outward, 0),
            textcoords="offset points",
            ha="left" if outward > 0 else "right",
            va="center",
            fontsize=9,
            color="black" if drawn else "0.4",
        )
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    _set_title(axes, title)


def _set_title(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, pad=6)
