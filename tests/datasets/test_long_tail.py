import numpy as np
import pytest

from keras_ltssl.datasets import long_tail_counts, long_tail_indices


def exact_exponential_counts(max_count, num_classes, imbalance):
    """The largest k with k <= max_count * imbalance^(-c / (C - 1)), exactly.

    Raised to the power C - 1 both sides are integers, so nothing is rounded.
    """
    power = num_classes - 1
    counts = []
    for c in range(num_classes):
        k = max_count
        while k**power * imbalance**c > max_count**power:
            k -= 1
        counts.append(k)
    return counts


@pytest.mark.parametrize(
    ("max_count", "num_classes", "total", "last"),
    [
        (5000, 10, 12406, 50),
        (500, 100, 10847, 5),
        (4500, 10, 11165, 45),
        (450, 100, 9754, 4),
    ],
)
def test_exponential_counts_are_those_of_the_published_cifar_splits(
    max_count, num_classes, total, last
):
    counts = long_tail_counts(max_count, num_classes, 100)
    assert counts.dtype == np.int64
    assert counts.shape == (num_classes,)
    assert counts[0] == max_count
    assert counts[-1] == last
    assert counts.sum() == total


def test_exponential_counts_equal_exact_integer_arithmetic():
    for max_count in (100, 343, 500, 1000):
        for num_classes in (2, 3, 7, 11):
            for imbalance in (1, 2, 3, 7, 10, 49, 50, 100):
                case = (max_count, num_classes, imbalance)
                np.testing.assert_array_equal(
                    long_tail_counts(*case),
                    exact_exponential_counts(*case),
                    err_msg=str(case),
                )


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [
        (4, [100, 100, 10, 10]),
        (5, [100, 100, 100, 10, 10]),
        (1, [100]),
    ],
)
def test_step_profile_keeps_the_first_half_of_the_classes_full(
    num_classes, expected
):
    counts = long_tail_counts(100, num_classes, 10, profile="step")
    assert counts.tolist() == expected


def test_pareto_profile_is_a_straight_line_in_logarithms():
    counts = long_tail_counts(10**9, 50, 100, profile="pareto")
    assert counts[0] == 10**9
    assert counts[-1] == 10**7
    slopes = np.diff(np.log(counts)) / np.diff(np.log(np.arange(1, 51)))
    np.testing.assert_allclose(slopes, -np.log(100) / np.log(50), rtol=1e-5)


def test_pareto_tail_is_flatter_and_its_head_steeper_than_exponential():
    exponential = long_tail_counts(5000, 10, 100)
    pareto = long_tail_counts(5000, 10, 100, profile="pareto")
    assert pareto[1] < exponential[1]
    assert pareto[-2] / pareto[-1] < exponential[-2] / exponential[-1]


@pytest.mark.parametrize("profile", ["exponential", "step", "pareto"])
@pytest.mark.parametrize("imbalance", [1, 1.5, 20, 100])
def test_every_profile_falls_from_max_count_to_its_share(profile, imbalance):
    counts = long_tail_counts(600, 12, imbalance, profile=profile)
    assert counts[0] == 600
    assert counts[-1] == int(600 / imbalance + 1e-9)
    assert np.all(np.diff(counts) <= 0)


@pytest.mark.parametrize("profile", ["exponential", "step", "pareto"])
def test_single_class_keeps_max_count(profile):
    assert long_tail_counts(7, 1, 5, profile=profile).tolist() == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (5000, 10, 0.01),
            r"`imbalance` must be a finite number >= 1.*did you mean 100\?",
        ),
        ((5000, 10, 0), "`imbalance` must be a finite number >= 1"),
        ((5000, 10, -2), "`imbalance` must be a finite number >= 1"),
        ((5000, 10, float("nan")), "`imbalance` must be a finite number >= 1"),
        ((5000, 10, float("inf")), "`imbalance` must be a finite number >= 1"),
        ((5000, 10, "100"), "`imbalance` must be a finite number >= 1"),
        ((0, 10, 100), "`max_count` must be an integer >= 1"),
        ((50.0, 10, 100), "`max_count` must be an integer >= 1"),
        ((True, 10, 1), "`max_count` must be an integer >= 1"),
        ((5000, 0, 100), "`num_classes` must be an integer >= 1"),
        ((99, 10, 100), "`max_count` must be >= `imbalance`"),
        ((5000, 10, 100, "linear"), "`profile` must be one of"),
    ],
)
def test_bad_argument_of_counts_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        long_tail_counts(*arguments)


BALANCED = np.tile(np.arange(10), 300)


