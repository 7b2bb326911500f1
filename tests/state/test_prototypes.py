"""Prototypes and headness against a replay, sample by sample."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from keras_ltssl.state.headness import Assignment
from keras_ltssl.state.reliability import Reliability


def units(batch, dim=6, seed=0):
    return reference.unit(
        np.random.default_rng(seed).normal(size=(batch, dim))
    ).astype("float32")


def built(num_prototypes, dim=6, **kwargs):
    prototypes = lt.layers.Prototypes(num_prototypes, **kwargs)
    prototypes.build((None, dim))
    return prototypes


def step(prototypes, batch):
    prototypes.update(prototypes.assign(batch))


def values(prototypes):
    return (
        ops.convert_to_numpy(prototypes.vectors),
        ops.convert_to_numpy(prototypes.shares),
    )


@pytest.mark.every_backend
def test_updates_equal_a_replay_sample_by_sample():
    prototypes = built(4, momentum=0.8, empty_share=0.3)
    vectors, shares = np.zeros((4, 6)), np.zeros(4)
    for seed in range(12):
        batch = units(9, seed=seed)
        step(prototypes, batch)
        vectors, shares = reference.prototype_update(
            vectors, shares, batch.astype("float64"), 0.8, 0.3
        )
        ours = values(prototypes)
        np.testing.assert_allclose(ours[0], vectors, atol=1e-5)
        np.testing.assert_allclose(ours[1], shares, atol=1e-6)


@pytest.mark.every_backend
def test_first_step_seeds_every_prototype_from_its_own_sample():
    prototypes = built(5)
    batch = units(8)
    step(prototypes, batch)
    vectors, shares = values(prototypes)
    nearest = (vectors @ batch.T).argmax(axis=1)
    assert len(set(nearest)) == 5
    np.testing.assert_allclose(vectors, batch[nearest], atol=1e-6)
    np.testing.assert_allclose(shares, 0.2, atol=1e-6)


@pytest.mark.every_backend
def test_fewer_samples_than_prototypes_leave_some_empty_for_later():
    prototypes = built(5)
    step(prototypes, units(2))
    assert int(ops.sum(ops.cast(prototypes.is_empty(), "int32"))) == 3
    for seed in range(1, 4):
        step(prototypes, units(2, seed=seed))
    assert not ops.convert_to_numpy(prototypes.is_empty()).any()


def test_prototypes_find_separate_groups_and_their_shares():
    centers = np.eye(3, 8, dtype="float32")
    random = np.random.default_rng(0)
    prototypes = built(3, dim=8, momentum=0.9)
    for _ in range(150):
        group = random.choice(3, size=64, p=[0.6, 0.3, 0.1])
        noise = 0.05 * random.normal(size=(64, 8))
        batch = reference.unit(centers[group] + noise)
        step(prototypes, batch.astype("float32"))
    vectors, shares = values(prototypes)
    nearest = (centers @ vectors.T).argmax(axis=1)
    assert sorted(nearest) == [0, 1, 2]
    assert (centers * vectors[nearest]).sum(axis=1).min() > 0.99
    np.testing.assert_allclose(shares[nearest], [0.6, 0.3, 0.1], atol=0.05)


@pytest.mark.every_backend
def test_an_empty_prototype_moves_onto_the_worst_represented_sample():
    prototypes = built(3, dim=3, momentum=0.5, empty_share=0.5)
    prototypes.set_population(
        np.array([[1, 0, 0], [-1, 0, 0], [0, 0, 1]]),
        np.array([0.5, 0.02, 0.48]),
    )
    stray = np.array([0.0, 1.0, 0.0], "float32")
    batch = np.array([[1, 0, 0], [0, 0, 1], stray, [1, 0, 0]], "float32")
    step(prototypes, batch)
    vectors, shares = values(prototypes)
    np.testing.assert_allclose(vectors[1], stray, atol=1e-6)
    assert shares[1] > 0.2
    assert shares.sum() == pytest.approx(1)


@pytest.mark.every_backend
def test_held_prototypes_do_not_move():
    prototypes = built(2)
    prototypes.set_population(units(2), np.array([0.7, 0.3]), streaming=False)
    before = values(prototypes)
    step(prototypes, units(9, seed=3))
    np.testing.assert_array_equal(values(prototypes)[0], before[0])
    np.testing.assert_array_equal(values(prototypes)[1], before[1])


def test_share_entropy_is_1_for_equal_and_0_for_one():
    prototypes = built(4)
    prototypes.set_population(units(4), np.full(4, 0.25))
    assert float(prototypes.share_entropy()) == pytest.approx(1)
    prototypes.set_population(units(4), np.array([1.0, 0, 0, 0]))
    assert float(prototypes.share_entropy()) == pytest.approx(0)


def assignment(similarities, shares):
    return Assignment(
        None,
        None,
        ops.convert_to_tensor(similarities, "float32"),
        ops.convert_to_tensor(shares, "float32"),
    )


@pytest.mark.every_backend
def test_share_headness_is_half_on_average_over_the_population():
    shares = np.array([0.5, 0.2, 0.2, 0.1])
    headness = lt.layers.ShareHeadness().estimate(assignment(np.eye(4), shares))
    headness = ops.convert_to_numpy(headness)
    assert (headness * shares).sum() == pytest.approx(0.5)
    assert headness[0] > headness[1] == headness[2] > headness[3]


@pytest.mark.every_backend
def test_typicality_headness_is_the_rank_in_the_population():
    random = np.random.default_rng(0)
    headness = lt.layers.TypicalityHeadness(momentum=0.9)
    headness.build((None, 6))
    for _ in range(60):
        headness.update(assignment(random.beta(5, 2, (128, 3)), np.ones(3) / 3))
    fresh = assignment(random.beta(5, 2, (4000, 3)), np.ones(3) / 3)
    estimate = ops.convert_to_numpy(headness.estimate(fresh))
    best = ops.convert_to_numpy(fresh.similarities).max(axis=1)
    true_rank = best.argsort().argsort() / len(best)
    assert np.abs(estimate - true_rank).max() < 0.05
    assert estimate.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.every_backend
def test_density_headness_ranks_a_kernel_density_of_prototypes():
    random = np.random.default_rng(0)
    headness = lt.layers.DensityHeadness(bandwidth=0.2, momentum=0.9)
    headness.build((None, 6))
    shares = np.array([0.7, 0.2, 0.1, 0.0])
    for _ in range(60):
        cosines = random.uniform(-1, 1, (128, 4))
        headness.update(assignment(cosines, shares))
    fresh = random.uniform(-1, 1, (4000, 4))
    estimate = ops.convert_to_numpy(
        headness.estimate(assignment(fresh, shares))
    )
    density = (shares * np.exp((fresh - 1) / 0.2)).sum(axis=1)
    true_rank = density.argsort().argsort() / len(density)
    assert np.abs(estimate - true_rank).max() < 0.05


def test_a_small_bandwidth_is_share_and_similarity_of_the_nearest():
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, (64, 5))
    shares = random.dirichlet(np.ones(5))
    near = cosines.max(axis=1)
    score = lt.layers.DensityHeadness(0.001).score(assignment(cosines, shares))
    expected = np.log(shares[cosines.argmax(axis=1)]) + (near - 1) / 0.001
    np.testing.assert_allclose(
        ops.convert_to_numpy(score), expected, rtol=1e-4, atol=0.1
    )


def test_mixed_headness_is_a_weighted_mean_of_both():
    both = lt.layers.MixedHeadness(typicality=0.25)
    both.build((None, 6))
    typicality = lt.layers.TypicalityHeadness()
    typicality.build((None, 6))
    random = np.random.default_rng(0)
    batch = assignment(random.uniform(size=(32, 4)), [0.4, 0.3, 0.2, 0.1])
    both.update(batch)
    typicality.update(batch)
    np.testing.assert_allclose(
        ops.convert_to_numpy(both.estimate(batch)),
        0.75 * ops.convert_to_numpy(lt.layers.ShareHeadness().estimate(batch))
        + 0.25 * ops.convert_to_numpy(typicality.estimate(batch)),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "layer",
    [
        lt.layers.Prototypes(7, 0.5, 0.2),
        lt.layers.ShareHeadness(),
        lt.layers.TypicalityHeadness(0.5),
        lt.layers.MixedHeadness(0.3, 0.6),
        lt.layers.DensityHeadness(0.2, 0.6),
        Reliability(0.5),
    ],
)
def test_serialization_keeps_the_configuration(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("count", [1, 0, 2.5, True])
def test_impossible_number_of_prototypes_is_refused(count):
    with pytest.raises(ValueError, match="`num_prototypes` must be an integer"):
        lt.layers.Prototypes(count)
    with pytest.raises(ValueError, match="`num_prototypes` must be an integer"):
        lt.losses.TASELoss(num_prototypes=count)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_impossible_momentum_is_refused(momentum):
    with pytest.raises(
        ValueError, match=r"`momentum` must be a finite number >= 0 and < 1"
    ):
        lt.layers.Prototypes(momentum=momentum)
    with pytest.raises(
        ValueError, match=r"`momentum` must be a finite number >= 0 and < 1"
    ):
        lt.layers.TypicalityHeadness(momentum)


def test_impossible_mix_is_refused():
    with pytest.raises(
        ValueError, match="`typicality` must be a finite number"
    ):
        lt.layers.MixedHeadness(typicality=1.5)


def test_a_prototype_stays_where_all_that_it_learns_cancels_out():
    prototypes = lt.layers.Prototypes(num_prototypes=2, momentum=0.0)
    prototypes.build((None, 3))
    vectors = np.eye(2, 3, dtype="float32")
    prototypes.set_population(vectors, np.float32([0.5, 0.5]))
    # As close to both prototypes: members of the first.
    units = np.float32([[0, 0, 1], [0, 0, -1], [0, 1, 0]])
    prototypes.update(prototypes.assign(units))

    np.testing.assert_allclose(
        ops.convert_to_numpy(prototypes.vectors), vectors, atol=1e-6
    )
