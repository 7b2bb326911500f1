"""MAK's choice is score and greedy k-center joined, and survives a file."""

import dataclasses

import numpy as np
import pytest

import keras_ltssl as lt
import reference

BUDGET = 40


def small_case(seed=0, dtype="float64"):
    random = np.random.default_rng(seed)
    middles = random.normal(size=(3, 6))
    length = random.uniform(0.5, 4, size=(100, 1))
    samples = middles[random.integers(3, size=100)]
    samples = length * (samples + 0.2 * random.normal(size=(100, 6)))
    return {
        "id_features": samples.astype(dtype),
        "pool_features": random.normal(size=(150, 6)).astype(dtype),
        "pool_losses": random.gamma(2.0, size=150).astype(dtype),
        "budget": BUDGET,
        "num_clusters": 3,
    }


def expected_of(case, choice, factor=1.5):
    return reference.mak(
        case["id_features"],
        case["pool_features"],
        case["pool_losses"],
        choice.centers,
        case["budget"],
        factor,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(3))
def test_choice_is_that_of_the_formulas(seed, dtype):
    case = small_case(seed, dtype)
    choice = lt.samplers.choose_mak(**case)
    indices, scores, distances = expected_of(case, choice)
    assert choice.indices.dtype == np.int64
    assert choice.indices.tolist() == indices
    np.testing.assert_allclose(choice.scores, scores[indices], atol=1e-5)
    np.testing.assert_allclose(choice.distances, distances[indices], atol=1e-6)
    np.testing.assert_array_equal(choice.losses, case["pool_losses"][indices])
    cosines = reference.unit(case["pool_features"]) @ (
        reference.unit(choice.centers).T
    )
    np.testing.assert_array_equal(
        choice.clusters, cosines[indices].argmax(axis=1)
    )
    assert choice.budgets.tolist() == [
        sum(choice.clusters == cluster) for cluster in range(3)
    ]


def test_centers_are_those_of_k_means_on_unit_rows():
    case = small_case()
    choice = lt.samplers.choose_mak(**case, seed=3)
    _, centers = lt.samplers.kmeans(
        reference.unit(case["id_features"]), 3, seed=3
    )
    np.testing.assert_allclose(choice.centers, centers)


@pytest.mark.parametrize("factor", [1.0, 1.1, 2.5, 3.75, 1e9])
def test_factor_is_how_many_are_left_to_diversity(factor):
    case = small_case()
    choice = lt.samplers.choose_mak(**case, candidate_factor=factor)
    indices, scores, _ = expected_of(case, choice, min(factor, 150 / 40))
    assert choice.indices.tolist() == indices
    best = np.sort(scores)[::-1]
    candidates = min(int(factor * BUDGET), 150)
    assert choice.scores.min() >= best[candidates - 1] - 1e-12


def test_a_factor_of_one_takes_the_highest_scores():
    case = small_case()
    choice = lt.samplers.choose_mak(**case, candidate_factor=1)
    _, scores, _ = expected_of(case, choice)
    top = np.argsort(-scores, kind="stable")[:BUDGET]
    assert sorted(choice.indices) == sorted(top)


@pytest.mark.parametrize(
    ("budget", "factor", "candidates"),
    # 1.16 * 25 is 28.999999999999996.
    [(7, 1.5, 10), (25, 1.16, 29)],
)
def test_half_candidates_are_rounded_down_and_rounding_errors_are_not(
    budget, factor, candidates
):
    for row in (1, candidates - 1, candidates, 39):
        # All are equally near, so that the loss decides; but for one row they
        # stand together, so that this one is taken if it is a candidate.
        around = np.linspace(0, 0.1, 40)
        around[row] = np.pi
        pool = np.stack([np.ones(40), np.cos(around), np.sin(around)], axis=1)
        choice = lt.samplers.choose_mak(
            [[1.0, 0.0, 0.0]], pool, -np.arange(40), budget, 1, factor
        )
        assert (row in choice.indices) == (row < candidates)


def test_high_loss_and_nearness_are_what_counts():
    case = small_case()
    choice = lt.samplers.choose_mak(**case, candidate_factor=1)
    _, _, distances = expected_of(case, choice)
    assert choice.losses.mean() > case["pool_losses"].mean()
    assert choice.distances.mean() < distances.mean()


def test_loss_and_length_of_features_have_no_unit():
    case = small_case()
    expected = lt.samplers.choose_mak(**case).indices
    case["pool_losses"] = 5 + 3 * case["pool_losses"]
    case["pool_features"] = case["pool_features"] * np.ldexp(
        1.0, np.random.default_rng(0).integers(-500, 500, size=(150, 1))
    )
    found = lt.samplers.choose_mak(**case).indices
    np.testing.assert_array_equal(found, expected)


def test_equal_losses_leave_it_to_the_distance():
    case = small_case()
    # 0.1 three times is not exactly 0.3: equal up to rounding is equal.
    losses = np.where(np.arange(150) % 2, 0.3, 0.1 + 0.1 + 0.1)
    choices = []
    for values in (losses, np.zeros(150)):
        case["pool_losses"] = values
        choices.append(lt.samplers.choose_mak(**case, candidate_factor=1))
        assert np.isfinite(choices[-1].scores).all()
    one, other = choices
    assert one.indices.tolist() == other.indices.tolist()
    _, _, distances = reference.mak(
        case["id_features"],
        case["pool_features"],
        np.arange(150),
        one.centers,
        BUDGET,
        1,
    )
    nearest = np.argsort(distances, kind="stable")[:BUDGET]
    assert sorted(one.indices) == sorted(nearest)


