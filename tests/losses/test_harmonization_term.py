"""The harmonization term against the oracle, the golden files, closed forms."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient
from keras_ltssl.losses.harmonization_term import (
    harmonization_from_scores,
    target_scores,
)
from keras_ltssl.losses.kernels.sinkhorn_options import SinkhornOptions

GOLDEN = sorted(
    (Path(__file__).parents[1] / "golden").glob("geometric_*.npz"),
    key=lambda path: path.name,
)


def projections(batch=8, dim=6, seed=0, scale=1.0):
    z = np.random.default_rng(seed).normal(size=(batch, 2, dim)) * scale
    return z.astype("float32")


def simplex(num_targets, dim=6):
    return ops.convert_to_numpy(
        lt.initializers.SimplexETF()((num_targets, dim), "float32")
    )


@functools.cache
def compiled(**arguments):
    """Returns the term with these arguments, compiled where Keras would."""

    def run(z, targets, prior):
        return lt.losses.geometric_harmonization(z, targets, prior, **arguments)

    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(run)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(run)

    def term(z, targets, prior):
        return run(
            ops.convert_to_tensor(z),
            ops.convert_to_tensor(targets, "float32"),
            ops.convert_to_tensor(prior, "float32"),
        )

    return term


def close(ours, expected, relative=1e-5):
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours), expected, rtol=relative, atol=1e-6
    )


def oracle(z, targets, prior, gamma=0.1, sinkhorn=None):
    sinkhorn = sinkhorn or SinkhornOptions()
    labels = reference.harmonization_labels(
        z, targets, prior, sinkhorn.regularization, sinkhorn.iterations
    )
    return reference.geometric_harmonization(z, targets, labels, gamma)


@pytest.mark.every_backend
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_values_and_gradients(path):
    case = np.load(path)
    z, targets, prior = (
        case[key].astype("float32") for key in ("z", "targets", "prior")
    )

    arguments = {
        "sinkhorn": SinkhornOptions(
            float(case["regularization"]), int(case["iterations"])
        )
    }
    np.testing.assert_allclose(
        ops.convert_to_numpy(compiled(**arguments)(z, targets, prior)),
        case["per_sample"],
        rtol=1e-5,
    )

    def mean(z):
        return ops.mean(
            lt.losses.geometric_harmonization(z, targets, prior, **arguments)
        )

    value, gradient = value_and_gradient(mean, z)
    np.testing.assert_allclose(value, case["loss"], rtol=1e-5)
    largest = np.abs(case["grad"]).max()
    assert np.abs(gradient - case["grad"]).max() <= 1e-4 * largest


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_oracle_agrees_with_golden_files(path):
    case = np.load(path)
    values = reference.geometric_harmonization(
        case["z"], case["targets"], (case["q1"], case["q2"]), gamma=0.1
    )
    np.testing.assert_allclose(values, case["per_sample"], rtol=1e-9)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("prior", "arguments"),
    [
        (
            [0.3, 0, 0.5, 0, 0.2],
            {"gamma": 0.5, "sinkhorn": SinkhornOptions(iterations=20)},
        ),
        ([0.6, 0.1, 0.1, 0.1, 0.1], {"sinkhorn": SinkhornOptions(0.01)}),
    ],
    ids=["unused targets", "small regularization"],
)
def test_values_equal_the_oracle(prior, arguments):
    z, targets = projections(), simplex(5)
    # With ε = 0.01 the scores' own rounding is 1e-5 of a label.
    close(
        compiled(**arguments)(z, targets, prior),
        oracle(z, targets, prior, **arguments),
        relative=1e-4 if "gamma" not in arguments else 1e-5,
    )


@pytest.mark.every_backend
def test_gradient_equals_finite_differences_with_labels_held():
    z, targets = projections(5, 4), simplex(5, 4)
    prior = np.array([0.4, 0.3, 0.2, 0.1, 0])
    _, gradient = value_and_gradient(
        lambda z: ops.mean(
            lt.losses.geometric_harmonization(z, targets, prior)
        ),
        z,
    )
    labels = reference.harmonization_labels(z, targets, prior, 0.05, 300)
    expected = reference.numerical_gradient(
        lambda z: reference.geometric_harmonization(z, targets, labels, 0.1), z
    )
    assert np.abs(gradient - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_prior_is_equal_shares_by_default():
    z, targets = projections(), simplex(5)
    close(
        lt.losses.geometric_harmonization(z, targets),
        oracle(z, targets, np.full(5, 0.2)),
    )


def test_swapping_views_and_permuting_samples_changes_nothing():
    z, targets, prior = projections(), simplex(5), np.arange(5)
    term = ops.convert_to_numpy(compiled()(z, targets, prior))
    order = np.random.default_rng(1).permutation(len(z))
    close(compiled()(z[order, ::-1].copy(), targets, prior), term[order])


def test_a_single_sample_is_asked_for_the_prior():
    z, targets = projections(1), simplex(2)
    scores = reference.target_scores(z, targets)[0]
    prior = np.array([0.75, 0.25])
    expected = sum(
        prior @ (np.log(np.exp(t / 0.1).sum()) - t / 0.1) for t in scores
    )
    close(
        compiled(sinkhorn=SinkhornOptions(iterations=3))(z, targets, prior),
        [expected],
    )


def test_projections_on_their_targets_are_nearly_free():
    targets = simplex(4)
    z = np.repeat(targets[:, None], 2, axis=1)
    scores = np.array([1.0, -1 / 3, -1 / 3, -1 / 3])
    scores /= np.linalg.norm(scores)
    expected = 2 * np.log1p(3 * np.exp((scores[1] - scores[0]) / 0.1))
    close(
        compiled(sinkhorn=SinkhornOptions(0.01))(z, targets, np.ones(4)),
        np.full(4, expected),
        relative=1e-4,
    )


@pytest.mark.every_backend
def test_scale_does_not_matter_and_nothing_stays_finite():
    z, targets, prior = projections(6), simplex(3), np.full(3, 1 / 3)
    scale = np.array([1, 1e-30, 1e30, 1e-8, 1e8, 0], "float32")
    z *= scale[:, None, None]
    value, gradient = value_and_gradient(
        lambda z: ops.mean(
            lt.losses.geometric_harmonization(z, targets, prior)
        ),
        z,
    )
    expected = oracle(z, targets, prior)
    # Without any direction every target is as good as another.
    assert expected[-1] == pytest.approx(2 * np.log(3))
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert (gradient[-1] == 0).all()


@pytest.mark.every_backend
def test_half_precision_projections_are_computed_in_float32():
    targets, prior = simplex(5), np.full(5, 0.2)
    z = ops.cast(ops.convert_to_tensor(projections()), "bfloat16")
    term = compiled()(z, targets, prior)
    assert keras.backend.standardize_dtype(term.dtype) == "float32"
    rounded = ops.convert_to_numpy(ops.cast(z, "float32"))
    close(term, oracle(rounded, targets, prior))


@pytest.mark.every_backend
def test_training_lowers_the_term_compiled_inside_a_condition():
    z, targets = projections(32), simplex(5)

    def term(y_true, y_pred):
        return ops.cond(
            ops.all(y_true > 0),
            lambda: lt.losses.geometric_harmonization(
                y_pred, targets, sinkhorn={"tolerance": 1e-6}
            ),
            lambda: ops.zeros_like(y_pred[:, 0, 0]),
        )

    encoder = keras.Sequential([keras.Input((2, 6)), keras.layers.Dense(6)])
    encoder.compile(
        keras.optimizers.SGD(0.1),
        loss=term,
        jit_compile=keras.backend.backend() != "torch",
    )
    losses = encoder.fit(
        z, np.ones(32), batch_size=32, epochs=20, verbose=0
    ).history["loss"]
    assert losses[-1] < losses[0] - 0.1


def test_scores_are_unit_vectors_over_the_targets():
    z, targets = projections(), simplex(5)
    scores = target_scores(z, targets)
    close(scores, reference.target_scores(z, targets))


@pytest.mark.parametrize("shape", [(8, 6), (8, 3, 6), (8, 2, 6, 1)])
def test_anything_but_two_views_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(batch, 2, dim\)"):
        lt.losses.geometric_harmonization(np.ones(shape, "f4"), simplex(5))
    with pytest.raises(ValueError, match=r"\(batch, 2, targets\)"):
        harmonization_from_scores(np.ones(shape, "f4"))


@pytest.mark.parametrize("shape", [(6,), (5, 7), (1, 5, 6)])
def test_targets_of_another_dimension_are_refused(shape):
    with pytest.raises(ValueError, match=r"`targets` must have shape .*K, 6"):
        lt.losses.geometric_harmonization(
            projections(), np.ones(shape, "float32")
        )


@pytest.mark.parametrize("gamma", [0, -1, float("nan"), True])
def test_impossible_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match="`gamma` must be a finite number"):
        lt.losses.geometric_harmonization(
            projections(), simplex(5), gamma=gamma
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": [1.0, 2.0]}, "`prior` must hold one share"),
        ({"sinkhorn": {"regularization": 0}}, "`regularization` must be"),
        ({"sinkhorn": {"iterations": 0}}, "`iterations` must be"),
        ({"sinkhorn": {"tolerance": -1}}, "`tolerance` must be"),
        ({"sinkhorn": {"epsilon": 1}}, "`sinkhorn` must be SinkhornOptions"),
    ],
)
def test_impossible_scaling_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        lt.losses.geometric_harmonization(
            projections(), simplex(5), **arguments
        )
