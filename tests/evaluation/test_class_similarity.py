"""Cosines between class means, against loops, and what is refused."""

import numpy as np
import pytest

from keras_ltssl.evaluation import class_similarity


def sample(classes=5, dim=7, seed=0):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(classes), 4))
    features = random.normal(size=(classes, dim))[labels]
    return features + random.normal(size=features.shape), 10 + labels


@pytest.mark.parametrize("centered", [True, False])
def test_it_equals_a_slow_loop(centered):
    features, labels = sample()
    means = np.array(
        [
            np.mean(
                [
                    row / np.linalg.norm(row)
                    for row, label in zip(features, labels, strict=True)
                    if label == c
                ],
                axis=0,
            )
            for c in range(10, 15)
        ]
    )
    if centered:
        means -= means.mean(axis=0)
    expected = np.array(
        [
            [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in means]
            for a in means
        ]
    )
    found = class_similarity(
        features, labels, [9, 1, 7, 30, 2], centered=centered
    )
    np.testing.assert_allclose(found.cosines, expected, atol=1e-9)
    assert found.classes.tolist() == [10, 11, 12, 13, 14]
    assert found.head_first.tolist() == [3, 0, 2, 4, 1]
    nearest = [
        max(expected[c, d] for d in range(5) if d != c) for c in range(5)
    ]
    np.testing.assert_allclose(found.nearest, nearest)
    assert found.nearest_of(0) == pytest.approx(nearest[1])
    assert found.nearest_of(1) == pytest.approx(nearest[4])
    assert found.nearest_of(2) == pytest.approx(
        np.mean([nearest[c] for c in (0, 2, 3)])
    )


def test_means_as_far_apart_as_can_be_have_the_cosines_of_a_simplex():
    found = class_similarity(np.eye(6) + 5, np.arange(6))
    others = ~np.eye(6, dtype="bool")
    np.testing.assert_allclose(found.cosines[others], -1 / 5)


def test_a_collapsed_tail_is_nearer_to_another_class():
    features, labels = sample(9, 32)
    positions = labels - 10
    features = np.random.default_rng(3).normal(size=(9, 32))[positions]
    features[positions >= 6] = features[positions == 0][0]
    features += 0.1 * np.random.default_rng(1).normal(size=features.shape)
    counts = np.arange(90, 0, -10)
    found = class_similarity(features, labels, counts)
    assert found.nearest_of(0) > 0.9
    assert found.nearest_of(1) < 0.6


def test_counts_are_those_of_the_labels_unless_given():
    features, _ = sample(4)
    labels = np.array([0] * 8 + [1] * 4 + [2] * 3 + [7])
    assert class_similarity(features, labels).class_counts.tolist() == [
        8,
        4,
        3,
        1,
    ]


def test_after_a_total_collapse_nothing_is_similar_or_not():
    found = class_similarity(np.ones((6, 3)), np.arange(6) % 3)
    assert np.isnan(found.cosines).all()
    assert np.isnan(found.nearest_of(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.ones(20)}, r"shape=\(20,\)"),
        ({"features": np.full((20, 3), np.nan)}, "`features` must be finite"),
        ({"labels": np.arange(5)}, "5 labels for 20 rows"),
        ({"labels": np.zeros(20, int)}, "at least 2 classes. Received: 1"),
        ({"labels": np.arange(20) % 2}, "at least 3 classes"),
        ({"class_counts": [1, 2]}, r"each of 5 classes.*shape=\(2,\)"),
        ({"class_counts": [0.5] * 5}, "float64"),
        ({"groups": "x"}, "groups='x'"),
    ],
)
def test_bad_input_is_named(changes, message):
    features, labels = sample()
    with pytest.raises(ValueError, match=message):
        class_similarity(**{"features": features, "labels": labels, **changes})
