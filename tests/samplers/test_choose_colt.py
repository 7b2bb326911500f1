"""The whole choice is its parts joined, and survives a checkpoint."""

import dataclasses

import numpy as np
import pytest

import keras_ltssl as lt
import reference


def small_case(seed=0):
    random = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2], [60, 25, 15])
    length = random.uniform(0.5, 4, size=(100, 1))
    return {
        "id_features": length
        * (np.eye(3, 6)[group] + 0.1 * random.normal(size=(100, 6))),
        "pool_features": random.normal(size=(80, 6)),
        # Low for the small groups: the tail.
        "scores": np.array([0.9, 0.5, 0.3])[group],
        "budget": 40,
        "num_clusters": 3,
    }, group


def test_choice_is_budgets_and_nearest_rows_of_the_clusters():
    case, group = small_case()
    choice = lt.samplers.choose_colt(**case, temperature=0.7)
    # Clusters are the groups, in another order.
    names = [set(choice.labels[group == g].tolist()) for g in range(3)]
    assert sorted(map(sorted, names)) == [[0], [1], [2]]
    assert choice.num_clusters == 3
    units = reference.unit(case["id_features"])
    for cluster in range(3):
        np.testing.assert_allclose(
            choice.centers[cluster],
            units[choice.labels == cluster].mean(axis=0),
            atol=1e-6,
        )
    scores, budgets = reference.cluster_budgets(
        case["scores"], choice.labels, 3, 40, 0.7
    )
    np.testing.assert_allclose(choice.cluster_scores, scores)
    assert choice.budgets.tolist() == budgets
    expected = reference.nearest_to_centers(
        case["pool_features"], choice.centers, budgets
    )
    assert choice.indices.tolist() == expected


def test_the_tail_comes_first_and_gets_most():
    case, group = small_case()
    choice = lt.samplers.choose_colt(**case)
    tail = [int(choice.labels[group == g][0]) for g in (2, 1, 0)]
    assert choice.tail_first.tolist() == tail
    assert np.all(np.diff(choice.budgets[tail]) < 0)


def test_a_cluster_of_outliers_gets_no_more_than_the_head_with_a_band():
    case, group = small_case()
    # The last group has the lowest scores; the second is the tail in the band.
    plain = lt.samplers.choose_colt(**case)
    banded = lt.samplers.choose_colt(**case, band=(0.5, 0.85))
    head, tail, outliers = (int(plain.labels[group == g][0]) for g in range(3))
    assert plain.tail_first[0] == outliers
    assert banded.tail_first[0] == tail
    assert banded.cluster_scores[head] == banded.cluster_scores[outliers] == 1
    assert abs(banded.budgets[head] - banded.budgets[outliers]) <= 2


def test_rows_of_each_cluster_are_nearest_first():
    case, _ = small_case()
    choice = lt.samplers.choose_colt(**case)
    units = reference.unit(case["id_features"])
    pool = reference.unit(case["pool_features"])
    together = []
    for cluster in range(3):
        center = reference.unit(choice.centers[cluster])
        members = choice.id_rows(cluster)
        assert (
            sorted(members) == np.flatnonzero(choice.labels == cluster).tolist()
        )
        assert np.all(np.diff(units[members] @ center) < 1e-9)
        chosen = choice.pool_rows(cluster)
        assert len(chosen) == choice.budgets[cluster]
        assert np.all(np.diff(pool[chosen] @ center) < 1e-12)
        together.extend(chosen)
    assert together == choice.indices.tolist()
    np.testing.assert_allclose(
        choice.cosines,
        np.sum(units * reference.unit(choice.centers)[choice.labels], axis=1),
        atol=1e-6,
    )


def test_the_same_seed_makes_the_same_choice():
    case, _ = small_case()
    case["num_clusters"] = 15
    one, two = (lt.samplers.choose_colt(**case, seed=5) for _ in range(2))
    for name, array in one.to_arrays().items():
        np.testing.assert_array_equal(array, two.to_arrays()[name])


def test_zero_id_features_have_cosine_zero():
    case, _ = small_case()
    case["id_features"][3] = 0
    choice = lt.samplers.choose_colt(**case)
    assert choice.cosines[3] == 0
    assert np.all(np.isfinite(choice.centers))


