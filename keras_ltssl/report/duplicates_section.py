"""The sections on near-duplicates and on outliers."""

import numpy as np

from keras_ltssl.report.elements import joined, paragraph, tag
from keras_ltssl.report.feature_view import FeatureView
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.thumbnails import gallery
from keras_ltssl.report.words import count, percent

# Groups that are shown, images of each, and groups in the JSON file.
GROUPS, IN_A_GROUP, NAMED = 8, 6, 1000
# A larger share of near-duplicates is an alert.
MANY = 0.2


def duplicates_section(run: RunFolder, view: FeatureView) -> Section:
    """Returns the groups of near-duplicates, the largest first."""
    _, group, sizes = np.unique(
        view.duplicates, return_inverse=True, return_counts=True
    )
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 1]
    repeated = int((sizes - 1).sum())
    rows = np.argsort(group, kind="stable")
    ends = np.cumsum(sizes)
    members = [rows[ends[g] - sizes[g] : ends[g]] for g in order[:NAMED]]
    body = []
    for number, images in enumerate(members[:GROUPS], start=1):
        title = f"Nearly the same {number}: {count(len(images), 'image')}"
        shown = [int(row) for row in images[:IN_A_GROUP]]
        body += [
            tag("h3", title),
            gallery(
                run.paths,
                shown,
                ["kept", *["left out"] * 9][: len(shown)],
                title,
            ),
        ]
    if not members:
        body.append(paragraph("No near-duplicates were found."))
    elif len(order) > GROUPS:
        body.append(
            paragraph(
                f"These are {GROUPS} of {len(order):,} such groups; "
                "report.json lists more."
            )
        )
    share = repeated / len(view.duplicates)
    alerts: tuple[str, ...] = ()
    if share > MANY:
        alerts = (
            f"{percent(share)} of the images are near-duplicates of others, "
            "such as frames of one video. The counts of images say less than "
            "they seem to.",
        )
    return Section(
        name="duplicates",
        title="Near-duplicates",
        lead="These images are nearly the same to the encoder; one of each "
        "group is kept in the other sections, since copies make a rare thing "
        "look common.",
        limits="The encoder was trained to overlook crop, color and blur, so "
        "two photos that differ only in these may be called the same. Look "
        "before you delete anything.",
        body=joined(body),
        numbers={
            "groups": [[run.paths[row] for row in some] for some in members],
            "num_groups": len(order),
            "num_left_out": repeated,
        },
        summary=(
            f"{count(repeated, 'near-duplicate')} set aside."
            if repeated
            else "No near-duplicates."
        ),
        alerts=alerts,
    )
