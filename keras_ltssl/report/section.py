"""What one section of the report holds."""

import dataclasses
from typing import Any

from keras_ltssl.report.elements import Html


@dataclasses.dataclass(frozen=True)
class Section:
    """Holds one section: its words, its pictures and its numbers.

    Attributes:
        name: Its anchor in the page, and its key in the JSON file.
        title: Its heading.
        lead: What it shows and how to read it.
        limits: What it cannot show.
        body: The rest, as HTML.
        numbers: The same for programs: what JSON can hold.
        summary: A sentence for the top of the page, or nothing.
        alerts: Sentences on what is wrong, for the top of the page.
    """

    name: str
    title: str
    lead: str
    limits: str
    body: Html
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)
    summary: str = ""
    alerts: tuple[str, ...] = ()


def with_alert(section: Section, text: str) -> Section:
    """Returns the section with one more alert."""
    return dataclasses.replace(section, alerts=(*section.alerts, text))
