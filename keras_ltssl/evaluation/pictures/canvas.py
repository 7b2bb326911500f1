"""A matplotlib figure without global state, and its file."""

import os
import tempfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from keras_ltssl.validation import check_names, check_path

# Runs and classes also differ in line style, marker and label. Successive
# colors differ in lightness.
COLORS = ("#12305a", "#e07b30", "#2a7f62", "#b8860b", "#6a3d9a", "#7f7f7f")
LINE_STYLES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DOTS_PER_INCH = 144


def png_path(path: str | os.PathLike[str]) -> Path:
    """Returns the path; raises if it does not end in `.png`."""
    check_path("path", path)
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ValueError(f"`path` must end in .png. Received: path={path}")
    return target


def new_figure(width: float, height: float) -> Any:
    """Returns an empty `matplotlib.figure.Figure`, sizes in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which is in the `plots` extra: "
            "pip install 'keras-ltssl[plots]'"
        ) from error
    return Figure(
        figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained"
    )


def save_png(figure: Any, path: Path) -> Path:
    """Draws into a temporary file beside `path`, then renames it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}."
    )
    try:
        with os.fdopen(handle, "wb") as file:
            canvas.print_png(file)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    return path


def class_titles(class_names: Any, classes: NDArray[Any]) -> list[str]:
    """Returns a name for each class, its label where no names are given."""
    if class_names is None:
        return [str(label) for label in classes]
    return check_names("class_names", class_names, len(classes))


def plain(text: str) -> str:
    """Returns text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


def plain_ticks(axis: Any, between: bool = False) -> None:
    """Ticks of a log axis that read 1, 10, 100 instead of powers of ten.

    Those between are 0.2, 0.5, 1, 2, 5: for a range that may hold no two
    powers of ten.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if between:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def tidy(axes: Any) -> None:
    """Only the two spines that carry an axis, and a faint grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
