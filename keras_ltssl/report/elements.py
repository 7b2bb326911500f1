"""Pieces of HTML in which every text is escaped."""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

# Elements of HTML that have no end tag. Those of SVG always have one.
_VOID = ("img", "meta")


class Html(str):
    """Marks text that is HTML already. Any other `str` is escaped."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str | int | None) -> Html:
    """Returns an element; content that is not `Html` is escaped.

    Args:
        name: Name of the element.
        *content: What is in it.
        **attributes: Its attributes. `class_` stands for `class`, and
            `aria_label` for `aria-label`. One that is `None` is left out.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{joined(content)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """Returns the parts one after the other, escaped unless they are `Html`."""
    return Html(
        "".join(
            part if isinstance(part, Html) else escape(part) for part in parts
        )
    )


def escape(text: str) -> str:
    """Returns text that is safe inside an element and inside an attribute."""
    return html.escape(printable(text), quote=True)


def printable(text: str) -> str:
    """Returns the text with `�` in place of what cannot be shown.

    That is a line break, half of a character, or a mark that turns the
    direction of the text after it. A file name may hold all of them.
    """
    return "".join(
        "\ufffd"
        if unicodedata.category(character) in ("Cc", "Cs", "Cn", "Co")
        or "\u202a" <= character <= "\u202e"
        or "\u2066" <= character <= "\u2069"
        else character
        for character in text
    )


def file_name(path: str) -> Html:
    """Returns a path that may break at its slashes and keeps its direction."""
    parts = re.split(r"(?<=[/_-])", path)
    broken = Html("<wbr>".join(escape(part) for part in parts))
    return tag("bdi", broken, class_="file")


def paragraph(text: str, class_: str | None = None) -> Html:
    """Returns a paragraph."""
    return tag("p", text, class_=class_)


def bullets(items: Sequence[str]) -> Html:
    """Returns a list, or nothing where it would be empty."""
    if not items:
        return Html("")
    return tag("ul", *(tag("li", item) for item in items))


def details(summary: str, *content: str) -> Html:
    """Returns what a reader can open, by mouse, touch or keyboard."""
    return tag("details", tag("summary", summary), *content)


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> Html:
    """Returns a table whose first column names the rows."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell) for cell in row[1:]),
        )
        for row in rows
    ]
    content = tag(
        "table",
        tag("caption", caption),
        tag("thead", head),
        tag("tbody", *body),
    )
    # A table that is too wide scrolls by itself, also by keyboard.
    return tag(
        "div",
        content,
        class_="wide",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
