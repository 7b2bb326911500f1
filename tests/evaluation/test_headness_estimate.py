"""Headness without labels, against slow references, and what is refused."""

import keras
import numpy as np
import pytest

from keras_ltssl.evaluation import headness_estimate, tail_agreement
from keras_ltssl.evaluation import neighbor_density as density_file
from keras_ltssl.samplers import kmeans


def units(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_density(features, k, bank=None):
    """Mean cosine to the k nearest others, row by row, in float64."""
    u = units(np.asarray(features, "float64"))
    bank = range(len(u)) if bank is None else bank
    return np.array(
        [
            np.mean(sorted(u[i] @ u[j] for j in bank if j != i)[-k:])
            for i in range(len(u))
        ]
    )


def points(samples=90, dim=5, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(samples, dim)) * random.uniform(
        0.1, 9, size=(samples, 1)
    )


def mixture(counts, spread, dim=16, seed=0):
    """Samples of kinds with so many each, around random directions."""
    random = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(counts)), counts)
    centers = units(random.normal(size=(len(counts), dim)))
    spread = np.broadcast_to(spread, len(counts))[kinds, np.newaxis]
    noise = random.normal(size=(len(kinds), dim)) / np.sqrt(dim)
    return centers[kinds] + spread * noise, kinds


@pytest.mark.parametrize("k", [1, 7, 89])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_density_is_the_mean_cosine_of_the_nearest_others(k, dtype):
    features = points().astype(dtype)
    np.testing.assert_allclose(
        headness_estimate(features, num_neighbors=k),
        slow_density(features, k),
        atol=1e-6,
    )


@pytest.mark.parametrize("rows_at_once", [1, 13])
def test_blocks_give_what_one_block_gives(monkeypatch, rows_at_once):
    features = points()
    whole = headness_estimate(features, num_neighbors=6)
    monkeypatch.setattr(density_file, "BLOCK_COSINES", 95 * rows_at_once)
    parts = headness_estimate(features, num_neighbors=6)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize(("width", "count"), [(40, 1), (96, 6), (96, 90)])
