"""Small charts in SVG, which differ by dashes and not by color alone."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.report.elements import Html, tag

# Units of the picture. On a phone one unit is about one pixel, so that the
# text is as large as the text around it.
_WIDTH, _HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 30
_DASHES = (None, "6 4", "2 3", "9 3 2 3")


def line_chart(
    title: str,
    explanation: str,
    epochs: NDArray[np.float64],
    curves: Mapping[str, NDArray[np.float64]],
) -> Html:
    """Returns a chart of curves over epochs, with first and last value.

    Args:
        title: Heading of the chart.
        explanation: One sentence on how to read it.
        epochs: Array of shape `(points,)`, rising.
        curves: Names and values, each of shape `(points,)`. NaN and infinity
            are left out.
    """
    finite = np.concatenate(
        [values[np.isfinite(values)] for values in curves.values()]
    )
    figure: list[Html] = [tag("figcaption", tag("strong", title))]
    if len(finite):
        low, high = _padded(float(finite.min()), float(finite.max()))
        figure.append(_drawn(title, epochs, curves, low, high))
    figure += [
        tag(
            "p",
            _sample(place) if len(curves) > 1 else "",
            in_words(name if len(curves) > 1 else "", epochs, values),
            class_="values",
        )
        for place, (name, values) in enumerate(curves.items())
    ]
    figure.append(tag("p", explanation, class_="note"))
    return tag("figure", *figure, class_="chart")


def in_words(
    name: str, epochs: NDArray[np.float64], values: NDArray[np.float64]
) -> str:
    """Returns the first and the last value of a curve as a sentence."""
    known = np.flatnonzero(np.isfinite(values))
    about = f"{name}: " if name else ""
    if not len(known):
        return f"{about}no finite value."
    first, last = known[0], known[-1]
    if first == last:
        return f"{about}{number(values[last])} in epoch {epochs[last]:.0f}."
    gaps = ""
    if len(known) < len(values):
        gaps = f" Known in {len(known):,} of {len(values):,} epochs."
    return (
        f"{about}{number(values[first])} in epoch {epochs[first]:.0f}, "
        f"{number(values[last])} in epoch {epochs[last]:.0f}.{gaps}"
    )


def number(value: float) -> str:
    """Returns a number with about three digits that matter."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2e}"


def interval_bar(value: float, low: float, high: float) -> Html:
    """Returns a bar for a share in [0, 1], with a whisker for its interval."""

    def across(share: float) -> str:
        return f"{100 * share:.1f}"

    return tag(
        "svg",
        tag("rect", x=0, y=1, width=100, height=14, class_="empty"),
        tag("rect", x=0, y=4, width=across(value), height=8, class_="bar"),
        tag(
            "path",
            d=f"M{across(low)} 8H{across(high)}"
            f"M{across(low)} 3v10M{across(high)} 3v10",
            class_="whisker",
        ),
        viewBox="0 0 100 16",
        class_="interval",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def share_bar(share: float) -> Html:
    """Returns a bar for a share in [0, 1]."""
    return tag(
        "svg",
        tag("rect", x=0, y=0, width=100, height=8, class_="empty"),
        tag("rect", x=0, y=0, width=f"{100 * share:.1f}", height=8),
        viewBox="0 0 100 8",
        class_="share",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _drawn(
    title: str,
    epochs: NDArray[np.float64],
    curves: Mapping[str, NDArray[np.float64]],
    low: float,
    high: float,
) -> Html:
    first, last = float(epochs[0]), float(epochs[-1])
    width = _WIDTH - _LEFT - _RIGHT
    height = _HEIGHT - _TOP - _BOTTOM

    def x(epoch: Any) -> Any:
        return _LEFT + width * (epoch - first) / max(last - first, 1)

    def y(value: Any) -> Any:
        return _TOP + height * (high - value) / (high - low)

    marks: list[Html] = []
    for value in ticks(low, high):
        place = f"{y(value):.1f}"
        marks += [
            tag(
                "line",
                x1=_LEFT,
                x2=_WIDTH - _RIGHT,
                y1=place,
                y2=place,
                class_="grid",
            ),
            tag(
                "text",
                number(value),
                x=_LEFT - 6,
                y=f"{y(value) + 4:.1f}",
                text_anchor="end",
            ),
        ]
    for epoch in dict.fromkeys((first, last)):
        marks.append(
            tag(
                "text",
                f"epoch {epoch:.0f}",
                x=f"{x(epoch):.1f}",
                y=_HEIGHT - 8,
                text_anchor="start" if epoch == first else "end",
            )
        )
    for order, values in enumerate(curves.values()):
        marks.append(
            tag(
                "path",
                d=_path(x(epochs), y(values), np.isfinite(values)),
                class_="curve",
                stroke_dasharray=_dashes(order),
            )
        )
    words = " ".join(
        in_words(name, epochs, values) for name, values in curves.items()
    )
    return tag(
        "svg",
        *marks,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title} over the epochs. {words}",
    )


def _path(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    known: NDArray[np.bool_],
) -> str:
    """Returns the line through the known points."""
    points = [
        f"{x:.1f} {y:.1f}" for x, y in zip(xs[known], ys[known], strict=True)
    ]
    # One point is a dot.
    return f"M{'L'.join(points)}" + ("h.1" if len(points) == 1 else "")


def _sample(place: int) -> Html:
    return tag(
        "svg",
        tag(
            "path",
            d="M0 5H30",
            class_="curve",
            stroke_dasharray=_dashes(place),
        ),
        viewBox="0 0 30 10",
        class_="sample",
        aria_hidden="true",
    )


def _dashes(place: int) -> str | None:
    return _DASHES[place % len(_DASHES)]


def _padded(low: float, high: float) -> tuple[float, float]:
    """Returns limits with some room, also around a constant."""
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def ticks(low: float, high: float) -> list[float]:
    """Returns about four round numbers between two limits."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(
        power * factor
        for factor in (1, 2, 2.5, 5, 10)
        if power * factor >= rough
    )
    first = math.ceil(low / step)
    return [
        # Without the digits that rounding adds.
        float(f"{place * step:.12g}")
        for place in range(first, math.floor(high / step) + 1)
    ]
