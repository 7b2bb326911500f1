"""Simplex targets: closed forms, known best codes, and what is refused."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from keras_ltssl.initializers.simplex_etf import largest_cosine


def targets_of(num_targets, dim, seed=0, dtype="float32"):
    targets = lt.initializers.SimplexETF(seed)((num_targets, dim), dtype)
    return ops.convert_to_numpy(targets).astype("float64")


def pairwise(targets):
    cosines = targets @ targets.T
    return cosines[~np.eye(len(targets), dtype=bool)]


@pytest.mark.parametrize(
    ("num_targets", "dim"),
    [(2, 1), (2, 5), (3, 2), (7, 6), (10, 64), (100, 128), (129, 128)],
)
def test_simplex_is_equiangular_and_centered(num_targets, dim):
    targets = targets_of(num_targets, dim)
    assert targets.shape == (num_targets, dim)
    close = {"rtol": 0, "atol": 1e-6}
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, **close)
    np.testing.assert_allclose(
        pairwise(targets), -1 / (num_targets - 1), **close
    )
    np.testing.assert_allclose(targets.mean(axis=0), 0, **close)


@pytest.mark.parametrize(
    ("num_targets", "dim"), [(4, 2), (7, 4), (8, 4), (100, 64), (128, 64)]
)
def test_up_to_twice_the_dimension_no_two_targets_are_close(num_targets, dim):
    with pytest.warns(UserWarning, match=r"cosine is 0\.0000"):
        targets = targets_of(num_targets, dim)
    assert np.abs(pairwise(targets).max()) <= 1e-6
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("num_targets", "dim", "least"),
    [
        (5, 2, np.cos(2 * np.pi / 5)),  # pentagon
        (12, 3, 5**-0.5),  # icosahedron
        (16, 5, 1 / 5),  # half of the cube's corners
        (27, 6, 1 / 4),  # Schläfli's 27 points
    ],
)
def test_larger_sets_reach_the_best_known_codes(num_targets, dim, least):
    with pytest.warns(UserWarning, match=rf"cosine is {least:.3f}"):
        targets = targets_of(num_targets, dim)
    reached = largest_cosine(targets)
    assert reached == pytest.approx(pairwise(targets).max(), abs=1e-6)
    assert least - 1e-6 <= reached <= least + 1e-3
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, atol=1e-6)


def test_warning_names_what_was_asked_and_what_was_reached():
    with pytest.warns(UserWarning, match="num_targets") as caught:
        targets = targets_of(30, 8)
    message = next(
        text
        for text in (str(warning.message) for warning in caught)
        if "num_targets" in text
    )
    reached = largest_cosine(targets)
    for part in (
        "num_targets=30",
        "dim=8",
        f"cosine is {reached:.4f}",
        "-1/(num_targets-1) = -0.0345",
    ):
        assert part in message
    random = np.random.default_rng(0).normal(size=(30, 8))
    assert reached < largest_cosine(random) - 0.2


def test_in_one_dimension_targets_have_to_coincide():
    with pytest.warns(UserWarning, match=r"cosine is 1\.0000"):
        targets = targets_of(3, 1)
    assert sorted(np.unique(np.abs(targets))) == [1.0]


@pytest.mark.filterwarnings("ignore:num_targets")
@pytest.mark.parametrize(("num_targets", "dim"), [(5, 8), (6, 4), (9, 4)])
def test_seed_decides_the_rotation(num_targets, dim):
    first = targets_of(num_targets, dim, seed=1)
    np.testing.assert_array_equal(first, targets_of(num_targets, dim, seed=1))
    assert np.abs(first - targets_of(num_targets, dim, seed=2)).max() > 0.1


@pytest.mark.every_backend
def test_every_backend_gets_the_same_numbers():
    expected = [
        [-0.3237975, 0.9461264],
        [-0.6574708, -0.7534801],
        [0.9812682, -0.1926463],
    ]
    np.testing.assert_allclose(targets_of(3, 2), expected, atol=1e-6)


def test_rotations_favor_no_direction():
    mean = np.mean([targets_of(3, 2, seed)[0] for seed in range(400)], axis=0)
    assert np.abs(mean).max() < 0.15


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", None])
def test_dtype_is_that_asked_for(dtype):
    targets = lt.initializers.SimplexETF()((4, 8), dtype)
    expected = dtype or keras.config.floatx()
    assert keras.backend.standardize_dtype(targets.dtype) == expected
    targets = ops.convert_to_numpy(ops.cast(targets, "float32"))
    np.testing.assert_allclose(pairwise(targets), -1 / 3, atol=0.01)


def test_a_layer_uses_it_by_config_and_by_object():
    initializer = lt.initializers.SimplexETF(seed=3)
    config = keras.saving.serialize_keras_object(initializer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is lt.initializers.SimplexETF
    assert again.get_config() == {"seed": 3}
    layer = keras.layers.Layer()
    weight = layer.add_weight(shape=(4, 8), initializer=again)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(weight), targets_of(4, 8, seed=3)
    )
    dense = keras.layers.Dense(8, kernel_initializer=config)
    dense.build((None, 4))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(dense.kernel), targets_of(4, 8, seed=3)
    )


def test_largest_cosine_leaves_lengths_aside_and_works_in_blocks():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(1500, 6)) + 1
    vectors[1400] = 3 * vectors[20]
    assert largest_cosine(vectors) == pytest.approx(1)
    vectors = vectors[:1400]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert largest_cosine(
        ops.convert_to_tensor(vectors, "float32")
    ) == pytest.approx(pairwise(units).max(), abs=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 8, 1), (1, 8), (0, 8), (4, 0)])
def test_impossible_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"`shape` must be \(num_targets, dim"):
        lt.initializers.SimplexETF()(shape)


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_impossible_seed_is_refused(seed):
    with pytest.raises(ValueError, match="`seed` must be an integer >= 0"):
        lt.initializers.SimplexETF(seed)


def test_integer_dtype_is_refused():
    with pytest.raises(ValueError, match="`dtype` must be a float dtype"):
        lt.initializers.SimplexETF()((4, 8), "int32")


@pytest.mark.parametrize("shape", [(4,), (1, 4)])
def test_one_vector_has_no_largest_cosine(shape):
    with pytest.raises(ValueError, match=r"shape \(K, dim\) with K >= 2"):
        largest_cosine(np.ones(shape))
