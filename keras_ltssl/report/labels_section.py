"""The section on accuracy, where labels are known."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation import TailDiagnosis, tail_agreement
from keras_ltssl.evaluation.groups import FEW, MANY, MEDIUM, class_groups
from keras_ltssl.report.charts import interval_bar
from keras_ltssl.report.elements import Html, joined, paragraph, table, tag
from keras_ltssl.report.feature_view import FeatureView
from keras_ltssl.report.label_accuracy import (
    LabelAccuracy,
    interval,
    mean_interval,
    nearest_label_accuracy,
)
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.thumbnails import gallery
from keras_ltssl.report.words import count, fact, percent

GROUP_NAMES = {MANY: "many", MEDIUM: "medium", FEW: "few"}
# Classes in the table: so many of the rarest, and of the most frequent.
RAREST, MOST_FREQUENT = 30, 10
# Rare classes whose mistakes are listed, and mistakes shown as images.
CONFUSED = 12
PAIRS = 8
# Of one label.
OF_ONE = 2


def labels_section(
    run: RunFolder, view: FeatureView, found: TailDiagnosis, seed: int
) -> Section | None:
    """Returns the accuracy by class, or `None` without two classes."""
    # An outlier may be the only image of a rare label, so it is tested, too.
    labels = [run.labels[row] for row in view.distinct]
    if len(set(labels) - {""}) < 2:
        return None
    result = nearest_label_accuracy(view.features[view.distinct], labels, seed)
    if not len(result.tested):
        return None
    groups = class_groups(result.counts) if len(result.names) > 2 else None
    labeled = int(result.counts.sum())
    body = [
        paragraph(
            f"{labeled:,} of {len(labels):,} images have one of "
            f"{count(len(result.names), 'label')}; "
            f"{count(len(result.tested), 'image')} tested. Of near-duplicates "
            "only one counts."
        )
    ]
    group_numbers: dict[str, Any] = {}
    if groups is not None:
        rows, group_numbers = _group_rows(result, groups)
        body += [
            table(
                "Accuracy of a third of the classes each, every class counted "
                "alike",
                ["Classes with", "Classes", "Accuracy (95 % interval)"],
                rows,
            )
        ]
        body += _agreement(found, [run.labels[row] for row in view.kept])
    body += [tag("h3", "Each label"), _class_table(result, groups)]
    body += _confusion(run, view, result, groups)
    accuracy = result.accuracy
    return Section(
        name="labels",
        title="Labels",
        lead="Each labeled image is given the label of the most similar other "
        "labeled image, and the tables count how often this is right; a label "
        "that does well is one that the encoder has learned to see.",
        limits="It is no classifier, and a trained one will be better. Where a "
        "label has few images the interval is wide: then the number says "
        "little. If you labeled a chosen part of the photos, the counts are "
        "not how often a thing occurs.",
        body=joined(body),
        numbers={
            "labeled": labeled,
            "tested": len(result.tested),
            "groups": group_numbers,
            "classes": [
                _class_numbers(result, groups, c)
                for c in range(len(result.names))
            ],
        },
        summary=_summary(group_numbers, accuracy),
    )


def _summary(groups: dict[str, Any], accuracy: NDArray[np.float64]) -> str:
    about = "The most similar other image has the same label in"
    known = ", ".join(
        f"{percent(numbers['accuracy'])} ({name})"
        for name, numbers in groups.items()
    )
    if known:
        return f"{about}, for labels with many to few images: {known}."
    return f"{about} {percent(float(np.nanmean(accuracy)))} of cases."


def _group_rows(
    result: LabelAccuracy, groups: NDArray[np.int64]
) -> tuple[list[list[str]], dict[str, Any]]:
    right, trials = np.diagonal(result.confusion), result.trials
    rows, numbers = [], {}
    for group, name in GROUP_NAMES.items():
        members = (groups == group) & (trials > 0)
        if not members.any():
            continue
        mean = float((right[members] / trials[members]).mean())
        low, high = mean_interval(right[members], trials[members])
        numbers[name] = {
            "classes": int(members.sum()),
            "accuracy": mean,
            "interval": [low, high],
        }
        rows.append(
            [
                f"{name} images",
                fact(int(members.sum())),
                joined(
                    [_share(mean, low, high), interval_bar(mean, low, high)]
                ),
            ]
        )
    return rows, numbers


def _agreement(found: TailDiagnosis, labels: list[str]) -> list[Html]:
    """Returns a sentence on how well the order of the tail fits the labels."""
    rows = np.flatnonzero([label != "" for label in labels])
    # Outliers are not in the order, and one may be all of a label.
    if len({labels[row] for row in rows}) < 3:
        return []
    auc = tail_agreement(
        found.scores[rows], np.array([labels[row] for row in rows])
    ).few_auc
    if math.isnan(auc):
        return []
    return [
        paragraph(
            "The order under Rare and common was made without labels. It puts "
            "an image of a label with few images before another one with "
            f"probability {auc:.2f} (1 is perfect, 0.50 is chance)."
        )
    ]


def _class_table(
    result: LabelAccuracy, groups: NDArray[np.int64] | None
) -> Html:
    order = np.argsort(result.counts, kind="stable")
    shown = order
    caption = f"All {len(order)} labels, the rarest first"
    if len(order) > RAREST + MOST_FREQUENT:
        shown = np.concatenate([order[:RAREST], order[-MOST_FREQUENT:]])
        caption = (
            f"The {RAREST} rarest and the {MOST_FREQUENT} most frequent of "
            f"{len(order):,} labels; report.json has them all"
        )
    return table(
        caption,
        ["Label", "Images", "Accuracy (95 % interval)"],
        [
            [
                _name(result, groups, int(c)),
                fact(int(result.counts[c])),
                _class_cell(result, int(c)),
            ]
            for c in shown
        ],
    )


def _name(
    result: LabelAccuracy, groups: NDArray[np.int64] | None, c: int
) -> Html:
    name = tag("bdi", result.names[c])
    if groups is None:
        return name
    return joined([name, tag("small", f" ({GROUP_NAMES[int(groups[c])]})")])


def _class_cell(result: LabelAccuracy, c: int) -> str:
    trials = int(result.trials[c])
    if not trials:
        return "one image: cannot be tested"
    right = int(result.confusion[c, c])
    low, high = interval(right, trials)
    share = right / trials
    return joined([_share(share, low, high), interval_bar(share, low, high)])


def _share(share: float, low: float, high: float) -> str:
    return f"{100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _confusion(
    run: RunFolder,
    view: FeatureView,
    result: LabelAccuracy,
    groups: NDArray[np.int64] | None,
) -> list[Html]:
    """Returns what images of rare classes are taken for."""
    order = np.argsort(result.counts, kind="stable")
    rare = [
        int(c)
        for c in order
        if result.trials[c] and (groups is None or groups[c] == FEW)
    ][:CONFUSED]
    rows = []
    for c in rare:
        wrong = result.confusion[c].copy()
        wrong[c] = 0
        if wrong.any():
            taken = [
                f"{result.names[other]} ({wrong[other]})"
                for other in np.argsort(-wrong, kind="stable")[:3]
                if wrong[other]
            ]
            rows.append(
                [
                    tag("bdi", result.names[c]),
                    f"{wrong.sum()} of {result.trials[c]}",
                    ", ".join(taken),
                ]
            )
    if not rows:
        return []
    parts = [
        tag("h3", "What rare labels are taken for"),
        table(
            "Images whose nearest other image has another label",
            ["Label", "Wrong", "Taken for (images)"],
            rows,
        ),
    ]
    pairs = [
        pair
        for c in rare
        for pair in _mistakes(run, view, result, result.names[c])[:OF_ONE]
    ][:PAIRS]
    shown = [row for pair in pairs for row in pair]
    captions = [
        caption
        for one, other in pairs
        for caption in (
            run.labels[one],
            f"nearest: {run.labels[other]}",
        )
    ]
    about = "Mistakes in pairs: an image, then the one nearest to it"
    return [
        *parts,
        paragraph(f"{about}."),
        gallery(run.paths, shown, captions, about),
    ]


def _mistakes(
    run: RunFolder, view: FeatureView, result: LabelAccuracy, label: str
) -> list[tuple[int, int]]:
    """Returns ids of wrong images of a label and of the nearest to them."""
    ids = zip(
        view.distinct[result.tested], view.distinct[result.nearest], strict=True
    )
    return [
        (int(one), int(other))
        for one, other in ids
        if run.labels[one] == label != run.labels[other]
    ]


def _class_numbers(
    result: LabelAccuracy, groups: NDArray[np.int64] | None, c: int
) -> dict[str, Any]:
    trials, right = int(result.trials[c]), int(result.confusion[c, c])
    return {
        "label": result.names[c],
        "images": int(result.counts[c]),
        "group": None if groups is None else GROUP_NAMES[int(groups[c])],
        "tested": trials,
        "accuracy": right / trials if trials else None,
        "interval": list(interval(right, trials)) if trials else None,
        "taken_for": {
            result.names[other]: int(result.confusion[c, other])
            for other in np.flatnonzero(result.confusion[c])
        },
    }
