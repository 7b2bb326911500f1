"""What a diagnosis of features says, how sure it is, and what is refused."""

import dataclasses

import numpy as np
import pytest

from keras_ltssl.evaluation import (
    TailAgreement,
    headness_estimate,
    tail_agreement,
    tail_diagnosis,
)

OPTIONS = {"num_neighbors": 10, "num_clusters": 4, "repeats": 4}
# Few samples of few dimensions have outliers by chance.
OPTIONS["take_out"] = False


def mixture(counts, seed=0):
    random = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(len(counts)), counts)
    centers = np.eye(8)[: len(counts)]
    return centers[kinds] + 0.1 * random.normal(size=(len(kinds), 8)), kinds


@pytest.mark.parametrize(
    "estimate",
    [
        "density",
        "kernel_density",
        "adaptive_mass",
        "rank_mean",
        "share",
        "typicality",
    ],
)
def test_percentiles_are_ranks_of_the_estimate(estimate):
    features, _ = mixture([90, 40, 20, 10])
    found = tail_diagnosis(features, estimate=estimate, seed=5, **OPTIONS)
    scores = headness_estimate(
        features, estimate, num_neighbors=10, num_clusters=4, seed=5
    )
    np.testing.assert_array_equal(found.scores, scores)
    for score, percentile in zip(scores, found.percentiles, strict=True):
        below, equal = np.mean(scores < score), np.mean(scores == score)
        assert percentile == pytest.approx(below + equal / 2)
    assert np.all(np.diff(found.percentiles[found.tail_first]) >= 0)
    assert found.percentiles.mean() == pytest.approx(0.5)


def test_well_parted_kinds_are_found_with_their_sizes():
    features, kinds = mixture([90, 40, 20, 10])
    found = tail_diagnosis(features, kinds, **OPTIONS)
    assert found.curve.shares.tolist() == [90 / 160, 40 / 160, 20 / 160, 1 / 16]
    assert found.curve.rerun_shares.shape == (4, 4)
    assert found.agreement.few_auc > 0.9
    assert found.agreement == tail_agreement(found.scores, kinds)
    assert found.class_curve.gini == pytest.approx(found.curve.gini)
    assert np.bincount(found.members).tolist() == [10, 20, 130]


def test_labels_change_nothing_but_the_comparison():
    features, kinds = mixture([90, 40, 20, 10])
    with_labels = tail_diagnosis(features, kinds, **OPTIONS)
    without = tail_diagnosis(features, **OPTIONS)
    np.testing.assert_array_equal(with_labels.scores, without.scores)
    np.testing.assert_array_equal(with_labels.uncertainty, without.uncertainty)
    assert without.agreement is None
    assert without.class_curve is None
    assert without.members is None


def test_uncertainty_is_small_for_structure_and_large_for_noise():
    random = np.random.default_rng(0)
    structure, _ = mixture([300, 100, 30, 10])
    sure = tail_diagnosis(structure, **OPTIONS).uncertainty
    # In many dimensions no sample of pure noise is nearer than another.
    noise = random.normal(size=(440, 400))
    unsure = tail_diagnosis(noise, **OPTIONS).uncertainty
    assert sure.shape == (440,)
    assert np.median(sure) < 0.1
    assert np.median(unsure) > 2 * np.median(sure)


def test_uncertainty_foretells_the_error_of_other_training_sets():
    # The same hundred samples with many other halves of their population.
    random = np.random.default_rng(1)
    features = random.normal(size=(1100, 6))
    kept, pool = features[:100], features[100:]
    percentiles, told = [], []
    for seed in range(12):
        others = pool[random.permutation(1000)[:200]]
        found = tail_diagnosis(
            np.concatenate([kept, others]), seed=seed, **OPTIONS
        )
        percentiles.append(found.percentiles[:100])
        told.append(found.uncertainty[:100])
    seen = np.std(percentiles, axis=0, ddof=1).mean()
    assert 0.6 < np.mean(told) / seen < 1.6


