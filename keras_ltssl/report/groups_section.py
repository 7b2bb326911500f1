"""The section on groups of similar images."""

from collections import Counter

import numpy as np

from keras_ltssl.report.charts import share_bar
from keras_ltssl.report.elements import joined, tag
from keras_ltssl.report.feature_view import FeatureView
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.thumbnails import gallery
from keras_ltssl.report.words import count, percent
from keras_ltssl.samplers import kmeans

# Images of a group nearest to its middle, and drawn from the rest.
TYPICAL = 4
DRAWN = 4


def groups_section(
    run: RunFolder, view: FeatureView, num_groups: int, seed: int
) -> Section:
    """Returns the groups that k-means finds, the smallest first."""
    features = view.ordinary
    clusters, centers = kmeans(
        features, min(num_groups, len(features) // 2), seed=seed
    )
    sizes = np.bincount(clusters, minlength=len(centers))
    nearness = np.einsum("nd,nd->n", features, centers[clusters])
    random = np.random.default_rng(seed)
    body, listed = [], []
    order = [int(c) for c in np.argsort(sizes, kind="stable") if sizes[c]]
    for number, cluster in enumerate(order, start=1):
        members = np.flatnonzero(clusters == cluster)
        members = members[np.argsort(-nearness[members], kind="stable")]
        others = random.permutation(members[TYPICAL:])[:DRAWN]
        shown = [*members[:TYPICAL], *others]
        share = len(members) / len(features)
        labels = Counter(
            run.labels[view.kept[row]]
            for row in members
            if run.labels[view.kept[row]]
        )
        title = (
            f"Group {number}: {count(len(members), 'image')} ({percent(share)})"
        )
        body += [
            tag("h3", title),
            share_bar(len(members) / int(sizes.max())),
            _labels_line(labels),
            gallery(
                run.paths,
                [int(view.kept[row]) for row in shown],
                ["typical"] * min(TYPICAL, len(members))
                + ["drawn"] * len(others),
                title,
            ),
        ]
        listed.append(
            {
                "size": len(members),
                "labels": dict(labels.most_common()),
                "typical": [
                    run.paths[view.kept[row]] for row in members[:TYPICAL]
                ],
            }
        )
    return Section(
        name="groups",
        title="Groups",
        lead="The images were sorted into groups of similar ones, the smallest "
        "group first; of each you see its most typical images and some drawn "
        "by lot.",
        limits="The number of groups was chosen, not found, and groups tend to "
        "be of similar size. So they are no classes: a rare kind may hide in a "
        "large group, and a common kind may fill several.",
        body=joined(body),
        numbers={"groups": listed},
        summary=f"{count(len(order), 'group')} of similar images, from "
        f"{int(sizes[order[0]]):,} to {int(sizes.max()):,} images.",
    )


def _labels_line(labels: Counter[str]) -> str:
    if not labels:
        return joined([])
    total = labels.total()
    parts = ", ".join(
        f"{name} {percent(amount / total)}"
        for name, amount in labels.most_common(3)
    )
    more = len(labels) - 3
    return tag(
        "p",
        f"Of {total:,} labeled: {parts}"
        + (f", and {count(more, 'other label')}." if more > 0 else "."),
        class_="note",
    )