@pytest.mark.parametrize("profile", ["exponential", "step", "pareto"])
def test_chosen_rows_have_the_counts_of_the_profile(profile):
    rows = long_tail_indices(BALANCED, 50, profile=profile, seed=4)
    counts = np.bincount(BALANCED[rows])
    np.testing.assert_array_equal(
        np.sort(counts)[::-1], long_tail_counts(300, 10, 50, profile)
    )


def test_chosen_rows_are_ascending_and_distinct():
    rows = long_tail_indices(BALANCED, 50)
    assert rows.dtype == np.int64
    assert np.all(np.diff(rows) > 0)


def test_same_seed_chooses_the_same_rows():
    np.testing.assert_array_equal(
        long_tail_indices(BALANCED, 50, seed=3),
        long_tail_indices(BALANCED, 50, seed=3),
    )


def test_global_random_numbers_neither_matter_nor_move():
    np.random.seed(1)  # noqa: NPY002
    first = long_tail_indices(BALANCED, 50)
    state = np.random.get_state()[2]  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.get_state()[2] == state  # noqa: NPY002
    np.testing.assert_array_equal(first, long_tail_indices(BALANCED, 50))


def test_every_class_is_the_most_frequent_one_about_equally_often():
    heads = [
        np.bincount(BALANCED[long_tail_indices(BALANCED, 50, seed=s)]).argmax()
        for s in range(200)
    ]
    # 20 expected of each; a binomial count is in 6 ... 40 but for 1 in 10^4.
    times = np.bincount(heads, minlength=10)
    assert times.min() >= 6
    assert times.max() <= 40


def test_kept_images_of_a_class_are_a_random_choice():
    kept = np.zeros(3000)
    for seed in range(100):
        kept[long_tail_indices(BALANCED, 50, seed=seed)] += 1
    # Early and late images of the set are kept equally often.
    early, late = kept[:1500].sum(), kept[1500:].sum()
    assert abs(early - late) < 0.03 * (early + late)


def test_larger_imbalance_keeps_a_subset():
    mild = long_tail_indices(BALANCED, 10, seed=2)
    strong = long_tail_indices(BALANCED, 100, seed=2)
    assert len(strong) < len(mild)
    assert np.isin(strong, mild).all()


def test_labels_need_not_be_contiguous_nor_positive():
    names = np.array([-7, 3, 1000, 12, 5, 6, 70, 80, 90, 10**12])
    np.testing.assert_array_equal(
        long_tail_indices(np.sort(names)[BALANCED], 20, seed=1),
        long_tail_indices(BALANCED, 20, seed=1),
    )


@pytest.mark.parametrize("profile", ["exponential", "step", "pareto"])
@pytest.mark.parametrize("seed", range(6))
def test_default_max_count_is_the_largest_that_fits(profile, seed):
    sizes = np.array([90, 40, 200, 60, 75])
    labels = np.repeat(np.arange(5), sizes)
    rows = long_tail_indices(labels, 4, profile=profile, seed=seed)
    largest = np.bincount(labels[rows]).max()
    np.testing.assert_array_equal(
        rows, long_tail_indices(labels, 4, int(largest), profile, seed)
    )
    with pytest.raises(ValueError, match="has too few images"):
        long_tail_indices(labels, 4, int(largest) + 1, profile, seed)


def test_scarce_class_is_named():
    labels = np.repeat([4, 17, 23], [100, 12, 100])
    with pytest.raises(
        ValueError, match=r"Class 17 has too few.*it has 12 and would keep 100"
    ):
        long_tail_indices(labels, 1, max_count=100)


def test_scarce_class_is_named_when_no_max_count_fits():
    labels = np.repeat([4, 17], [100, 5])
    with pytest.raises(ValueError, match=r"Class (4|17) has too few"):
        long_tail_indices(labels, 200)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (BALANCED / 1.0, {}, "`labels` must be a one-dimensional array of int"),
        (BALANCED[:, None], {}, "`labels` must be a one-dimensional array"),
        ([], {}, "`labels` must be a one-dimensional array"),
        (BALANCED, {"imbalance": 0.02}, "did you mean 50"),
        (BALANCED, {"max_count": 0}, "`max_count` must be an integer >= 1"),
        (BALANCED, {"max_count": 40}, "`max_count` must be >= `imbalance`"),
        (BALANCED, {"profile": "flat"}, "`profile` must be one of"),
        (BALANCED, {"seed": -1}, "`seed` must be an integer >= 0"),
        (BALANCED, {"seed": 0.5}, "`seed` must be an integer >= 0"),
    ],
)
def test_bad_argument_of_indices_is_named(labels, options, message):
    with pytest.raises(ValueError, match=message):
        long_tail_indices(labels, **{"imbalance": 50, **options})
