"""Estimates from features which samples of a training set are in its tail."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_ltssl.arrays import as_scores, percentiles
from keras_ltssl.evaluation.distinct import Distinct
from keras_ltssl.evaluation.groups import Grouping, class_groups
from keras_ltssl.evaluation.headness_runs import (
    MAX_BANK,
    Estimate,
    check_clusters,
    check_name,
    checked_features,
    checked_neighbors,
    cluster_runs,
    named_runs,
)
from keras_ltssl.evaluation.imbalance_curve import ImbalanceCurve
from keras_ltssl.evaluation.tail_diagnosis_result import TailDiagnosis
from keras_ltssl.validation import (
    as_array,
    check_boolean,
    check_integer,
    check_integer_or_none,
)


def tail_diagnosis(
    features: Any,
    labels: ArrayLike | None = None,
    estimate: Estimate = "density",
    num_neighbors: int | None = None,
    num_clusters: int = 50,
    repeats: int = 10,
    groups: Grouping = "thirds",
    max_bank: int = MAX_BANK,
    seed: int = 0,
    take_out: bool = True,
) -> TailDiagnosis:
    """Estimates the length of the tail and its samples from features.

    Two questions are answered, both by this package's own design:

    - *How uneven is the data?* Sizes of `num_clusters` clusters of spherical
      k-means, with their Gini coefficient and effective number of groups.
    - *Which samples are in the tail?* Each sample's headness percentile: the
      share of samples whose headness estimate is lower. `0.03` says that 3% of
      the samples look rarer than this one. It is a rank, no probability and no
      class size: whatever the data, a tenth of the samples is in the lowest
      tenth, and balanced data have one too. Nothing here says where the tail
      begins.

    Each answer has an uncertainty: `repeats` times the neighbors are looked
    for in a random half of the samples, half as many of them, and the clusters
    are found on a random half from another start. Over halves, the standard
    deviation is an estimate of that over training sets (the delete-half
    jackknife). It tells luck from order, not right from wrong: a sample may be
    surely in the wrong place.

    How right it is, measured: rank correlation of headness with class size, and
    AUC for samples of few-image classes (0 and 0.5 are chance).

    - MNIST-LT, imbalance 50, SimCLR after 45 epochs, means of 4 class orders
      (standard deviation of the AUC 0.02 to 0.13): `"density"` with 50
      neighbors, projections +0.17, 0.78, backbone +0.26, 0.72, raw pixels
      +0.36, 0.79; `"typicality"` with 50 clusters, projections 0.00, 0.73,
      backbone +0.09, 0.75; `"share"` with 50 clusters, projections +0.12,
      0.62, backbone +0.26, 0.58. During training the AUC of the density in
      projections rises, from 0.54 at epoch 4.
    - Fashion-MNIST-LT, imbalance 50, SimCLR after 18 epochs, 3 class orders:
      `"density"` with 50 neighbors, projections -0.07, 0.75, backbone -0.19,
      0.71, raw pixels +0.36, 0.68; `"typicality"` with 50 clusters,
      projections -0.09, 0.67; `"share"` with 50 clusters, projections -0.05,
      0.62. So it finds samples of the rarest classes, and learned features
      say nothing of the order of the others.
    - CIFAR-10-LT, imbalance 100, SimCLR after 6 epochs, one run: hardly at
      all. `"density"` with 50 neighbors, projections +0.11, 0.58, backbone
      +0.03, 0.57, raw pixels +0.31, 0.56; `"typicality"` and `"share"` with
      50 clusters, projections +0.06, 0.53 and +0.11, 0.57; `"share"` with 10
      clusters has the wrong sign, -0.40. In a trial before the package, of
      50 epochs or more, the density reached an AUC of 0.64.
    - The imbalance curve of 50 clusters, one run of SimCLR on each: Gini 0.14
      and 0.10, where the classes have 0.56 and 0.61. On balanced test sets of
      500 and 5,000 images it was 0.22 and 0.14, larger than the 0.16 and 0.10
      of as many training images. So the curve did not tell long-tailed classes
      from balanced ones.

    Where it fails:

    - A frequent but diverse class looks rare: its samples are far from each
      other. A rare but uniform class looks frequent.
    - Near-duplicates, such as frames of one video, look frequent, since they
      are neighbors of each other, and outliers look rare. So by default both
      are taken out first: of each group of `near_duplicates` only the first is
      compared with others, and no sample with a score of `outliers` above
      1/3. What they miss, still fools the estimate.
    - Wrong labels look rare, which they are, in another sense.
    - Contrastive training spreads the training set evenly, and clusters of
      k-means are of similar size: the curve is far flatter than the truth. It
      shows what is uneven in the embedding, not in the classes; and the number
      of clusters is chosen, not found.
    - How much there is to see depends on the features. Compare those that you
      have, projections and backbone features, wherever some labels are known.

    100,000 samples of 128 features take about half a minute on two cores, and
    some minutes more to find what to take out.

    Args:
        features: Finite real array of shape `(samples, dim)`, at least 4
            samples: projections of the training set without augmentation. It
            may be a `numpy.memmap`, and is not copied unless something is
            taken out.
        labels: Class of each sample, `(samples,)`, to say how right the
            estimate is; nothing else looks at them. Defaults to `None`.
        estimate: A name that `headness_estimate` takes; or your own: an array
            of finite scores, low in the tail, of shape `(samples,)`, or
            `(runs, samples)` whose first row counts and whose other rows are
            its re-runs; or a function `(features, seed) -> scores`, called once
            and again for each re-run with another seed. Defaults to
            `"density"`.
        num_neighbors: Neighbors of a sample, less than the samples. Defaults
            to `None`: 50 for `"density"`, 10 for `"adaptive_mass"` and
            `"rank_mean"`.
        num_clusters: Clusters, at most half of the samples. Defaults to `50`.
        repeats: Re-runs that the uncertainty is estimated from, at least 2.
            Defaults to `10`.
        groups: `"thirds"` or `"thresholds"`, see `group_accuracy`; for the
            comparison with labels. Defaults to `"thirds"`.
        max_bank: Of more samples, neighbors and centers come from a random
            part of this size, see `headness_estimate`. Defaults to `2**14`.
        seed: Seed of everything random, integer >= 0. Defaults to `0`.
        take_out: Whether near-duplicates and outliers are taken out first. A
            near-duplicate then has the numbers of the first of its group, and
            an outlier the lowest score and percentile; neither is in
            `tail_first` or in the curve. Features of few dimensions have both
            by chance. Nothing is taken out if fewer than half of the samples
            were left, or fewer than the neighbors and clusters need. Defaults
            to `True`.

    Returns:
        A `TailDiagnosis`.

    Raises:
        ValueError: If an argument is out of range or does not fit the
            features, or a feature or a score is NaN or infinite.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.evaluation import tail_diagnosis
    >>> kinds = np.repeat([0, 1, 2], [80, 15, 5])
    >>> noise = np.random.default_rng(0).normal(size=(100, 3))
    >>> found = tail_diagnosis(
    ...     np.eye(3)[kinds] + 0.1 * noise,
    ...     labels=kinds,
    ...     num_neighbors=10,
    ...     num_clusters=3,
    ... )
    >>> found.curve.shares.tolist()
    [0.8, 0.15, 0.05]
    >>> found.agreement.few_auc
    1.0
    """
    every = checked_features(features)
    if len(every) < 4:
        raise ValueError(
            f"`features` must have at least 4 rows. Received: {len(every)}"
        )
    bank = min(check_integer("max_bank", max_bank, minimum=4), len(every))
    check_clusters(num_clusters, bank // 2)
    check_integer("repeats", repeats, minimum=2)
    check_integer_or_none("num_neighbors", num_neighbors, minimum=1)
    check_boolean("take_out", take_out)
    classes = _as_labels(labels, len(every), groups)
    neighbors = 0
    if isinstance(estimate, str):
        check_name(estimate)
        neighbors = checked_neighbors(estimate, num_neighbors, bank)
    elif not callable(estimate):
        estimate = _as_runs(estimate, len(every))
    found = Distinct.of(every, take_out, max(2 * num_clusters, neighbors + 1))
    rows = found.part(every)
    bank = min(bank, len(rows))
    given = None
    name = "scores that were given"
    if isinstance(estimate, str):
        name = {
            "density": f"density: {neighbors} nearest neighbors",
            "kernel_density": "kernel density",
            "adaptive_mass": f"adaptive mass: {neighbors} nearest neighbors",
            "rank_mean": "mean percentile of density and adaptive mass: "
            f"{neighbors} nearest neighbors",
            "share": f"share of its cluster, of {num_clusters}",
            "typicality": f"typicality of its cluster, of {num_clusters}",
        }[estimate]
    elif not callable(estimate):
        given = np.asarray(estimate)[:, found.kept]

    state = np.random.SeedSequence(check_integer("seed", seed, minimum=0))
    # The first is the seed itself: scores are those of `headness_estimate`.
    seeds = [int(seed), *map(int, state.generate_state(repeats))]
    clusterings = cluster_runs(rows, num_clusters, bank, seeds)
    sizes = np.stack(
        [np.bincount(found, minlength=num_clusters) for found, _ in clusterings]
    )
    if given is not None:
        runs = given
    elif isinstance(estimate, str):
        runs = named_runs(rows, estimate, neighbors, bank, clusterings, seeds)
    else:
        assert callable(estimate)
        name = getattr(estimate, "__name__", type(estimate).__name__)
        runs = np.stack(
            [_as_runs(estimate(rows, s), len(rows), 1)[0] for s in seeds]
        )
    ranks = percentiles(runs)
    uncertainty = np.full(len(rows), np.nan)
    if len(runs) > 2:
        uncertainty = ranks[1:].std(axis=0, ddof=1)
    return TailDiagnosis(
        estimate=name,
        scores=found.spread(runs[0], float(runs[0].min())),
        percentiles=found.spread(ranks[0], 0.0),
        uncertainty=found.spread(uncertainty, 0.0),
        curve=ImbalanceCurve(sizes[0], sizes[1:]),
        labels=classes,
        groups=groups,
        near_duplicates=found.duplicates,
        outliers=found.outliers,
    )


def _as_labels(
    labels: ArrayLike | None, samples: int, groups: Grouping
) -> NDArray[Any] | None:
    if labels is None:
        class_groups([1, 1, 1], groups)
        return None
    classes = as_array("labels", labels)
    if classes.shape != (samples,):
        raise ValueError(
            f"`labels` must hold the class of each of the {samples} samples. "
            f"Received: shape={classes.shape}"
        )
    class_groups(np.unique(classes, return_counts=True)[1], groups)
    return classes


def _as_runs(
    scores: Any, samples: int, most_dims: int = 2
) -> NDArray[np.float64]:
    """Finite scores as `(runs, samples)`, from one run or several."""
    array = as_array("estimate", scores)
    if not 1 <= array.ndim <= most_dims or array.shape[-1] != samples:
        several = " or (runs, samples)" if most_dims > 1 else ""
        raise ValueError(
            "`estimate` must give scores of shape (samples,)"
            f"{several}, for {samples} samples. Received: shape={array.shape}"
        )
    runs = array.reshape(-1, samples)
    if not len(runs):
        raise ValueError("`estimate` must give at least one run of scores.")
    return np.stack([as_scores(run, "estimate") for run in runs])
