"""Joins the sections to one page."""

from collections.abc import Iterable, Sequence

from keras_ltssl.report.elements import Html, bullets, joined, paragraph, tag
from keras_ltssl.report.page_style import style_sheet
from keras_ltssl.report.section import Section

# The page loads nothing and runs nothing, whatever a file name holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


# Where sentences on missing images go, which are known last. No file name can
# forge the mark, since `<` in it is escaped.
PROBLEMS = Html("<!--problems-->")


def alerts(texts: Iterable[str]) -> Html:
    """Returns sentences that a reader must see first."""
    return joined(
        tag("p", tag("strong", "Look at this first. "), text, class_="alert")
        for text in texts
    )


def make_page(
    title: str, subtitle: str, sections: Sequence[Section], footer: str
) -> str:
    """Returns the HTML of the report, with the marks of its images.

    Args:
        title: Heading, also of the browser's tab.
        subtitle: A line under it.
        sections: The sections, in their order.
        footer: A line at the end.
    """
    links = [
        tag("li", tag("a", section.title, href=f"#{section.name}"))
        for section in sections
    ]
    short = tag(
        "div",
        tag("strong", "In short"),
        bullets([section.summary for section in sections if section.summary]),
        class_="short",
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag(
            "meta",
            name="viewport",
            content="width=device-width, initial-scale=1",
        ),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style_sheet())),
    )
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        tag("header", tag("h1", title), paragraph(subtitle, "note")),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag(
            "main",
            alerts(text for section in sections for text in section.alerts),
            PROBLEMS,
            short,
            *map(_section, sections),
            id="results",
        ),
        tag("footer", footer),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n"


def _section(section: Section) -> Html:
    return tag(
        "section",
        tag("h2", section.title),
        paragraph(section.lead),
        tag(
            "p",
            tag("strong", "What it cannot show. "),
            section.limits,
            class_="limits",
        ),
        section.body,
        id=section.name,
        aria_label=section.title,
    )
