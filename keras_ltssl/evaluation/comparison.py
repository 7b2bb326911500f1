"""Several long-tail reports side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from keras_ltssl.evaluation.report import (
    PROBE_TITLES,
    STD_NOTE,
    LongTailReport,
    check_reports,
)
from keras_ltssl.evaluation.tables import (
    TableFormat,
    percent,
    shortened,
    table,
)
from keras_ltssl.validation import check_choice

COLUMNS = ("all", "many", "medium", "few", "std")
# Two probes side by side fit a terminal of 100 columns.
PAIRS = (("linear", "few_shot"), ("knn", "knn1"))
NAME_WIDTH = 26


def compare_reports(
    reports: Sequence[LongTailReport], format: TableFormat = "text"
) -> str:
    """Returns a table of runs, in percent: a row for each run.

    Reports of the same name are repeats of one run, with other splits or other
    seeds. Their row shows the mean of each number and the number of repeats.
    Balancedness is computed for each split and then averaged.

    Args:
        reports: One or more reports with the same grouping, shots and draws.
        format: `"text"`, at most 100 columns wide, or `"markdown"`. Defaults
            to `"text"`.

    Returns:
        Two tables: linear and few-shot probe, then 10-NN and 1-NN.

    Raises:
        ValueError: If there is no report, the reports were made with different
            settings, or `format` is unknown.

    Example:

    >>> from keras_ltssl.evaluation import LongTailReport, ProbeResult
    >>> from keras_ltssl.evaluation import compare_reports
    >>> result = ProbeResult([0, 1, 2], [[0.9, 0.6, 0.3]])
    >>> probes = dict.fromkeys(["linear", "few_shot", "knn", "knn1"], result)
    >>> names, counts = ("ant", "bee", "cat"), (9, 3, 1)
    >>> report = LongTailReport("tase", names, counts, "thirds", 10, probes)
    >>> compare_reports([report]).splitlines()[3].split()[:7]
    ['tase', '|', '60.0', '90.0', '60.0', '30.0', '24.5']
    """
    check_choice("format", format, ("text", "markdown"))
    check_reports(reports)
    settings = {
        (report.groups, report.shots, report.probes["few_shot"].draws)
        for report in reports
    }
    if len(settings) > 1:
        raise ValueError(
            "`reports` must have the same groups, shots and draws to be "
            f"compared. Received: {sorted(settings)}"
        )
    runs: dict[str, list[LongTailReport]] = {}
    for report in reports:
        runs.setdefault(report.name, []).append(report)
    names = [
        name if len(same) == 1 else f"{name} (mean of {len(same)})"
        for name, same in runs.items()
    ]
    summaries = [
        _mean([report.summary() for report in same]) for same in runs.values()
    ]
    draw = _text if format == "text" else _markdown
    tables = [draw(names, summaries, pair) for pair in PAIRS]
    return "\n\n".join([*tables, STD_NOTE]) + "\n"


Summary: TypeAlias = Mapping[str, Mapping[str, float]]


def _mean(summaries: Sequence[Summary]) -> Summary:
    return {
        probe: {
            key: float(np.mean([summary[probe][key] for summary in summaries]))
            for key in numbers
        }
        for probe, numbers in summaries[0].items()
    }


def _text(
    names: Sequence[str], summaries: Sequence[Summary], pair: Sequence[str]
) -> str:
    def line(name: str, blocks: Sequence[str]) -> str:
        fitted = shortened(name, NAME_WIDTH).ljust(NAME_WIDTH)
        return " |".join([fitted, *blocks]).rstrip()

    def block(cells: Iterable[str]) -> str:
        return "".join(cell.rjust(7) for cell in cells)

    width = 7 * len(COLUMNS)
    lines = [
        line("", [f"  {PROBE_TITLES[probe]}".ljust(width) for probe in pair]),
        line("accuracy in %", [block(COLUMNS) for _ in pair]),
        "-+".join(["-" * NAME_WIDTH, *["-" * width] * len(pair)]),
    ]
    for name, summary in zip(names, summaries, strict=True):
        blocks = [block(map(percent, summary[p].values())) for p in pair]
        lines.append(line(name, blocks))
    return "\n".join(lines)


def _markdown(
    names: Sequence[str], summaries: Sequence[Summary], pair: Sequence[str]
) -> str:
    header = [f"{PROBE_TITLES[p]} {column}" for p in pair for column in COLUMNS]
    rows = [
        [name, *(percent(value) for p in pair for value in summary[p].values())]
        for name, summary in zip(names, summaries, strict=True)
    ]
    return table(["accuracy in %", *header], rows, "markdown")
