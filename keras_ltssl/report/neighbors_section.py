"""The section on the nearest neighbors of some images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation import TailDiagnosis
from keras_ltssl.report.elements import joined, tag
from keras_ltssl.report.feature_view import FeatureView
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.report.section import Section
from keras_ltssl.report.thumbnails import gallery

NEIGHBORS = 7
# Places in the order from tail to head whose images are chosen, as shares.
CHOSEN = (0.0, 0.02, 0.1, 0.3, 0.6, 0.95)


def neighbors_section(
    run: RunFolder,
    view: FeatureView,
    found: TailDiagnosis,
    chosen: Sequence[int] | None,
) -> Section:
    """Returns the nearest neighbors of chosen images.

    Args:
        run: The run folder.
        view: Its features.
        found: The tail diagnosis, whose order gives the images unless they are
            chosen.
        chosen: Ids of the images, or `None`.
    """
    which = "an image that you chose"
    if chosen is None:
        which = "one image, from rare-looking to common-looking,"
    ids = list(chosen) if chosen is not None else _spread(view, found)
    body, listed = [], []
    for number, one in enumerate(ids, start=1):
        nearest, cosines = _nearest(view, one)
        title = f"Image {number}"
        body += [
            tag("h3", title),
            gallery(
                run.paths,
                [one, *nearest],
                ["this image", *(f"{cosine:.2f}" for cosine in cosines)],
                f"{title} and its nearest neighbors",
            ),
        ]
        listed.append(
            {
                "path": run.paths[one],
                "neighbors": [
                    {"path": run.paths[row], "cosine": cosine}
                    for row, cosine in zip(nearest, cosines, strict=True)
                ],
            }
        )
    return Section(
        name="neighbors",
        title="Nearest neighbors",
        lead=f"Each row starts with {which} and goes on with those that the "
        "encoder finds most similar; 1 is the same, 0 is unrelated. If a row "
        "makes sense to you, the encoder sees what you see.",
        limits="A few rows are no measurement. And what looks similar to you "
        "for another reason, such as the background, may be the reason here.",
        body=joined(body),
        numbers={"images": listed},
    )


def _spread(view: FeatureView, found: TailDiagnosis) -> list[int]:
    order = view.kept[found.tail_first]
    places = [int(share * (len(order) - 1)) for share in CHOSEN]
    return [int(order[place]) for place in dict.fromkeys(places)]


def _nearest(view: FeatureView, one: int) -> tuple[list[int], list[float]]:
    """Returns ids and cosines of the most similar ordinary images."""
    others: NDArray[np.int64] = view.kept[view.kept != one]
    cosines = view.features[others] @ view.features[one]
    first = np.argsort(-cosines, kind="stable")[:NEIGHBORS]
    return others[first].tolist(), cosines[first].astype(float).tolist()