def test_the_same_seed_gives_the_same_diagnosis():
    features, _ = mixture([60, 20, 10])
    one, same, other = (
        tail_diagnosis(features, seed=seed, **OPTIONS) for seed in (0, 0, 1)
    )
    for name in ("scores", "percentiles", "uncertainty"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    np.testing.assert_array_equal(one.curve.shares, same.curve.shares)
    assert not np.array_equal(one.uncertainty, other.uncertainty)


def test_memory_mapped_features_and_a_small_bank(tmp_path):
    features, _ = mixture([90, 40, 20, 10])
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    one = tail_diagnosis(mapped, max_bank=50, **OPTIONS)
    other = tail_diagnosis(features, max_bank=50, **OPTIONS)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.uncertainty, other.uncertainty)
    assert len(one.scores) == 160


def test_given_scores_are_taken_as_they_are():
    features, kinds = mixture([60, 20, 10])
    scores = np.random.default_rng(0).random((5, 90))
    one = tail_diagnosis(features, kinds, scores[0], **OPTIONS)
    np.testing.assert_array_equal(one.scores, scores[0])
    assert np.isnan(one.uncertainty).all()
    assert "one run" in one.to_text()
    several = tail_diagnosis(features, kinds, scores, **OPTIONS)
    np.testing.assert_array_equal(several.percentiles, one.percentiles)
    ranks = np.argsort(np.argsort(scores[1:], axis=1), axis=1) / 90
    np.testing.assert_allclose(
        several.uncertainty, ranks.std(axis=0, ddof=1), atol=1e-12
    )


def test_a_function_is_called_once_for_each_run_with_another_seed():
    features, _ = mixture([60, 20, 10])
    seeds = []

    def my_estimate(rows, seed):
        seeds.append(seed)
        return rows[:, 0] + np.random.default_rng(seed).normal(size=len(rows))

    found = tail_diagnosis(features, estimate=my_estimate, seed=3, **OPTIONS)
    assert len(set(seeds)) == 5
    assert seeds[0] == 3
    assert found.estimate == "my_estimate"
    np.testing.assert_array_equal(
        found.scores, features[:, 0] + np.random.default_rng(3).normal(size=90)
    )
    assert found.uncertainty.min() > 0


def test_the_text_says_what_was_found():
    features, kinds = mixture([90, 40, 20, 10])
    found = tail_diagnosis(features, kinds, **OPTIONS)
    text = found.to_text()
    assert text.startswith("Tail diagnosis of 160 samples\n")
    assert "largest cluster       56.25% ± " in text
    assert f"Gini coefficient     {found.curve.gini:6.2f} ± " in text
    assert "by density: 10 nearest neighbors" in text
    assert "4 classes: largest 56.2%, smallest 6.2%" in text
    assert f"few-image classes {found.agreement.few_auc:.2f}" in text
    assert max(map(len, text.splitlines())) <= 80
    bare = tail_diagnosis(features, **OPTIONS).to_text()
    assert text.startswith(bare)
    assert "labels" not in bare


def test_a_diagnosis_is_not_changed():
    found = tail_diagnosis(mixture([60, 20, 10])[0], **OPTIONS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.seed = 1


def test_a_collapsed_embedding_has_no_order():
    # Four directions for eight clusters would be warned of by scikit-learn.
    features = np.repeat(np.eye(4), 10, axis=0)
    found = tail_diagnosis(
        features, np.repeat([0, 1, 2, 3], 10), **{**OPTIONS, "num_neighbors": 5}
    )
    np.testing.assert_allclose(found.percentiles, 0.5)
    assert isinstance(found.agreement, TailAgreement)
    assert np.isnan(found.agreement.rank_correlation)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.ones((3, 2))}, "at least 4 rows. Received: 3"),
        ({"features": np.full((90, 8), np.inf)}, "`features` must be finite"),
        ({"labels": np.ones(89)}, r"each of the 90 samples.*\(89,\)"),
        ({"labels": np.arange(90) % 2}, "at least 3 classes"),
        ({"groups": "halves"}, "groups='halves'"),
        ({"estimate": "prototype"}, "estimate='prototype'"),
        ({"estimate": np.ones(89)}, r"for 90 samples.*\(89,\)"),
        ({"estimate": np.full(90, np.nan)}, "`estimate` must be finite"),
        ({"estimate": np.ones((0, 90))}, "at least one run"),
        ({"estimate": lambda rows, seed: [1]}, r"shape=\(1,\)"),
        (
            {"estimate": lambda rows, seed: np.ones((2, 90))},
            r"shape=\(2, 90\)",
        ),
        ({"num_neighbors": 90}, "num_neighbors=90, and 90 samples"),
        ({"num_clusters": 46}, "num_clusters=46, and 45 samples"),
        ({"repeats": 1}, "repeats=1"),
        ({"max_bank": 3}, "max_bank=3"),
        ({"seed": 1.5}, "seed=1.5"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"features": mixture([60, 20, 10])[0], **OPTIONS}
    with pytest.raises(ValueError, match=message):
        tail_diagnosis(**{**arguments, **changes})


