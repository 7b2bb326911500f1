"""Temperature over training, and by class size."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from keras_ltssl.evaluation.pictures.canvas import (
    COLORS,
    new_figure,
    plain_ticks,
    png_path,
    save_png,
    tidy,
)
from keras_ltssl.validation import check_array_of_numbers, check_instance


def plot_temperature(
    history: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str],
    class_temperature: ArrayLike | None = None,
    class_counts: ArrayLike | None = None,
) -> Path:
    """Draws the temperature of each epoch and, if given, of each class.

    Args:
        history: What `fit` logged, `History.history`; its `"temperature"` has
            one value an epoch.
        path: Where to write, ending in `.png`.
        class_temperature: Array of shape `(num_classes,)`, mean temperature of
            the samples of each class, drawn against class size. Defaults to
            `None`, no second panel.
        class_counts: Array of shape `(num_classes,)`, training images of each
            class; goes with `class_temperature`. Defaults to `None`.

    Returns:
        The path of the picture.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If `history` has no finite `"temperature"`, only one of the
            two arrays is given, or they do not fit together.
    """
    target = png_path(path)
    check_instance("history", history, Mapping, "a mapping, History.history")
    if "temperature" not in history:
        raise ValueError(
            '`history` must have the key "temperature". Received: '
            f"{sorted(history)}"
        )
    check_array_of_numbers("history", history["temperature"])
    temperature = np.asarray(history["temperature"], dtype="float64")
    if (
        temperature.ndim != 1
        or not temperature.size
        or not np.all(np.isfinite(temperature))
    ):
        raise ValueError(
            '`history` must have finite numbers at "temperature", one an '
            f"epoch, at least one. Received: {history['temperature']}"
        )
    by_class = _check_classes(class_temperature, class_counts)

    figure = new_figure(10 if by_class else 6.5, 4)
    panels = figure.subplots(1, 2 if by_class else 1, squeeze=False)[0]
    _draw_epochs(panels[0], temperature)
    if by_class:
        _draw_classes(panels[1], *by_class)
    return save_png(figure, target)


def _check_classes(
    class_temperature: ArrayLike | None, class_counts: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    if class_temperature is None and class_counts is None:
        return None
    if class_temperature is None or class_counts is None:
        raise ValueError(
            "`class_temperature` and `class_counts` go together. Received "
            "only one of them"
        )
    check_array_of_numbers("class_temperature", class_temperature)
    check_array_of_numbers("class_counts", class_counts)
    values = np.asarray(class_temperature, dtype="float64")
    counts = np.asarray(class_counts, dtype="float64")
    if values.ndim != 1 or values.shape != counts.shape or not values.size:
        raise ValueError(
            "`class_temperature` and `class_counts` must both have shape "
            f"(num_classes,). Received: {values.shape} and {counts.shape}"
        )
    if not np.all(np.isfinite(values)) or not np.all(counts > 0):
        raise ValueError(
            "`class_temperature` must be finite and `class_counts` positive. "
            f"Received: {class_temperature} and {class_counts}"
        )
    return values, counts


def _draw_epochs(axes: Any, temperature: NDArray[np.float64]) -> None:
    epochs = np.arange(1, len(temperature) + 1)
    marker = "o" if len(temperature) <= 40 else None
    axes.plot(epochs, temperature, color=COLORS[0], marker=marker, markersize=4)
    axes.set_title("Temperature during training")
    axes.set_xlabel("epoch")
    axes.set_ylabel("temperature (no unit), mean of the epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _limit(axes, temperature)
    tidy(axes)


def _draw_classes(
    axes: Any, temperature: NDArray[np.float64], counts: NDArray[np.float64]
) -> None:
    axes.scatter(counts, temperature, color=COLORS[0], s=36, alpha=0.8)
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.set_title(
        f"Temperature by class ({_correlation(counts, temperature)})"
    )
    labeled = len(counts) <= 20
    axes.set_xlabel(
        "training images of the class (log scale)"
        + ("\nnumbers: which class" if labeled else "")
    )
    axes.set_ylabel("mean temperature of the class (no unit)")
    _limit(axes, temperature)
    tidy(axes)
    if labeled:
        for c, (x, y) in enumerate(zip(counts, temperature, strict=True)):
            axes.annotate(
                f"{c}",
                (x, y),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color="0.3",
            )


def _limit(axes: Any, values: NDArray[np.float64]) -> None:
    """Makes the axis span a tenth of the mean, so that noise looks small."""
    low, high = values.min(), values.max()
    margin = max(0.08 * (high - low), 0.05 * abs(values.mean()) or 0.05)
    axes.set_ylim(low - margin, high + margin)


def _correlation(counts: NDArray[Any], values: NDArray[Any]) -> str:
    """Returns Spearman's rank correlation, in words where there is none."""
    if np.ptp(counts) == 0 or np.ptp(values) == 0:
        return "no rank correlation: all equal"
    return f"rank correlation {spearmanr(counts, values)[0]:+.2f}"
