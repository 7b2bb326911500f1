"""Tables of short cells as aligned text or as Markdown."""

import itertools
from collections.abc import Sequence
from typing import Literal, TypeAlias

TableFormat: TypeAlias = Literal["text", "markdown"]
# Cells of one row; None draws a rule through a text table.
Row: TypeAlias = Sequence[str] | None


def table(
    header: Sequence[str], rows: Sequence[Row], style: TableFormat
) -> str:
    """First column to the left, the others to the right."""
    cells = [row for row in rows if row is not None]
    if style == "markdown":
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *cells]
        return "\n".join(
            "| " + " | ".join(escaped(cell) for cell in line) + " |"
            for line in lines
        )
    widths = [
        max(map(len, column))
        for column in itertools.zip_longest(header, *cells, fillvalue="")
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join(
        rule
        if row is None
        else "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        ).rstrip()
        for row in [header, None, *rows]
    )


def escaped(text: str) -> str:
    """Text that does not end the Markdown cell it stands in."""
    return text.replace("|", "\\|").replace("\n", " ")


def percent(fraction: float) -> str:
    """`0.8412` as `84.1`, NaN as `-`."""
    return "-" if fraction != fraction else f"{100 * fraction:.1f}"


def shortened(text: str, width: int) -> str:
    """At most `width` characters, the last three dots where it was cut."""
    text = text.replace("\n", " ")
    return text if len(text) <= width else text[: width - 3] + "..."