def with_copies_and_outliers(seed=0):
    """60 samples of kinds of 40 and 20, copies of row 3, and two outliers."""
    random = np.random.default_rng(seed)
    kinds = np.repeat([0, 1], [40, 20])
    rows = np.eye(64)[kinds] + 0.05 * random.normal(size=(60, 64))
    copies = rows[[3] * 15] * random.uniform(1, 2, size=(15, 1))
    strange = random.normal(size=(2, 64))
    return np.concatenate([rows, copies, strange]), kinds


TAKEN_OUT = {**OPTIONS, "take_out": True}


def test_near_duplicates_and_outliers_are_taken_out_by_default():
    features, _ = with_copies_and_outliers()
    options = {**OPTIONS}
    del options["take_out"]
    found = tail_diagnosis(features, **options)
    plain = tail_diagnosis(features[:60], **options)
    assert found.kept.tolist() == list(range(60))
    assert np.flatnonzero(found.near_duplicates).tolist() == [*range(60, 75)]
    assert np.flatnonzero(found.outliers).tolist() == [75, 76]
    np.testing.assert_allclose(found.scores[:60], plain.scores)
    np.testing.assert_array_equal(found.tail_first, plain.tail_first)
    np.testing.assert_array_equal(found.curve.shares, plain.curve.shares)
    # Copies have the numbers of the first, outliers the lowest.
    for numbers in (found.scores, found.percentiles, found.uncertainty):
        assert np.all(numbers[60:75] == numbers[3])
    assert found.percentiles[75:].tolist() == [0, 0]
    assert np.all(found.scores[75:] == found.scores.min())
    assert "Taken out: 15 near-duplicates of others, 2 outliers" in (
        found.to_text()
    )


def test_copies_look_frequent_and_outliers_rare_unless_taken_out():
    features, _ = with_copies_and_outliers()
    fooled = tail_diagnosis(features, **OPTIONS)
    assert set(fooled.tail_first[:2]) == {75, 76}
    assert fooled.percentiles[3] > 0.75
    assert fooled.near_duplicates is None or not fooled.near_duplicates.any()
    assert "Taken out" not in fooled.to_text()
    assert tail_diagnosis(features, **TAKEN_OUT).percentiles[3] < 0.75


def test_scores_that_are_given_are_taken_out_too():
    features, _ = with_copies_and_outliers()
    scores = np.arange(77.0)
    found = tail_diagnosis(features, estimate=scores, **TAKEN_OUT)
    np.testing.assert_array_equal(found.scores[:60], scores[:60])
    assert found.scores[60:].tolist() == [3] * 15 + [0, 0]


def test_agreement_is_of_the_samples_that_are_kept():
    features, kinds = with_copies_and_outliers()
    labels = np.concatenate([kinds, [1] * 17])
    labels[:5] = 2
    found = tail_diagnosis(features, labels, **TAKEN_OUT)
    assert found.agreement == tail_agreement(found.scores[:60], labels[:60])


def test_nothing_is_taken_out_if_few_samples_were_left():
    features = np.repeat(np.random.default_rng(0).normal(size=(10, 32)), 6, 0)
    found = tail_diagnosis(features, **TAKEN_OUT)
    assert len(found.kept) == 60
