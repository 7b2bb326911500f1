"""Headness without labels, against slow references, and what is refused."""

import tracemalloc

import keras
import numpy as np
import pytest

from keras_ltssl.evaluation import (
    headness_estimate,
    neighbor_density,
    tail_agreement,
)
from keras_ltssl.samplers import bank_cosines, kmeans

NEW_AND_DENSITY = ["density", "kernel_density", "adaptive_mass", "rank_mean"]
ESTIMATES = [*NEW_AND_DENSITY, "share", "typicality"]


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


def slow_kernel_density(features, h, bank=None):
    """Log of the mean kernel over all others, row by row, in float64."""
    u = units(np.asarray(features, "float64"))
    bank = range(len(u)) if bank is None else bank
    return np.array(
        [
            np.log(
                np.mean([np.exp((u[i] @ u[j] - 1) / h) for j in bank if j != i])
            )
            for i in range(len(u))
        ]
    )


def slow_adaptive_mass(features, k, margin, bank=None):
    """Share of others that are about as close as the nearest, smoothed."""
    u = units(np.asarray(features, "float64"))
    bank = range(len(u)) if bank is None else bank
    shares, neighbors = [], []
    for i in range(len(u)):
        others = [j for j in bank if j != i]
        cosines = np.array([u[i] @ u[j] for j in others])
        near = np.mean(np.sort(cosines)[-k:])
        far = np.median(cosines)
        shares.append(np.mean(cosines > near - margin * (near - far)))
        neighbors.append([others[n] for n in np.argsort(cosines)[-k:]])
    return np.array(
        [
            np.mean([shares[i], *(shares[j] for j in neighbors[i])])
            for i in range(len(u))
        ]
    )


def percentiles(scores):
    """Share of scores below each, equal ones counted half."""
    scores = np.round(scores, 12)
    return np.array(
        [np.mean(scores < s) + np.mean(scores == s) / 2 for s in scores]
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


@pytest.mark.parametrize("bank", [90, 45, 44])
@pytest.mark.parametrize("bandwidth", [0.2, 0.002])
def test_kernel_density_is_a_mean_over_all_others(bank, bandwidth):
    features = points()
    rows = np.sort(np.random.default_rng(0).choice(90, bank, replace=False))
    found = headness_estimate(
        features, "kernel_density", max_bank=bank, bandwidth=bandwidth
    )
    expected = slow_kernel_density(features, bandwidth, rows)
    # The error of a float32 cosine, over the bandwidth.
    np.testing.assert_allclose(found, expected, atol=2e-7 / bandwidth)


@pytest.mark.parametrize("bank", [90, 45, 44])
@pytest.mark.parametrize(("k", "margin"), [(10, 0.25), (1, 0.9), (43, 0.5)])
def test_adaptive_mass_is_the_share_about_as_close_as_the_nearest(
    bank, k, margin
):
    features = points()
    rows = np.sort(np.random.default_rng(0).choice(90, bank, replace=False))
    np.testing.assert_allclose(
        headness_estimate(
            features, "adaptive_mass", k, max_bank=bank, margin=margin
        ),
        slow_adaptive_mass(features, k, margin, rows),
        atol=1e-12,
    )


def test_rank_mean_is_the_mean_percentile_of_density_and_adaptive_mass():
    features = points()
    np.testing.assert_allclose(
        headness_estimate(features, "rank_mean", margin=0.5),
        (
            percentiles(headness_estimate(features, num_neighbors=10))
            + percentiles(slow_adaptive_mass(features, 10, 0.5))
        )
        / 2,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("estimate", "k"), [("density", 50), ("adaptive_mass", 10)]
)
def test_each_estimate_has_its_own_number_of_neighbors(estimate, k):
    features = points()
    np.testing.assert_array_equal(
        headness_estimate(features, estimate),
        headness_estimate(features, estimate, num_neighbors=k),
    )


def test_a_rare_uniform_kind_is_rare_by_adaptive_mass():
    features, kinds = mixture([400, 100, 20], spread=[1.5, 1.0, 0.5])
    mass, density = (
        tail_agreement(headness_estimate(features, estimate, 10), kinds)
        for estimate in ("adaptive_mass", "density")
    )
    assert mass.few_auc > 0.9 > 0.1 > density.few_auc


def test_identical_rows_have_finite_estimates():
    for estimate in ("kernel_density", "adaptive_mass", "rank_mean"):
        found = headness_estimate(np.ones((30, 4)), estimate)
        assert np.all(np.isfinite(found))


@pytest.mark.parametrize("rows_at_once", [1, 13])
@pytest.mark.parametrize("estimate", NEW_AND_DENSITY)
def test_blocks_give_what_one_block_gives(monkeypatch, rows_at_once, estimate):
    features = points()
    whole = headness_estimate(features, estimate, num_neighbors=6)
    monkeypatch.setattr(bank_cosines, "BLOCK_COSINES", 95 * rows_at_once)
    parts = headness_estimate(features, estimate, num_neighbors=6)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize("estimate", NEW_AND_DENSITY)
def test_memory_is_that_of_a_block_and_not_of_all_cosines(
    monkeypatch, estimate
):
    features = points(6000)
    monkeypatch.setattr(bank_cosines, "BLOCK_COSINES", 2**16)
    tracemalloc.start()
    headness_estimate(features, estimate, max_bank=2048)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All cosines would take 47 MiB.
    assert peak < 4 * 2**20


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
        found, which = bank_cosines.largest(values, count, group)
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
    found = neighbor_density.neighbor_density(
        features, 7, np.arange(64), halves
    )
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


@pytest.mark.parametrize("estimate", ESTIMATES)
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
    for estimate in ESTIMATES:
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
        (
            {"estimate": "adaptive_mass", "num_neighbors": 30},
            "num_neighbors=30, and 30 samples",
        ),
        (
            {"estimate": "rank_mean", "num_neighbors": None, "max_bank": 10},
            "num_neighbors=10, and 10 samples",
        ),
        ({"estimate": "kernel_density", "max_bank": 1}, "`max_bank` .* least"),
        ({"bandwidth": 0.0}, "bandwidth=0.0"),
        ({"margin": 0.0}, "margin=0.0"),
        ({"margin": 1.5}, "margin=1.5"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"features": points(30), "num_neighbors": 5, "num_clusters": 3}
    with pytest.raises(ValueError, match=message):
        headness_estimate(**{**arguments, **changes})