@pytest.mark.parametrize("engine", ["sklearn", "faiss"])
@pytest.mark.filterwarnings(
    # What scikit-learn tells about identical rows is what is tested here.
    "ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning"
)
def test_a_collapsed_encoder_still_gets_a_choice(engine):
    pytest.importorskip("faiss" if engine == "faiss" else "sklearn")
    choice = lt.samplers.choose_colt(
        np.ones((20, 4)),
        np.ones((30, 4)),
        np.arange(20),
        budget=8,
        num_clusters=3,
        engine=engine,
    )
    # One cluster has all the samples or several share them; the pool's rows
    # tie, so that they come in their own order.
    assert choice.indices.tolist() == list(range(8))
    empty = np.bincount(choice.labels, minlength=3) == 0
    assert np.isnan(choice.cluster_scores).tolist() == empty.tolist()
    assert not choice.budgets[empty].any()


def test_choice_survives_a_file(tmp_path):
    case, _ = small_case()
    choice = lt.samplers.choose_colt(**case)
    np.savez(tmp_path / "choice.npz", **choice.to_arrays())
    with np.load(tmp_path / "choice.npz", allow_pickle=False) as file:
        loaded = lt.samplers.OODChoice.from_arrays(file)
    for field in dataclasses.fields(choice):
        old = getattr(choice, field.name)
        new = getattr(loaded, field.name)
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)


def test_choice_cannot_be_changed():
    choice = lt.samplers.choose_colt(**small_case()[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        choice.indices = choice.indices[:3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": None}, "must have the keys"),
        ({"spare": np.ones(3)}, "must have the keys.*spare"),
        ({"indices": np.arange(39)}, r"\(40,\).*shape=\(39,\)"),
        ({"budgets": np.full(2, 20)}, r"`budgets` must have shape \(3,\)"),
        ({"cluster_scores": np.ones(2)}, "`cluster_scores` must have shape"),
        ({"labels": np.zeros(9, int)}, r"\(9,\) and \(100,\)"),
        ({"centers": np.ones(3)}, "`centers` must have shape"),
    ],
)
def test_damaged_arrays_are_refused(changes, message):
    arrays = lt.samplers.choose_colt(**small_case()[0]).to_arrays()
    arrays = {**arrays, **changes}
    arrays = {name: a for name, a in arrays.items() if a is not None}
    with pytest.raises(ValueError, match=message):
        lt.samplers.OODChoice.from_arrays(arrays)


@pytest.mark.parametrize("cluster", [-1, 3])
def test_unknown_clusters_are_refused(cluster):
    choice = lt.samplers.choose_colt(**small_case()[0])
    for method in (choice.pool_rows, choice.id_rows):
        with pytest.raises(ValueError, match=f"cluster={cluster}"):
            method(cluster)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 81}, "budget=81, and 80 rows"),
        ({"budget": -1}, "budget=-1"),
        ({"budget": 1.5}, "budget=1.5"),
        ({"num_clusters": 101}, "num_clusters=101, and 100 rows"),
        ({"num_clusters": 0}, "num_clusters=0"),
        ({"scores": np.ones(99)}, "99 scores for 100 rows"),
        ({"scores": np.full(100, np.nan)}, "`scores` must be finite"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"band": 0.9}, "`band` must be a pair"),
        ({"seed": -2}, "seed=-2"),
        ({"engine": "gpu"}, "engine='gpu'"),
        ({"pool_features": np.zeros((0, 6))}, "`pool_features` must have"),
        ({"pool_features": np.ones((80, 5))}, "features. Received: 6 and 5"),
        (
            {"pool_features": np.full((80, 6), np.nan)},
            "`pool_features` must be finite",
        ),
        ({"id_features": np.zeros((0, 6))}, "`id_features` must have shape"),
        (
            {"id_features": np.full((100, 6), np.inf)},
            "`id_features` must be finite",
        ),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    case, _ = small_case()
    with pytest.raises(ValueError, match=message):
        lt.samplers.choose_colt(**{**case, **changes})
