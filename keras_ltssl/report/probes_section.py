"""The section on probes that were trained and tested on labeled lists."""

from keras_ltssl.evaluation.report import PROBE_TITLES, STD_NOTE, LongTailReport
from keras_ltssl.evaluation.tables import percent
from keras_ltssl.report.elements import joined, paragraph, table
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section

_COLUMNS = ("accuracy", "many", "medium", "few", "balancedness")
_GROUPS = {
    "thresholds": "more than 100, 20 to 100, and fewer than 20 images",
    "thirds": "a third of the classes each",
}


def probes_section(run: RunFolder) -> Section | None:
    """Returns the accuracy of the probes, or `None` where none were trained.

    Raises:
        ValueError: If `probes.json` is damaged.
    """
    path = run.folder / "probes.json"
    if not path.is_file():
        return None
    try:
        report = LongTailReport.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error
    numbers = report.summary()
    linear = numbers["linear"]
    return Section(
        name="probes",
        title="Probes",
        lead="Classifiers on the frozen features, trained on labeled images "
        "and tested on others: a linear one on all labels of the list for "
        f"probes, a few-shot one on {report.shots} labels of each class, and "
        "nearest neighbors among the training images. Accuracy is the mean "
        f"over classes, in %. Many, medium and few are {_GROUPS[report.groups]}"
        " in training.",
        limits="The linear and the few-shot probe have seen as many labels of "
        "rare classes as the list has, which training has not. One run has no "
        "interval: compare runs of several seeds.",
        body=joined(
            [
                table(
                    f"{len(report.class_counts):,} classes, "
                    f"{sum(report.class_counts):,} training images",
                    ["Probe", "All", "Many", "Medium", "Few", "std"],
                    [
                        [
                            PROBE_TITLES[name],
                            *(percent(values[key]) for key in _COLUMNS),
                        ]
                        for name, values in numbers.items()
                    ],
                ),
                paragraph(f"{STD_NOTE}.", "note"),
            ]
        ),
        numbers=dict(numbers),
        summary=f"A linear probe is right in {percent(linear['accuracy'])} % "
        f"of cases, and in {percent(linear['few'])} % in classes with few "
        "images.",
    )
