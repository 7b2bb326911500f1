"""Both engines find the same clusters, and the same ones every time."""

import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import keras_ltssl as lt

kmeans = lt.samplers.kmeans


@pytest.fixture(params=["sklearn", "faiss"])
def engine(request):
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return request.param


def blobs(dtype="float32", rows=300, dim=5):
    random = np.random.default_rng(0)
    group = random.integers(3, size=rows)
    noise = random.normal(size=(rows, dim))
    return (5 * np.eye(3, dim)[group] + 0.5 * noise).astype(dtype), group


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_groups_and_their_means_are_found(engine, dtype):
    features, group = blobs(dtype)
    labels, centers = kmeans(features, 3, engine=engine)
    assert labels.dtype == np.int64
    assert centers.dtype == dtype
    for k in range(3):
        (cluster,) = np.unique(labels[group == k])
        np.testing.assert_allclose(
            centers[cluster], features[group == k].mean(axis=0), atol=1e-5
        )


def test_each_row_belongs_to_the_nearest_center(engine):
    features, _ = blobs()
    labels, centers = kmeans(features, 12, engine=engine)
    squares = ((features[:, None] - centers) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, squares.argmin(axis=1))
    for cluster in range(12):
        np.testing.assert_allclose(
            centers[cluster],
            features[labels == cluster].mean(axis=0),
            atol=1e-4,
        )


def test_engines_agree():
    pytest.importorskip("faiss")
    random = np.random.default_rng(0)
    features = random.normal(size=(2000, 16)).astype("float32")
    features += 2 * random.normal(size=(20, 16))[random.integers(20, size=2000)]
    one, ours = kmeans(features, 20, engine="sklearn")
    two, theirs = kmeans(features, 20, engine="faiss")
    # The last few rows move for many rounds; where to stop is the engine's.
    assert np.mean(one == two) > 0.99
    np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_seed_and_not_the_number_of_threads_decides(engine):
    random = np.random.default_rng(0)
    features = random.normal(size=(4000, 16)).astype("float32")
    labels, centers = kmeans(features, 8, seed=3, engine=engine)
    for threads in (4, 4, 4, 4):
        with threadpool_limits(threads, user_api="openmp"):
            again, same = kmeans(features, 8, seed=3, engine=engine)
        np.testing.assert_array_equal(labels, again)
        np.testing.assert_array_equal(centers, same)
    _, others = kmeans(features, 8, seed=4, engine=engine)
    assert not np.allclose(centers, others)


def test_of_many_rows_a_part_gives_the_centers_and_all_get_labels(engine):
    features, group = blobs(rows=5000)
    labels, centers = kmeans(features, 3, engine=engine, max_rows=400)
    squares = ((features[:, None] - centers) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, squares.argmin(axis=1))
    assert len({(a, b) for a, b in zip(labels, group, strict=True)}) == 3
    _, exact = kmeans(features, 3, engine=engine)
    gaps = ((centers[:, None] - exact) ** 2).sum(axis=2).min(axis=1)
    assert 0 < gaps.max() < 0.05
    again, same = kmeans(features, 3, engine=engine, max_rows=400)
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_array_equal(centers, same)


def test_as_many_rows_as_may_be_are_all_used(engine):
    features, _ = blobs()
    labels, centers = kmeans(features, 5, engine=engine, max_rows=300)
    expected = kmeans(features, 5, engine=engine)
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_array_equal(centers, expected[1])


def test_a_bad_row_beyond_the_part_is_found():
    features, _ = blobs(rows=2000)
    features[1234, 2] = np.nan
    with pytest.raises(ValueError, match=r"1 of 2000 rows, .* row 1234"):
        kmeans(features, 3, max_rows=100)


def test_as_many_clusters_as_rows_are_the_rows(engine):
    labels, centers = kmeans(np.diag([1.0, 2.0, 3.0]), 3, engine=engine)
    np.testing.assert_allclose(centers[labels], np.diag([1.0, 2.0, 3.0]))


def test_whole_numbers_are_clustered_in_float64():
    labels, centers = kmeans([[0], [2], [100]], 2, engine="sklearn")
    assert centers.dtype == np.float64
    assert centers[labels[0]].tolist() == [1.0]


def test_rows_are_left_as_they_are(engine):
    features, _ = blobs()
    before = features.copy()
    for max_rows in (100, 300):
        kmeans(features, 4, engine=engine, max_rows=max_rows)
        np.testing.assert_array_equal(features, before)


def test_faiss_is_taken_where_installed():
    pytest.importorskip("faiss")
    features = np.random.default_rng(0).normal(size=(500, 8)).astype("float32")
    _, chosen = kmeans(features, 9)
    _, expected = kmeans(features, 9, engine="faiss")
    np.testing.assert_array_equal(chosen, expected)


def test_scikit_learn_is_taken_where_faiss_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # its import now fails
    features = np.random.default_rng(0).normal(size=(500, 8)).astype("float32")
    _, chosen = kmeans(features, 9)
    _, expected = kmeans(features, 9, engine="sklearn")
    np.testing.assert_array_equal(chosen, expected)


def test_missing_faiss_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"keras-ltssl\[faiss\]"):
        kmeans(np.eye(3), 2, engine="faiss")


def test_range_of_faiss_is_named():
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match=r"range of float32.*1e\+200"):
        kmeans(np.diag([1.0, 1e200]), 2, engine="faiss")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_clusters": 6}, "num_clusters=6, and 5 rows"),
        ({"num_clusters": 0}, "num_clusters=0"),
        ({"num_clusters": 2.0}, "num_clusters=2.0"),
        ({"seed": -1}, "seed=-1"),
        ({"max_rows": 1}, "`max_rows` must be at least `num_clusters`.*=1"),
        ({"max_rows": 3.0}, "`max_rows` must be an integer"),
        ({"engine": "cuml"}, "`engine` must be one of 'sklearn'.*cuml"),
        ({"features": np.zeros((0, 3))}, "`features` must have shape"),
        ({"features": np.zeros(3)}, "`features` must have shape"),
        ({"features": np.eye(3) * np.nan}, "`features` must be finite.*row 0"),
        ({"features": np.full((5, 2), np.inf)}, "5 of 5 rows"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    arguments = {"features": np.eye(5), "num_clusters": 2}
    with pytest.raises(ValueError, match=message):
        kmeans(**{**arguments, **changes})
