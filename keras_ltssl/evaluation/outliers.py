"""Scores how far samples are from everything else."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.evaluation.headness_runs import checked_features
from keras_ltssl.samplers.duplicate_groups import checked_groups
from keras_ltssl.samplers.isolation import NEIGHBORS, isolation
from keras_ltssl.validation import check_integer


def outliers(
    features: Any,
    num_neighbors: int = NEIGHBORS,
    groups: Any | None = None,
) -> NDArray[np.float64]:
    """Returns how far each sample is from everything else, from 0 to 1.

    With s_ij the cosine of samples i and j, N_i the k nearest others of i,
    and k = `num_neighbors`:

        d_i     = sqrt(2 - 2 mean_{j in N_i} s_ij)
        usual_i = max(median_{j in N_i} d_j, median_j d_j)
        score_i = max(0, 1 - usual_i / d_i)

    0 is a sample that is no farther than usual, 1/2 is one that is twice as
    far from its nearest as they are from theirs, and as samples are in general.
    A score above 1/3, one and a half times as far, is an outlier's. The score
    has no scale: features that are spread twice as wide have the same. A sample
    of the tail has a few near ones, as far from it as they are from each
    other, so its score is low; an outlier has none. This is this package's own
    design; the ratio to neighbors is that of the local outlier factor.

    Of 837 digits, 837 garments and 2,096 photographs of 16 x 16, in features
    of six encoders, 0 to 6 samples had more than 1/3. Of 10 random vectors
    among them, all were found with digits and garments, and 6 and 8 with
    photographs, whose features are far apart anyway. Where samples are few or
    have few dimensions, large ratios come by chance. More than
    `num_neighbors` / 2 outliers that are near each other look like a kind.

    Near-duplicates hide an outlier: its copy is near. So give `groups`.

    Time grows with the square of the samples: 100,000 of 128 features took 70
    s of processor time, and 3 minutes on two cores that other processes shared.
    Memory beyond the features is one float32 copy of them and some blocks of
    16 MiB.

    Args:
        features: Finite real array of shape `(samples, dim)`; it may be a
            `numpy.memmap`.
        num_neighbors: Others that are looked for, k, integer >= 1; all, if
            there are fewer. Defaults to `5`.
        groups: Group of near-duplicates of each sample, `(samples,)`, as
            `near_duplicates` returns. Then only the first of each group is
            looked at, and the others get its score. Defaults to `None`: all
            are distinct.

    Returns:
        float64 array of shape `(samples,)`, in [0, 1).

    Raises:
        ValueError: If an argument is out of range or does not fit the
            features, or a feature is NaN or infinite.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.evaluation import outliers
    >>> angles = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 2.0])
    >>> features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    >>> (outliers(features, num_neighbors=2) > 1 / 3).tolist()
    [False, False, False, False, False, True]

    Reference:
        - [LOF: Identifying Density-Based Local
          Outliers](https://doi.org/10.1145/342009.335388), Breunig et al.,
          SIGMOD 2000
    """
    rows = checked_features(features)
    check_integer("num_neighbors", num_neighbors, minimum=1)
    if groups is None:
        return isolation(rows, num_neighbors)
    numbers = checked_groups(groups, len(rows))
    _, firsts, place = np.unique(
        numbers, return_index=True, return_inverse=True
    )
    kept = np.sort(firsts)
    scores = np.zeros(len(rows))
    scores[kept] = isolation(rows[kept], num_neighbors)
    return scores[firsts[place]]
