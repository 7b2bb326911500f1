"""Plain k-means, by scikit-learn or, where it is installed, by faiss."""

import logging
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

from keras_ltssl.arrays import as_features, as_floats, blocks, unit_rows
from keras_ltssl.validation import (
    LARGEST_SEED,
    check_choice,
    check_integer,
)

# As many as scikit-learn makes at most; both stop earlier when done.
ITERATIONS = 300
# Rows that centers are found on, at most, if nobody says otherwise.
MAX_ROWS = 2**20

Engine = Literal["sklearn", "faiss"] | None
Rows = NDArray[Any]


def kmeans(
    features: ArrayLike,
    num_clusters: int,
    seed: int = 0,
    engine: Engine = None,
    max_rows: int = MAX_ROWS,
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Clusters rows by k-means, from one k-means++ start.

    Rows are taken as given: normalize them before for spherical k-means. Both
    engines start from the same centers and run until nothing changes, so that
    apart from rounding they find the same clusters. scikit-learn computes on
    one core, in the precision of the rows; faiss on all cores, in float32,
    which pays for many rows where those cores are idle. The result depends
    only on the arguments and the engine, not on the number of cores.

    Of more than `max_rows` rows a random part, of that many, gives the centers;
    then each row belongs to the nearest of them. So no more than that part is
    ever held in memory, and `features` may be a `numpy.memmap` of any length,
    which is read block by block. A million rows tell where a few thousand
    centers are as well as ten million do.

    Args:
        features: Finite real array of shape `(rows, dim)`.
        num_clusters: Number of clusters, integer from 1 to `rows`.
        seed: Seed of the start, integer >= 0. Defaults to `0`.
        engine: `"sklearn"`, or `"faiss"` from the `faiss` extra. Defaults to
            `None`: faiss where it is installed, else scikit-learn.
        max_rows: Rows to find centers on, at most; integer, at least
            `num_clusters`. Defaults to `2**20`.

    Returns:
        Tuple `(labels, centers)`: int64 array of shape `(rows,)`, the cluster
        of each row, and array of shape `(num_clusters, dim)`, float32 for
        float32 rows and else float64.

    Raises:
        ImportError: If `engine="faiss"` and faiss is missing.
        ValueError: If an argument is out of range, or a feature is NaN or
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
    rows = as_features(features, "features")
    _check_finite(rows, "features")
    return cluster(rows, as_floats, num_clusters, seed, engine, max_rows)


def unit_clusters(
    rows: Rows,
    name: str,
    num_clusters: int,
    seed: int,
    engine: Engine,
    max_rows: int,
) -> tuple[NDArray[np.int64], Rows]:
    """`kmeans` of rows that are normalized as they are read."""
    if len(rows) > check_integer("max_rows", max_rows, minimum=1):
        _check_finite(rows, name)  # Of a drawn part, nobody knew which row.

    def read(block: Rows) -> Rows:
        return unit_rows(block, name)

    return cluster(rows, read, num_clusters, seed, engine, max_rows)


def cluster(
    rows: Rows,
    read: Callable[[Rows], Rows],
    num_clusters: int,
    seed: int,
    engine: Engine,
    max_rows: int,
) -> tuple[NDArray[np.int64], Rows]:
    """`kmeans` of what `read` makes of blocks of rows, floats."""
    count = check_integer("num_clusters", num_clusters, minimum=1)
    if count > len(rows):
        raise ValueError(
            "`num_clusters` must not exceed the rows of `features`. Received: "
            f"num_clusters={count}, and {len(rows)} rows"
        )
    start = check_integer("seed", seed, 0, LARGEST_SEED)
    check_choice("engine", engine, ("sklearn", "faiss", None))
    most = check_integer("max_rows", max_rows, minimum=1)
    if most < count:
        raise ValueError(
            "`max_rows` must be at least `num_clusters`. Received: "
            f"max_rows={most}, num_clusters={count}"
        )
    faiss = None if engine == "sklearn" else _import_faiss()
    if engine == "faiss" and faiss is None:
        raise ImportError(
            '`engine="faiss"` needs faiss, which is in the `faiss` extra: '
            "pip install 'keras-ltssl[faiss]'"
        )
    if len(rows) <= most:
        part = read(rows)
        is_own = not np.may_share_memory(part, rows)
        return _fit(faiss, part, count, start, is_own)
    drawn = np.random.default_rng(start).choice(
        len(rows), most, replace=False, shuffle=False
    )
    drawn.sort()  # A file is read in its order.
    part = np.empty((most, rows.shape[1]), as_floats(rows[:0]).dtype)
    for some in blocks(most, rows.shape[1]):
        part[some] = read(rows[drawn[some]])
    _, centers = _fit(faiss, part, count, start, is_own=True)
    return _nearest(rows, read, centers), centers


def _check_finite(rows: Rows, name: str) -> None:
    wrong = [
        some.start + np.flatnonzero(~np.isfinite(rows[some]).all(axis=1))
        for some in blocks(*rows.shape)
    ]
    numbers = np.concatenate(wrong)
    if len(numbers):
        raise ValueError(
            f"`{name}` must be finite. Received: NaN or infinity in "
            f"{len(numbers)} of {len(rows)} rows, the first is row {numbers[0]}"
        )


def _nearest(
    rows: Rows, read: Callable[[Rows], Rows], centers: Rows
) -> NDArray[np.int64]:
    """Which center is the nearest to each row."""
    labels = np.empty(len(rows), "int64")
    columns = np.ascontiguousarray(centers.T)
    halves = (centers * centers).sum(axis=1) / 2
    with _one_thread():
        for some in blocks(len(rows), max(centers.shape)):
            scores = read(rows[some]) @ columns
            labels[some] = (scores - halves).argmax(axis=1)
    return labels


def _fit(
    faiss: Any, rows: Rows, count: int, seed: int, is_own: bool
) -> tuple[NDArray[np.int64], Rows]:
    """Clusters floats in memory, which are changed if they are our own."""
    if faiss is not None:
        return _by_faiss(faiss, rows, count, seed)
    with _one_thread():
        found = KMeans(
            count,
            n_init=1,
            max_iter=ITERATIONS,
            random_state=seed,
            copy_x=not is_own,
        ).fit(rows)
    return found.labels_.astype("int64"), found.cluster_centers_


def _one_thread() -> Any:
    """Returns a context in which scikit-learn gives the same sums every time.

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
