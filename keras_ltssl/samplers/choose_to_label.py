"""Chooses which samples to label next: all kinds, and rare ones soon."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import (
    as_features,
    as_floats,
    as_scores,
    blocks,
    check_row_count,
    percentiles,
    rescaled,
)
from keras_ltssl.samplers.density_peaks import peak_distances
from keras_ltssl.samplers.duplicate_groups import (
    SIMILARITY,
    checked_groups,
    duplicate_groups,
)
from keras_ltssl.samplers.isolation import (
    NEIGHBORS,
    OUTLIER,
    isolation_scores,
)
from keras_ltssl.samplers.nearest_others import mean_distances, nearest_others
from keras_ltssl.validation import as_array, check_integer

# Both powers were chosen on two class orders of three data sets.
DENSITY_POWER, HEADNESS_POWER = 0.25, 0.5
# Added to a percentile, so that no sample has a factor of 0.
LEAST_FACTOR = 0.05
# Samples that are compared with each other, at most.
MAX_SAMPLES = 2**17


def choose_to_label(
    features: Any,
    budget: int,
    *,
    headness: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    labeled: ArrayLike | None = None,
    seed: int = 0,
    max_samples: int = MAX_SAMPLES,
) -> NDArray[np.int64]:
    """Chooses which samples to label, the most useful first.

    With s_ij the cosine of samples i and j, and N_i the 5 nearest others of i:

        r_i     = sqrt(2 - 2 mean_{j in N_i} s_ij)
        δ_i     = min_j sqrt(2 - 2 s_ij)  over j with r_j < r_i, or labeled
        value_i = δ_i / r_i^(1/4)

    The samples of the largest values are chosen. A sample has a large δ if it
    is the densest around, so each region gives its middle before any gives a
    second one: they cover the space, however many samples a region has. The
    middle of a rare kind counts as much as that of a frequent one, so more of
    the labels go to the tail than by chance. The densest of all comes first.
    The choice for a smaller budget is the beginning of that for a larger one,
    so one may stop at any label. δ is that of density peaks; the
    value, and what follows, is this package's own design.

    - Of each group of near-duplicates only the first is chosen, and none if
      one of the group is labeled.
    - An outlier, with a score of `evaluation.outliers` above 1/3, comes after
      all others.
    - Then, if the budget is larger, come the other members of groups.
    - With `headness`, values are multiplied by (1.05 - h_i)^(1/2), where h_i is
      the percentile of its headness. That finds more few-image images, but on
      digits it took longer to find every class. So it is not the default.

    Labels until every class was seen, as a share of random choice's: 0.39 on
    MNIST-LT, 0.83 on Fashion-MNIST-LT, over 8 class orders; greedy k-centers
    0.35 and 0.63. With strange images and copies among them 0.37 and 0.74;
    k-centers 0.56 and 0.77. On CIFAR-10-LT of 16 x 16, whose encoders hardly
    tell classes, 0.94, and 1.12 with strange images.
    `benchmarks/RESULTS.md` has all numbers.

    Time grows with the square of the samples. 100,000 of 128 features took 156
    seconds of processor time. Memory beyond the features is one or two float32
    copies of them, and blocks of 16 MiB.

    Args:
        features: Finite real array of shape `(samples, dim)`: the output of
            the encoder on images that are not augmented.
        budget: Samples to choose, integer from 0 to the number of samples that
            are not labeled.
        headness: Finite score of each sample, `(samples,)`, low in the tail,
            such as `evaluation.headness_estimate` gives. Defaults to `None`:
            all alike.
        groups: Group of near-duplicates of each sample, `(samples,)`, as
            `evaluation.near_duplicates` returns, from features or pixels.
            Defaults to `None`: those of a cosine of at least 0.995. Groups of
            `np.arange(samples)` say that all are distinct.
        labeled: Rows that have a label already, none of them twice, integers;
            or a boolean array of shape `(samples,)`. Defaults to `None`: none.
        seed: Seed of the part that is drawn from more than `max_samples`
            samples, integer >= 0. Defaults to `0`.
        max_samples: Of more samples that are not labeled, a random part of
            this size is compared and comes first; integer >= 2. Defaults to
            `2**17`.

    Returns:
        int64 array of shape `(budget,)`: rows of the samples in the order to
        label, none of them twice and none that is labeled.

    Raises:
        ValueError: If an argument is out of range or does not fit the
            features, or a number is NaN or infinite.

    Example:

    >>> import numpy as np
    >>> kinds = np.repeat([0, 1, 2], [80, 15, 5])
    >>> noise = np.random.default_rng(0).normal(size=(100, 16))
    >>> features = np.eye(16)[kinds] + 0.1 * noise
    >>> chosen = choose_to_label(features, budget=3)
    >>> sorted(kinds[chosen].tolist())
    [0, 1, 2]

    Reference:
        - [Clustering by fast search and find of density
          peaks](https://doi.org/10.1126/science.1242072), Rodriguez and Laio,
          Science 344, 2014
    """
    rows = as_features(features, "features")
    for some in blocks(*rows.shape):
        rescaled(as_floats(rows[some]), "features", some.start)
    known = _as_labeled(labeled, len(rows))
    check_row_count("budget", budget, 0, rows, "features")
    free = np.flatnonzero(~known)
    if budget > len(free):
        raise ValueError(
            "`budget` must not exceed the samples that are not labeled. "
            f"Received: budget={budget}, and {len(free)} samples"
        )
    factors = _factors(headness, len(rows))
    numbers = None if groups is None else checked_groups(groups, len(rows))
    most = check_integer("max_samples", max_samples, minimum=2)
    random = np.random.default_rng(check_integer("seed", seed, minimum=0))
    later = free[:0]
    if len(free) > most:
        shuffled = random.permutation(free)
        # A file is read in its order.
        free, later = np.sort(shuffled[:most]), shuffled[most:]
    if not budget:
        return free[:0]
    with_labeled = np.sort(np.concatenate([free, np.flatnonzero(known)]))
    part = rows if len(with_labeled) == len(rows) else rows[with_labeled]
    own = (
        duplicate_groups(part, SIMILARITY, as_floats)
        if numbers is None
        else numbers[with_labeled]
    )
    is_known = known[with_labeled]
    order = _order(part, own, is_known, factors[with_labeled])
    return np.concatenate([with_labeled[order], later])[:budget]


def _order(
    rows: NDArray[Any],
    groups: NDArray[np.int64],
    known: NDArray[np.bool_],
    factors: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Returns all rows that are not labeled, in the order to label."""
    # Labeled ones lead their groups, so that no other does.
    labeled_first = np.argsort(~known, kind="stable")
    _, leading, places = np.unique(
        groups[labeled_first], return_index=True, return_inverse=True
    )
    firsts = np.sort(labeled_first[leading])
    candidates = firsts[~known[firsts]]
    values, isolated = _values(rows, firsts, candidates, np.flatnonzero(known))
    values = values * factors[candidates]
    # The last key counts most.
    ranked = candidates[np.lexsort((-values, isolated))]
    if len(ranked) + np.count_nonzero(known) == len(rows):
        return ranked
    # The second members of all groups, then the third ones, and so on.
    group_of = np.empty(len(rows), "int64")
    group_of[labeled_first] = places
    rank_of_group = np.full(len(firsts), len(firsts))
    rank_of_group[group_of[ranked]] = np.arange(len(ranked))
    rest = np.setdiff1d(np.flatnonzero(~known), candidates)
    by_group = rest[np.argsort(group_of[rest], kind="stable")]
    _, starts, sizes = np.unique(
        group_of[by_group], return_index=True, return_counts=True
    )
    member = np.arange(len(by_group)) - np.repeat(starts, sizes)
    last = np.lexsort((rank_of_group[group_of[by_group]], member))
    return np.concatenate([ranked, by_group[last]])


def _values(
    rows: NDArray[Any],
    firsts: NDArray[np.int64],
    candidates: NDArray[np.int64],
    known: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns the values of candidates, and which of them are outliers."""
    count = min(NEIGHBORS, len(firsts) - 1)
    if count < 1 or not len(candidates):
        return np.zeros(len(candidates)), np.zeros(len(candidates), "bool")
    distinct = rows if len(firsts) == len(rows) else rows[firsts]
    cosines, others = nearest_others(distinct, count)
    scores = isolation_scores(cosines, others)
    radii = mean_distances(cosines)
    here = np.searchsorted(firsts, candidates)
    distances = peak_distances(
        distinct[here] if len(here) < len(distinct) else distinct,
        -radii[here],
        rows[known],
    )
    values = distances / radii[here] ** DENSITY_POWER
    if not len(known):
        values[np.argmin(radii[here])] = np.inf
    return values, scores[here] > OUTLIER


def _factors(headness: ArrayLike | None, samples: int) -> NDArray[np.float64]:
    if headness is None:
        return np.ones(samples)
    scores = as_scores(headness, "headness")
    if len(scores) != samples:
        raise ValueError(
            "`headness` must hold one score for each of the "
            f"{samples} samples. Received: {len(scores)}"
        )
    rarity: NDArray[np.float64] = 1 - percentiles(scores) + LEAST_FACTOR
    return rarity**HEADNESS_POWER


def _as_labeled(labeled: ArrayLike | None, samples: int) -> NDArray[np.bool_]:
    known = np.zeros(samples, "bool")
    if labeled is None:
        return known
    array = as_array("labeled", labeled)
    if array.dtype == bool and array.shape == (samples,):
        return array.copy()
    if array.size == 0 and array.ndim == 1:
        return known
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "`labeled` must be rows, integers, or booleans, one for each of "
            f"the {samples} samples. Received: dtype={array.dtype}, "
            f"shape={array.shape}"
        )
    if array.min() < 0 or array.max() >= samples:
        raise ValueError(
            f"`labeled` must be rows from 0 to {samples - 1}. Received: "
            f"{array.min()} to {array.max()}"
        )
    if len(np.unique(array)) < len(array):
        raise ValueError(
            "`labeled` must not name a row twice. Received: "
            f"{len(array) - len(np.unique(array))} rows again"
        )
    known[array] = True
    return known
