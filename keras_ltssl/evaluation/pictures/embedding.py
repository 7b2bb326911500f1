"""A two-dimensional map of an embedding."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from keras_ltssl.arrays import shuffled_by_class
from keras_ltssl.evaluation.groups import FEW, MANY, MEDIUM, class_groups
from keras_ltssl.evaluation.labeled_features import (
    as_features,
    as_labels,
)
from keras_ltssl.evaluation.pictures.canvas import (
    MARKERS,
    class_titles,
    new_figure,
    plain,
    png_path,
    save_png,
)
from keras_ltssl.evaluation.tables import shortened
from keras_ltssl.validation import (
    LARGEST_SEED,
    check_integer,
)

# Fewer samples than this have too few neighbors for t-SNE.
FEWEST_FOR_TSNE = 30
# Up to so many samples the exact gradient is faster than the approximation.
EXACT_UP_TO = 300
# Half of scikit-learn's: enough for a picture, in half the time.
ITERATIONS = 500
# t-SNE sees at most this many principal components.
COMPONENTS = 50
# With more classes the map shows groups of classes instead.
MOST_CLASSES = 20
# Neighbors are as different in lightness as in hue.
PALETTE = (
    "#12305a",
    "#f2c14e",
    "#2a7f62",
    "#e07b30",
    "#6a1b4d",
    "#8fd3e8",
    "#b02e2e",
    "#93ad2f",
    "#5b5b5b",
    "#d9a6c8",
)


def plot_embedding(
    features: Any,
    labels: Any,
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    max_samples: int = 2000,
) -> Path:
    """Draws samples on a plane, near each other where their features are.

    The plane is t-SNE of the 50 leading principal components; of fewer than
    30 samples it is the two leading components. Each class has a marker, the
    larger the rarer it is, its number of samples in the legend and its name at
    the middle of its samples. Of more than 20 classes the map shows the thirds
    with many, medium and few samples.

    Args:
        features: Float array of shape `(samples, features)`.
        labels: Integer array of shape `(samples,)`.
        path: Where to write, ending in `.png`.
        class_names: A name for each class, in the order of the sorted labels.
            Defaults to `None`, the labels themselves.
        seed: Seed of t-SNE and of the choice of samples. Defaults to `0`.
        max_samples: Of more samples a random subset is drawn, in which no
            class loses a sample before all larger ones are down to its size.
            Defaults to `2000`, some tens of seconds on two
            cores.

    Returns:
        The path of the picture.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If shapes do not fit, features are not finite, or there are
            fewer than 2 samples.
    """
    target = png_path(path)
    values = as_features(features, "features")
    keys = as_labels(labels, "labels", len(values), "features")
    check_integer("max_samples", max_samples, minimum=1)
    check_integer("seed", seed, 0, LARGEST_SEED)
    if len(values) < 2:
        raise ValueError("`features` must have at least 2 rows. Received: 1")
    classes, positions, counts = np.unique(
        keys, return_inverse=True, return_counts=True
    )
    names = class_titles(class_names, classes)
    figure = new_figure(9, 6.5)
    rng = np.random.default_rng(seed)
    chosen = _choose(positions, max_samples, rng)
    plane, method = _plane(values[chosen], seed)
    _draw(figure, plane, positions[chosen], counts, names)
    axes = figure.axes[0]
    shown = (
        f"{len(chosen):,} samples"
        if len(chosen) == len(values)
        else f"{len(chosen):,} of {len(values):,} samples"
    )
    axes.set_title(f"Map of the embedding: {method}, {shown}")
    axes.set_xlabel(f"{method} axis 1 (no unit)")
    axes.set_ylabel(f"{method} axis 2 (no unit)")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)
    return save_png(figure, target)


def _choose(
    positions: NDArray[np.int64], most: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Returns rows of a random subset in which rare classes stay whole."""
    rows, places = shuffled_by_class(positions, rng)
    # Every class's first sample comes first, then every class's second.
    in_turn = rows[np.argsort(places, kind="stable")]
    return np.sort(in_turn[:most])


def _plane(features: NDArray[Any], seed: int) -> tuple[NDArray[Any], str]:
    """Two coordinates for each sample, and the name of the method."""
    if np.all(features == features[0]):
        return np.zeros((len(features), 2)), "PCA"
    size = min(COMPONENTS, *features.shape)
    components = PCA(size, random_state=seed).fit_transform(
        features.astype("float64")
    )
    if len(features) < FEWEST_FOR_TSNE or size < 2:
        padded = np.pad(components, ((0, 0), (0, max(0, 2 - size))))
        return padded[:, :2], "PCA"
    perplexity = min(30.0, (len(features) - 1) / 3)
    plane = TSNE(
        perplexity=perplexity,
        init="pca",
        random_state=seed,
        max_iter=ITERATIONS,
        method="exact" if len(features) <= EXACT_UP_TO else "barnes_hut",
    ).fit_transform(components)
    return plane, "t-SNE"


def _draw(
    figure: Any,
    plane: NDArray[Any],
    positions: NDArray[np.int64],
    counts: NDArray[np.int64],
    names: Sequence[str],
) -> None:
    axes = figure.subplots()
    if len(counts) > MOST_CLASSES:
        members = class_groups(counts)
        parts = [
            (
                members[positions] == group,
                counts[members == group].mean(),
                f"{title}: {_span(counts[members == group])}",
            )
            for group, title in (
                (MANY, "many"),
                (MEDIUM, "medium"),
                (FEW, "few"),
            )
        ]
        title = "classes by samples"
    else:
        head_first = np.argsort(counts, kind="stable")[::-1]
        parts = [
            (
                positions == c,
                counts[c],
                f"{counts[c]:,}  {shortened(names[c], 24)}",
            )
            for c in head_first
        ]
        title = "samples of the class"
    sizes = [size for _, size, _ in parts]
    for index, (here, size, label) in enumerate(parts):
        # Rare classes, the purpose of the map, are larger and have an edge.
        rarity = _rarity(size, max(sizes), min(sizes))
        axes.scatter(
            *plane[here].T,
            s=14 + 46 * rarity,
            color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[(index + index // len(MARKERS)) % len(MARKERS)],
            alpha=0.85,
            edgecolors="black",
            linewidths=0.3 + 0.6 * rarity,
            label=plain(label),
        )
    axes.legend(
        title=title,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        markerscale=1.2,
    )
    if len(counts) <= MOST_CLASSES:
        from matplotlib.patheffects import withStroke

        for c in np.unique(positions):
            middle = np.median(plane[positions == c], axis=0)
            axes.annotate(
                plain(shortened(names[c], 14)),
                middle,
                ha="center",
                va="center",
                fontweight="bold",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )


def _rarity(count: float, largest: float, smallest: float) -> float:
    """0 for the largest class, 1 for the smallest, on a log scale."""
    if largest == smallest:
        return 0.0
    return float(np.log(largest / count) / np.log(largest / smallest))


def _span(counts: NDArray[np.int64]) -> str:
    size = f"{counts.min():,} to {counts.max():,}"
    return f"{len(counts)} classes of\n{size} samples"
