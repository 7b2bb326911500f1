"""The long-tail report and its text, Markdown and JSON forms."""

import dataclasses
import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_ltssl.evaluation.groups import Grouping, class_groups
from keras_ltssl.evaluation.probe_result import ProbeResult
from keras_ltssl.evaluation.tables import (
    Row,
    TableFormat,
    escaped,
    percent,
    shortened,
    table,
)
from keras_ltssl.validation import check_integer

FORMAT = "keras_ltssl.long_tail_report"
FORMAT_VERSION = 1
GROUP_NAMES = ("few", "medium", "many")
PROBE_TITLES = {
    "linear": "linear",
    "few_shot": "few-shot",
    "knn": "10-NN",
    "knn1": "1-NN",
}
STD_NOTE = (
    "std: standard deviation of the three group means (balancedness); "
    "lower is more balanced"
)


@dataclasses.dataclass(frozen=True)
class LongTailReport:
    """Holds probe results of one encoder, with text, Markdown and JSON forms.

    Made by `long_tail_report`.

    Attributes:
        name: What the report is about: a method, a run.
        class_names: Name of each class, in the order of the labels.
        class_counts: Training images of each class, in that order.
        groups: `"thirds"` or `"thresholds"`, see `group_accuracy`.
        shots: Labels a class of the few-shot probe.
        probes: A `ProbeResult` for each of `"linear"`, `"few_shot"`, `"knn"`
            (k = 10) and `"knn1"` (k = 1).
    """

    name: str
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    groups: Grouping
    shots: int
    probes: Mapping[str, ProbeResult]

    def __post_init__(self) -> None:
        sizes = {
            len(self.class_names),
            len(self.class_counts),
            *(len(result.classes) for result in self.probes.values()),
        }
        if len(sizes) != 1:
            raise ValueError(
                "`class_names`, `class_counts` and every probe must have one "
                f"entry for each class. Received: {len(self.class_names)} "
                f"names, {len(self.class_counts)} counts, and probes of "
                f"{[len(r.classes) for r in self.probes.values()]} classes"
            )
        if tuple(self.probes) != tuple(PROBE_TITLES):
            raise ValueError(
                f"`probes` must be those of {list(PROBE_TITLES)}, in that "
                f"order. Received: {list(self.probes)}"
            )
        class_groups(self.class_counts, self.groups)

    def summary(self) -> dict[str, dict[str, float]]:
        """Returns accuracy, groups and balancedness of each probe, 0 to 1.

        An empty group is NaN.
        """
        numbers = {}
        for probe, result in self.probes.items():
            many, medium, few, std = result.group_accuracy(
                self.class_counts, self.groups
            )
            numbers[probe] = {
                "accuracy": result.accuracy,
                "many": many,
                "medium": medium,
                "few": few,
                "balancedness": std,
            }
        return numbers

    def to_text(self, max_classes: int = 20) -> str:
        """Returns the report as text of at most 100 columns.

        Args:
            max_classes: Classes listed one by one; of more, as many of the
                most and of the least frequent. Defaults to `20`.
        """
        underline = "=" * len(self._heading())
        return "\n".join(
            [
                self._heading(),
                underline,
                self._about(),
                "",
                self._probe_table("text"),
                "",
                STD_NOTE,
                self._draws_note(),
                "",
                self._class_table("text", max_classes),
                "",
            ]
        )

    def to_markdown(self, max_classes: int = 20) -> str:
        """Returns the report as Markdown, with the same tables as `to_text`."""
        return "\n".join(
            [
                f"## {escaped(self._heading())}",
                "",
                self._about().replace("\n", "; "),
                "",
                self._probe_table("markdown"),
                "",
                STD_NOTE + "  ",
                self._draws_note(),
                "",
                self._class_table("markdown", max_classes),
                "",
            ]
        )

    def to_json(self) -> str:
        """Returns every number of the report as JSON; NaN as `null`.

        `from_json` reads it back. `summary` is there for other readers.
        """
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "groups": self.groups,
            "shots": self.shots,
            "class_names": list(self.class_names),
            "class_counts": list(self.class_counts),
            "summary": {
                probe: {key: _or_null(value) for key, value in numbers.items()}
                for probe, numbers in self.summary().items()
            },
            "probes": {
                probe: {
                    "classes": result.classes.tolist(),
                    "draw_accuracy": [
                        [_or_null(value) for value in draw]
                        for draw in result.draw_accuracy.tolist()
                    ],
                }
                for probe, result in self.probes.items()
            },
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "LongTailReport":
        """Returns the report that `to_json` wrote.

        Args:
            text: The JSON text itself, not a path.

        Raises:
            ValueError: If the text is no such report.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"`text` must be the JSON of a long-tail report: {error}"
            ) from error
        kind = (
            (content.get("format"), content.get("version"))
            if isinstance(content, dict)
            else type(content).__name__
        )
        if kind != (FORMAT, FORMAT_VERSION):
            raise ValueError(
                f"`text` must be a long-tail report, format {FORMAT!r}, "
                f"version {FORMAT_VERSION}. Received: {kind}"
            )
        try:
            return cls(
                name=content["name"],
                class_names=tuple(content["class_names"]),
                class_counts=tuple(content["class_counts"]),
                groups=content["groups"],
                shots=content["shots"],
                probes={
                    # None becomes NaN.
                    probe: ProbeResult(
                        numbers["classes"],
                        np.array(numbers["draw_accuracy"], dtype="float64"),
                    )
                    for probe, numbers in content["probes"].items()
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"`text` lacks a part of a long-tail report: {error!r}"
            ) from error

    def _heading(self) -> str:
        name = shortened(self.name, 60)
        return f"Long-tail report: {name}" if name else "Long-tail report"

    def _about(self) -> str:
        counts = self.class_counts
        smallest, largest = min(counts), max(counts)
        grouped = (
            "thirds of the classes by training images"
            if self.groups == "thirds"
            else "many > 100, medium 20 to 100, few < 20 training images"
        )
        ratio = f", imbalance {largest / smallest:.1f}" if smallest else ""
        return (
            f"{len(counts)} classes, {sum(counts):,} training images "
            f"({largest:,} to {smallest:,} a class{ratio})\n"
            f"groups: {grouped}"
        )

    def _probe_table(self, style: TableFormat) -> str:
        draws = self.probes["few_shot"].draws
        described = {
            "linear": "linear probe, balanced labels",
            "few_shot": f"few-shot probe, {self.shots} labels a class, "
            f"{draws} draw{'s' if draws > 1 else ''}",
            "knn": "10-NN, long-tailed bank",
            "knn1": "1-NN, long-tailed bank",
        }
        header = ["accuracy in %", "all", "many", "medium", "few", "std"]
        rows = [
            [described[probe], *map(percent, numbers.values())]
            for probe, numbers in self.summary().items()
        ]
        return table(header, rows, style)

    def _draws_note(self) -> str:
        spread = percent(self.probes["few_shot"].accuracy_std)
        return f"few-shot: accuracies of the draws deviate by {spread}"

    def _class_table(self, style: TableFormat, max_classes: int) -> str:
        check_integer("max_classes", max_classes, minimum=1)
        members = class_groups(self.class_counts, self.groups)
        # The stable reverse of the order that makes the groups.
        order = np.argsort(self.class_counts, kind="stable")[::-1]
        rows: list[Row] = [
            [
                shortened(self.class_names[c], 30),
                f"{self.class_counts[c]:,}",
                GROUP_NAMES[members[c]],
                *(
                    percent(result.class_accuracy[c])
                    for result in self.probes.values()
                ),
            ]
            for c in order
        ]
        if len(rows) > max_classes:
            head = (max_classes + 1) // 2
            tail = max_classes - head
            hidden = [f"... {len(rows) - max_classes} more", *[""] * 6]
            rows = [*rows[:head], hidden, *rows[len(rows) - tail :]]
        header = ["accuracy in %", "images", "group", *PROBE_TITLES.values()]
        return table(header, rows, style)


def check_reports(reports: Any) -> None:
    """Raises if there is no report, or anything else among them."""
    if (
        not isinstance(reports, Sequence)
        or not reports
        or not all(isinstance(report, LongTailReport) for report in reports)
    ):
        raise ValueError(
            "`reports` must be a sequence of LongTailReport, at least one. "
            f"Received: reports={reprlib.repr(reports)}"
        )


def _or_null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