@pytest.mark.parametrize("engine", ["sklearn", "faiss"])
@pytest.mark.filterwarnings(
    # What scikit-learn tells about identical rows is what is tested here.
    "ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning"
)
def test_a_collapsed_encoder_still_gets_a_choice(engine):
    pytest.importorskip("faiss" if engine == "faiss" else "sklearn")
    random = np.random.default_rng(0)
    losses = random.permutation(30)
    choice = lt.samplers.choose_mak(
        np.ones((20, 7), "float32"),
        np.ones((30, 7), "float32"),
        losses,
        budget=8,
        num_clusters=3,
        engine=engine,
    )
    candidates = np.sort(np.argsort(-losses)[:12])
    assert choice.indices.tolist() == candidates[:8].tolist()


def test_zero_rows_have_cosine_zero():
    case = small_case()
    case["pool_features"][7] = 0
    case["id_features"][3] = 0
    choice = lt.samplers.choose_mak(**{**case, "budget": 150})
    # Last of all: the training set has a zero row as well, 0 away from it.
    assert choice.indices[-1] == 7
    assert choice.distances[-1] == 1
    assert np.isfinite(choice.centers).all()


def test_a_whole_pool_and_nothing_can_be_chosen():
    case = small_case()
    whole = lt.samplers.choose_mak(**{**case, "budget": 150})
    assert sorted(whole.indices) == list(range(150))
    nothing = lt.samplers.choose_mak(**{**case, "budget": 0})
    assert nothing.indices.shape == nothing.losses.shape == (0,)
    assert nothing.budgets.tolist() == [0, 0, 0]


def test_the_same_seed_makes_the_same_choice():
    case = {**small_case(), "num_clusters": 15}
    one, two = (lt.samplers.choose_mak(**case, seed=5) for _ in range(2))
    for name, array in one.to_arrays().items():
        np.testing.assert_array_equal(array, two.to_arrays()[name])


def test_pool_may_be_a_memory_map(tmp_path):
    case = small_case(1, "float32")
    expected = lt.samplers.choose_mak(**case).indices
    np.save(tmp_path / "pool.npy", case["pool_features"])
    case["pool_features"] = np.load(tmp_path / "pool.npy", mmap_mode="r")
    found = lt.samplers.choose_mak(**case).indices
    np.testing.assert_array_equal(found, expected)


def test_choice_survives_a_file(tmp_path):
    choice = lt.samplers.choose_mak(**small_case())
    np.savez(tmp_path / "choice.npz", **choice.to_arrays())
    with np.load(tmp_path / "choice.npz", allow_pickle=False) as file:
        loaded = lt.samplers.MAKChoice.from_arrays(file)
    for field in dataclasses.fields(choice):
        old = getattr(choice, field.name)
        new = getattr(loaded, field.name)
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "must have the keys"),
        ({"spare": np.ones(3)}, "must have the keys.*spare"),
        ({"indices": np.ones((2, 3), int)}, "`indices` must have shape"),
        ({"losses": np.ones(39)}, r"`losses` must have shape \(40,\)"),
        ({"distances": np.ones(39)}, "`distances` must have shape"),
        ({"scores": np.ones(41)}, "`scores` must have shape"),
        ({"clusters": np.zeros(3, int)}, "`clusters` must have shape"),
        ({"clusters": np.full(40, 3)}, "`clusters` must lie in 0 to 2.*3 to"),
        ({"clusters": np.full(40, -1)}, "`clusters` must lie in 0 to 2"),
        ({"centers": np.ones(3)}, "`centers` must have shape"),
    ],
)
def test_damaged_arrays_are_refused(changes, message):
    arrays = lt.samplers.choose_mak(**small_case()).to_arrays()
    arrays = {**arrays, **changes}
    arrays = {name: a for name, a in arrays.items() if a is not None}
    with pytest.raises(ValueError, match=message):
        lt.samplers.MAKChoice.from_arrays(arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 151}, "budget=151, and 150 rows"),
        ({"budget": -1}, "budget=-1"),
        ({"budget": 1.5}, "budget=1.5"),
        ({"num_clusters": 101}, "num_clusters=101, and 100 rows"),
        ({"num_clusters": 0}, "num_clusters=0"),
        ({"candidate_factor": 0.9}, "candidate_factor=0.9"),
        ({"candidate_factor": np.nan}, "candidate_factor=nan"),
        ({"candidate_factor": np.inf}, "candidate_factor=inf"),
        ({"pool_losses": np.ones(149)}, "149 losses for 150 rows"),
        ({"pool_losses": np.ones((150, 1))}, "`pool_losses` must be real"),
        ({"pool_losses": np.full(150, np.nan)}, "`pool_losses` must be finite"),
        ({"seed": -2}, "seed=-2"),
        ({"engine": "gpu"}, "engine='gpu'"),
        ({"pool_features": np.zeros((0, 6))}, "`pool_features` must have"),
        ({"pool_features": np.ones((150, 5))}, "features. Received: 6 and 5"),
        (
            {"pool_features": np.full((150, 6), np.nan)},
            "`pool_features` must be finite.*row 0",
        ),
        ({"id_features": np.zeros((0, 6))}, "`id_features` must have shape"),
        (
            {"id_features": np.full((100, 6), np.inf)},
            "`id_features` must be finite",
        ),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        lt.samplers.choose_mak(**{**small_case(), **changes})
