"""Plain k-means, by scikit-learn or, where it is installed, by faiss."""

import logging
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from keras_ltssl.samplers.checks import as_features, as_integer
from keras_ltssl.samplers.unit_rows import as_floats

# As many as scikit-learn makes at most; both stop earlier when done.
ITERATIONS = 300


def kmeans(
    features: ArrayLike,
    num_clusters: int,
    seed: int = 0,
    engine: Literal["sklearn", "faiss"] | None = None,
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Clusters rows by k-means, from one k-means++ start.

    Rows are taken as given: normalise them before for spherical k-means. Both
    engines start from the same centres and run until nothing changes, so that
    apart from rounding they find the same clusters. scikit-learn computes on
    one core, in the precision of the rows; faiss on all cores, in float32,
    which pays for many rows where those cores are idle. The result depends
    only on the arguments and the engine, not on the number of cores.

    Args:
        features: finite real array of shape `(rows, dim)`.
        num_clusters: number of clusters, integer from 1 to `rows`.
        seed: seed of the start, integer >= 0. Defaults to `0`.
        engine: `"sklearn"`, or `"faiss"` from the `faiss` extra. Defaults to
            `None`: faiss where it is installed, else scikit-learn.

    Returns:
        Tuple `(labels, centers)`: int64 array of shape `(rows,)`, the cluster
        of each row, and array of shape `(num_clusters, dim)`, float32 for
        float32 rows and else float64.

    Raises:
        ImportError: if `engine="faiss"` and faiss is missing.
        ValueError: if an argument is out of range, or a feature is NaN or
            infinite.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[0.0, 1.0], [5.0, 5.0], [0.0, 3.0], [5.0, 6.0]])
    >>> labels, centers = kmeans(rows, num_clusters=2)
    >>> bool(labels[0] == labels[2] != labels[1] == labels[3])
    True
    >>> centers[labels[0]].tolist()
    [0.0, 2.0]
    """
    rows = as_floats(as_features(features, "features"))
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            "`features` must be finite. Received: NaN or infinity in "
            f"{np.sum(~finite)} of {len(rows)} rows, the first is row "
            f"{finite.argmin()}"
        )
    count = as_integer(num_clusters, "num_clusters", 1)
    if count > len(rows):
        raise ValueError(
            "`num_clusters` must not exceed the rows of `features`. Received: "
            f"num_clusters={count}, and {len(rows)} rows"
        )
    start = as_integer(seed, "seed", 0)
    if engine not in (None, "sklearn", "faiss"):
        raise ValueError(
            '`engine` must be "sklearn", "faiss" or None. Received: '
            f"engine={engine!r}"
        )
    faiss = None if engine == "sklearn" else _import_faiss()
    if faiss is not None:
        return _by_faiss(faiss, rows, count, start)
    if engine == "faiss":
        raise ImportError(
            '`engine="faiss"` needs faiss, which is in the `faiss` extra: '
            "pip install 'keras-ltssl[faiss]'"
        )
    with _one_thread():
        found = KMeans(
            count, n_init=1, max_iter=ITERATIONS, random_state=start
        ).fit(rows)
    return found.labels_.astype("int64"), found.cluster_centers_


def _one_thread() -> Any:
    """A context in which scikit-learn gives the same sums every time.

    More than two threads would add up partial sums in the order they come in.
    And the many small products of a k-means++ start gain nothing by threads:
    on a busy machine they are ten times slower, waiting for each other.
    """
    return threadpool_limits(1)


def _import_faiss() -> Any:
    """The module, or None."""
    # It tells which of its builds fits the processor.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # What its generated bindings do is not this package's user's concern.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            import faiss
        except ImportError:
            return None
    return faiss


def _by_faiss(
    faiss: Any, rows: NDArray[Any], count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    with np.errstate(over="ignore"):
        short = np.ascontiguousarray(rows, "float32")
    if not np.isfinite(short).all():
        raise ValueError(
            "`features` must be in the range of float32 for faiss. Received: "
            f"{np.abs(rows).max()} as the largest magnitude"
        )
    with _one_thread():
        start, _ = kmeans_plusplus(short, count, random_state=seed)
    means = faiss.Kmeans(
        short.shape[1],
        count,
        niter=ITERATIONS,
        seed=seed,
        # Else it warns of small clusters, and draws a sample from large ones.
        min_points_per_centroid=1,
        max_points_per_centroid=len(short),
    )
    means.train(short, init_centroids=start)
    _, nearest = means.index.search(short, 1)
    return nearest[:, 0].astype("int64"), means.centroids.astype(rows.dtype)