def test_the_search_by_groups_finds_the_largest_in_order(width, count):
    random = np.random.default_rng(0)
    group = max(1, round((width / count) ** 0.5))
    width = group * (width // group)
    for values in (
        random.normal(size=(30, width)),
        random.integers(0, 5, size=(30, width)).astype("float64"),  # Ties.
        np.sort(random.normal(size=(30, width)), axis=1),
    ):
        found, which = density_file._largest(values, count, group)
        np.testing.assert_array_equal(
            found, -np.sort(-values, axis=1)[:, :count]
        )
        np.testing.assert_array_equal(
            found, np.take_along_axis(values, which, axis=1)
        )
        assert all(len(set(row)) == count for row in which)


def test_a_copy_of_a_sample_is_its_neighbor_and_itself_is_not():
    features = np.concatenate([points(20), points(1, seed=3), points(20)[:1]])
    found = headness_estimate(features, num_neighbors=1)
    assert found[[0, 21]] == pytest.approx(
        1
    )  # A near-duplicate looks frequent.
    assert found[20] < 0.999


def test_a_bank_is_a_random_part_without_the_sample_itself():
    features = points(60)
    found = headness_estimate(features, num_neighbors=4, max_bank=25, seed=7)
    rows = np.random.default_rng(7).choice(60, 25, replace=False)
    np.testing.assert_allclose(
        found, slow_density(features, 4, sorted(rows)), atol=1e-6
    )


def test_parts_of_the_bank_count_half_as_many_neighbors():
    features = points(64)
    random = np.random.default_rng(1)
    halves = np.zeros((5, 64), "bool")
    for half in halves:
        half[random.permutation(64)[:32]] = True
    found = density_file.neighbor_density(features, 7, np.arange(64), halves)
    np.testing.assert_allclose(found[0], slow_density(features, 7), atol=1e-6)
    for run, half in zip(found[1:], halves, strict=True):
        expected = slow_density(features, 4, np.flatnonzero(half))
        np.testing.assert_allclose(run, expected, atol=1e-6)


def test_share_and_typicality_are_those_of_spherical_k_means():
    features = points(80)
    labels, centers = kmeans(
        units(features), num_clusters=6, seed=3, engine="sklearn"
    )
    share = headness_estimate(features, "share", num_clusters=6, seed=3)
    assert share.tolist() == [np.mean(labels == label) for label in labels]
    np.testing.assert_allclose(
        headness_estimate(features, "typicality", num_clusters=6, seed=3),
        (units(features) * units(centers)[labels]).sum(axis=1),
    )


@pytest.mark.parametrize(
    ("estimate", "spread"), [("density", 0.5), ("share", 0.25)]
)
def test_it_finds_the_tail_of_kinds_as_wide_as_each_other(estimate, spread):
    features, kinds = mixture([400, 150, 60, 25, 12, 6], spread)
    found = headness_estimate(features, estimate, 50, num_clusters=6)
    agreement = tail_agreement(found, kinds)
    assert agreement.few_auc > 0.9
    assert agreement.rank_correlation > 0.5


def test_a_frequent_diverse_kind_looks_rare_and_a_rare_uniform_one_frequent():
    features, kinds = mixture([400, 100, 20], spread=[3.0, 1.0, 0.01])
    found = headness_estimate(features, num_neighbors=15)
    agreement = tail_agreement(found, kinds)
    assert agreement.few_auc < 0.1
    assert agreement.rank_correlation < 0


@pytest.mark.parametrize("estimate", ["density", "share", "typicality"])
def test_memory_mapped_features_are_read_like_arrays(tmp_path, estimate):
    features = points(50).astype("float32")
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    for options in ({}, {"max_bank": 20}):
        options |= {"num_neighbors": 5, "num_clusters": 4}
        np.testing.assert_array_equal(
            headness_estimate(mapped, estimate, **options),
            headness_estimate(features, estimate, **options),
        )


def test_other_kinds_of_numbers_are_taken():
    features = points(40)
    expected = headness_estimate(features, num_neighbors=3)
    tensor = keras.ops.convert_to_tensor(features.astype("float32"))
    found = headness_estimate(tensor, num_neighbors=3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    found = headness_estimate(features.astype("float16"), num_neighbors=3)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    integers = np.round(10 * features).astype("int32")
    np.testing.assert_allclose(
        headness_estimate(integers, num_neighbors=3),
        slow_density(integers, 3),
        atol=1e-6,
    )


def test_a_zero_row_is_alike_to_none():
    features = points(30)
    features[4] = 0
    assert headness_estimate(features, num_neighbors=3)[4] == 0


def test_the_same_seed_gives_the_same_scores():
    features = points(200)
    options = {"num_neighbors": 5, "num_clusters": 9, "max_bank": 60}
    for estimate in ("density", "share", "typicality"):
        one, same, other = (
            headness_estimate(features, estimate, seed=seed, **options)
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimate": "tailness"}, "estimate='tailness'"),
        ({"estimate": np.ones(30)}, "Received: ndarray"),
        ({"features": np.ones(30)}, r"`features` .* shape=\(30,\)"),
        ({"features": np.ones((30, 2), "complex64")}, "real numbers"),
        (
            {
                "features": np.where(
                    np.arange(60).reshape(30, 2) == 9, np.nan, 1
                )
            },
            "`features` must be finite.* row 4",
        ),
        ({"num_neighbors": 0}, "num_neighbors=0"),
        ({"num_neighbors": 30}, "num_neighbors=30, and 30 samples"),
        ({"num_neighbors": 8, "max_bank": 8}, "num_neighbors=8, and 8 samples"),
        ({"num_neighbors": 2.5}, "num_neighbors=2.5"),
        ({"estimate": "share", "num_clusters": 31}, "num_clusters=31, and 30"),
        ({"estimate": "typicality", "num_clusters": 0}, "num_clusters=0"),
        ({"max_bank": 0}, "max_bank=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"features": points(30), "num_neighbors": 5, "num_clusters": 3}
    with pytest.raises(ValueError, match=message):
        headness_estimate(**{**arguments, **changes})
