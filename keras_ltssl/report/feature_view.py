"""The features that the report looks at, and what is odd about them."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.arrays import blocks, unit_rows
from keras_ltssl.evaluation import near_duplicates, outliers
from keras_ltssl.report.run_folder import RunFolder
from keras_ltssl.samplers.duplicate_groups import first_of_groups
from keras_ltssl.samplers.isolation import OUTLIER

# With fewer images there is nothing to compare.
FEWEST = 8
# Rows that are looked at for a collapse.
_SOME = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureView:
    """Holds unit features of all images, and which images are ordinary.

    Attributes:
        features: Rows of length 1, float32 array of shape `(images, dim)`.
        duplicates: Group of near-duplicates of each image, `(images,)`; an
            image without any is a group by itself.
        outlier_scores: How far each image is from all others, `(images,)`.
        distinct: Rows of one image of each group of near-duplicates, rising.
        kept: Rows of the ordinary images, rising: no outlier, and one image of
            each group of near-duplicates.
    """

    features: NDArray[np.float32]
    duplicates: NDArray[np.int64]
    outlier_scores: NDArray[np.float64]
    distinct: NDArray[np.int64]
    kept: NDArray[np.int64]

    @property
    def ordinary(self) -> NDArray[np.float32]:
        """Returns features of the ordinary images."""
        return self.features[self.kept]


def view_features(features: NDArray[Any]) -> FeatureView:
    """Returns finite features as rows of length 1, and what is odd in them."""
    units = unit_rows(features, "features").astype("float32")
    groups = near_duplicates(units)
    scores = outliers(units, groups=groups)
    distinct = first_of_groups(groups)
    return FeatureView(
        features=units,
        duplicates=groups,
        outlier_scores=scores,
        distinct=distinct,
        kept=distinct[scores[distinct] <= OUTLIER],
    )


def features_problem(run: RunFolder) -> str:
    """Returns a sentence on why the features are of no use, or nothing."""
    features = run.features
    if features is None:
        return (
            "There are no features yet (features.npy), so this report has no "
            "section on the images. The training writes them when it ends."
        )
    if len(features) < FEWEST:
        return (
            f"There are {len(features)} images. With fewer than {FEWEST}, "
            "nothing can be said of groups or of rare images."
        )
    if not all(
        np.isfinite(features[some]).all() for some in blocks(*features.shape)
    ):
        return (
            "The features hold numbers that are not finite: the training has "
            "diverged. This report has no section on the images."
        )
    drawn = np.linspace(0, len(features) - 1, min(len(features), _SOME))
    units = unit_rows(features[drawn.astype(int)], "features")
    if len(np.unique(np.round(units, 4), axis=0)) < FEWEST:
        return (
            "Nearly all images have the same features: the encoder has "
            "collapsed. This report has no section on the images."
        )
    return ""
