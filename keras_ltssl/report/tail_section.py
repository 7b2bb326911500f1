"""The section on rare-looking images: from the tail to the head."""

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation import TailDiagnosis, tail_diagnosis
from keras_ltssl.report.elements import Html, joined, paragraph, tag
from keras_ltssl.report.feature_view import FeatureView
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.thumbnails import gallery
from keras_ltssl.report.words import count, percent

# Images that look rarest, and images in each row from tail to head.
RAREST = 24
IN_A_ROW = 8
# Percentiles of the rows.
ROWS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# Of a random order the standard deviation is 0.29.
UNSURE = 0.15
# Images named in the JSON file.
NAMED = 1000


def diagnose(view: FeatureView, num_clusters: int, seed: int) -> TailDiagnosis:
    """Returns the tail diagnosis of the ordinary images."""
    ordinary = len(view.kept)
    return tail_diagnosis(
        view.ordinary,
        num_neighbors=min(50, max(1, ordinary // 4)),
        num_clusters=min(num_clusters, ordinary // 2),
        seed=seed,
        take_out=False,  # The view has done so.
    )


def tail_section(
    run: RunFolder, view: FeatureView, found: TailDiagnosis
) -> Section:
    """Returns images from the tail to the head of the data."""
    order = found.tail_first
    rarest = order[:RAREST]
    body = [
        tag("h3", f"The {len(rarest)} rarest-looking images"),
        _gallery(run, view, found, rarest, "The rarest-looking images"),
        tag("h3", "From rare to common"),
    ]
    for share in ROWS:
        row = _row(order, share)
        if len(row):
            body += [
                tag("h4", _title(share)),
                _gallery(run, view, found, row, _title(share)),
            ]
    unsure = found.uncertainty[rarest] > UNSURE
    if unsure.any():
        body.insert(
            0,
            paragraph(
                f"Of the rarest-looking, {count(int(unsure.sum()), 'image')} "
                "may owe the place to luck (marked “unsure”)."
            ),
        )
    named = order[:NAMED]
    return Section(
        name="tail",
        title="Rare and common",
        lead="These images are ordered by how many others are like them: 3 % "
        "± 1 under an image means that only 3 % of the images look rarer, and "
        "that this number would change by about 1 if the data were drawn "
        "again.",
        limits="It is a rank, so every folder has a lowest 5 %, also one "
        "without rare things. A blurred photo or an odd view looks rare, and "
        "a rare kind whose photos are all alike looks common.",
        body=joined(body),
        numbers={
            "estimate": found.estimate,
            "cluster_gini": found.curve.gini,
            "cluster_gini_std": found.curve.gini_std,
            "rarest": [
                {
                    "path": run.paths[view.kept[row]],
                    "percentile": float(found.percentiles[row]),
                    "uncertainty": float(found.uncertainty[row]),
                }
                for row in named
            ],
        },
        summary=f"The {len(rarest)} rarest-looking images are under Rare and "
        "common: look at them first.",
    )


def _row(order: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Returns neighbors in the order, around a percentile, rarest first."""
    end = max(0, min(len(order), round(share * len(order)) + IN_A_ROW // 2))
    start = max(0, end - IN_A_ROW)
    # In a small folder the first rows would repeat the rarest.
    return order[start:end] if start >= RAREST else order[:0]


def _title(share: float) -> str:
    if share == 1:
        return "The most common-looking"
    return f"About {100 * share:.0f} % look rarer than these"


def _gallery(
    run: RunFolder,
    view: FeatureView,
    found: TailDiagnosis,
    rows: NDArray[np.int64],
    about: str,
) -> Html:
    captions = []
    for row in rows:
        spread = found.uncertainty[row]
        caption = percent(found.percentiles[row])
        if np.isfinite(spread):
            caption += f" ± {max(1, round(100 * spread))}"
            caption += " unsure" if spread > UNSURE else ""
        captions.append(caption)
    return gallery(
        run.paths, [int(r) for r in view.kept[rows]], captions, about
    )
