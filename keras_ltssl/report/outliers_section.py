"""The section on images that are far from all others."""

import numpy as np

from keras_ltssl.report.elements import joined, paragraph
from keras_ltssl.report.feature_view import FeatureView
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.thumbnails import gallery
from keras_ltssl.report.words import count
from keras_ltssl.samplers.isolation import OUTLIER

# Images that are shown, and images in the JSON file.
SHOWN, NAMED = 16, 1000


def outliers_section(run: RunFolder, view: FeatureView) -> Section:
    """Returns the images that are farthest from all others."""
    scores = view.outlier_scores
    # Of near-duplicates, the first stands for all.
    firsts = np.unique(view.duplicates, return_index=True)[1]
    order = firsts[np.argsort(-scores[firsts], kind="stable")]
    found = order[scores[order] > OUTLIER]
    shown = [int(row) for row in order[:SHOWN]]
    if len(found):
        sentence = (
            f"{count(len(found), 'image')} above {OUTLIER:.2f} are left out of "
            "the other sections."
        )
    else:
        sentence = (
            f"No image is above {OUTLIER:.2f}. These are the farthest from "
            "all others, and they stay in the other sections."
        )
    return Section(
        name="outliers",
        title="Outliers",
        lead="These images are like no other one: under each stands a score, "
        "0 for as near to others as usual, and 0.50 for twice as far. Look "
        "for photos that do not belong here, such as a black frame or a hand "
        "before the lens.",
        limits="It cannot tell a bad photo from one of the few photos of a "
        "rare thing, which is what you may be looking for. Several bad photos "
        "that are alike are no outliers; see Groups.",
        body=joined(
            [
                paragraph(sentence),
                gallery(
                    run.paths,
                    shown,
                    [f"{scores[row]:.2f}" for row in shown],
                    "The images farthest from all others",
                ),
            ]
        ),
        numbers={
            "num_outliers": len(found),
            "threshold": OUTLIER,
            "images": [
                {"path": run.paths[row], "score": float(scores[row])}
                for row in order[: max(SHOWN, min(len(found), NAMED))]
            ],
        },
        summary=(
            f"{count(len(found), 'outlier')} set aside."
            if len(found)
            else "No outliers."
        ),
    )
