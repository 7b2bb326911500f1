"""Sinkhorn against the oracle, the golden files and closed forms."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
import reference
from gradients import value_and_gradient

GOLDEN = sorted(
    (Path(__file__).parents[1] / "golden").glob("geometric_*.npz"),
    key=lambda path: path.name,
)


@functools.cache
def compiled(**arguments):
    """Returns `sinkhorn` with these arguments, compiled where Keras would."""

    def run(scores, prior):
        return lt.losses.sinkhorn(scores, prior, **arguments)

    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(run)
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(run, jit_compile=True)

    def labels(scores, prior):
        return ops.convert_to_numpy(
            run(
                ops.convert_to_tensor(scores, "float32"),
                ops.convert_to_tensor(prior, "float32"),
            )
        )

    return labels


def close(ours, expected):
    # q = exp of a sum of log potentials: with ε = 0.01 these reach 100, whose
    # float32 rounding alone is 4e-6 of q.
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


PROBLEMS = ["random", "peaked", "collapsed", "zeros", "peaked zeros", "skewed"]


def problem(kind, batch=24, targets=7, seed=0):
    """Returns cosine-like scores and a prior of that kind."""
    generator = np.random.default_rng(seed)
    prior = np.full(targets, 1 / targets)
    scores = generator.normal(size=(batch, targets))
    if "peaked" in kind:
        favorite = generator.integers(targets, size=batch)
        scores += 8 * np.eye(targets)[favorite]
    if kind == "collapsed":
        scores[:, 0] += 20
    if "zeros" in kind:
        prior = np.where(np.arange(targets) % 2, 0, generator.random(targets))
    if kind == "skewed":
        prior = 10.0 ** -np.arange(targets)
    return reference.unit(scores), prior / prior.sum()


@pytest.mark.every_backend
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_labels_of_both_views_in_one_call(path):
    case = np.load(path)
    scores = reference.target_scores(case["z"], case["targets"])
    labels = compiled(
        regularization=float(case["regularization"]),
        iterations=int(case["iterations"]),
    )(scores.transpose(1, 0, 2), case["prior"])
    close(labels[0], case["q1"])
    close(labels[1], case["q2"])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_oracle_agrees_with_golden_files(path):
    case = np.load(path)
    q1, q2 = reference.harmonization_labels(
        case["z"],
        case["targets"],
        case["prior"],
        case["regularization"],
        int(case["iterations"]),
    )
    np.testing.assert_allclose(q1, case["q1"], rtol=1e-9)
    np.testing.assert_allclose(q2, case["q2"], rtol=1e-9)


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("regularization", [0.05, 0.01])
def test_labels_equal_the_oracle(kind, regularization):
    scores, prior = problem(kind)
    labels = compiled(regularization=regularization)(scores, prior)
    close(labels, reference.sinkhorn(scores, prior, regularization, 300))
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert (labels[:, prior == 0] == 0).all()


@pytest.mark.parametrize("iterations", [1, 10])
def test_few_iterations_start_at_the_exponential_itself(iterations):
    scores, prior = problem("peaked")
    labels = compiled(iterations=iterations)(scores, prior)
    close(labels, reference.sinkhorn(scores, prior, 0.05, iterations))


def test_columns_are_used_as_the_prior_says():
    for kind in ("random", "zeros", "skewed"):
        scores, prior = problem(kind)
        labels = compiled(regularization=0.05)(scores, prior)
        np.testing.assert_allclose(labels.mean(axis=0), prior, atol=1e-6)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_rows_that_do_not_differ_share_targets_by_the_prior(size):
    _, prior = problem("zeros")
    same = size * np.random.default_rng(0).normal(size=7)
    labels = compiled(regularization=0.05)(np.tile(same, (24, 1)), prior)
    close(labels, np.tile(prior, (24, 1)))


@pytest.mark.every_backend
def test_scores_beyond_any_exponential_give_an_assignment():
    # exp(1e4 / 0.01) has 434,294 digits.
    scores = 1e4 * np.eye(7)[np.arange(28) % 7]
    labels = compiled(regularization=0.01)(scores, np.full(7, 1 / 7))
    close(labels, scores / 1e4)


@pytest.mark.every_backend
@pytest.mark.parametrize("tolerance", [None, 1e-6])
def test_labels_equal_the_oracle_whichever_way_they_are_found(tolerance):
    # From scores that need no logs at all to such that need many rounds.
    labels = compiled(regularization=1.0, tolerance=tolerance)
    for kind in ("peaked zeros", "skewed", "collapsed"):
        scores, prior = problem(kind)
        prior[2] = 1e-12
        prior /= prior.sum()
        for scale in (1e-3, 1, 4, 8, 12, 16, 20, 28, 40, 80):
            expected = reference.sinkhorn(scale * scores, prior, 1.0, 300)
            close(labels(scale * scores, prior), expected)


def test_permuting_samples_permutes_labels():
    scores, prior = problem("peaked zeros")
    order = np.random.default_rng(1).permutation(len(scores))
    labels = compiled(regularization=0.05)
    close(labels(scores[order], prior), labels(scores, prior)[order])


def test_each_view_is_a_problem_of_its_own():
    first, prior = problem("peaked")
    second, _ = problem("collapsed", seed=1)
    labels = compiled(regularization=0.01)
    both = labels(np.stack([first, second]), prior)
    close(both[0], labels(first, prior))
    close(both[1], labels(second, prior))


def test_a_batch_of_one_gets_the_prior():
    scores, prior = problem("zeros", batch=1)
    close(compiled(iterations=3)(scores, prior), prior[None])


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("regularization", [0.05, 0.01])
def test_early_stopping_changes_nothing_by_more_than_a_millionth(
    kind, regularization
):
    for seed in range(3):
        scores, prior = problem(kind, seed=seed)
        whole = compiled(regularization=regularization)(scores, prior)
        early = compiled(regularization=regularization, tolerance=1e-6)(
            scores, prior
        )
        np.testing.assert_allclose(early, whole, rtol=0, atol=1e-6)
        np.testing.assert_allclose(early.sum(axis=1), 1, atol=1e-6)


def test_early_stopping_holds_at_the_size_of_a_training_batch():
    # Sums of 512 numbers round more than those of 24.
    scores, prior = problem("random", batch=512, targets=100)
    whole = compiled(regularization=0.05)(scores, prior)
    early = compiled(regularization=0.05, tolerance=1e-6)(scores, prior)
    np.testing.assert_allclose(early, whole, rtol=0, atol=1e-6)


@pytest.mark.every_backend
@pytest.mark.parametrize("noise", [8.0, 2.5, 1.8, 1.0])
def test_iterations_that_are_not_done_change_nothing(noise):
    # From scores of a few iterations to scores that 300 do not balance.
    generator = np.random.default_rng(0)
    targets = ops.convert_to_numpy(
        lt.initializers.SimplexETF()((20, 32), "float32")
    )
    shares = 0.9 ** np.arange(20)
    nearest = generator.choice(20, 96, p=shares / shares.sum())
    z = targets[nearest] + noise * generator.normal(size=(96, 32)) / 32**0.5
    scores, prior = reference.target_scores(z, targets), np.full(20, 1 / 20)
    close(
        compiled(regularization=0.1)(scores, prior),
        reference.sinkhorn(scores, prior, 0.1, 300),
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("iterations", [20, 300])
def test_a_target_that_is_hardly_used_gets_nothing(iterations):
    scores, prior = problem("skewed")
    scale = compiled(iterations=iterations)
    without = np.where(np.arange(len(prior)) == 2, 0, prior)
    nearly = np.where(np.arange(len(prior)) == 2, 1e-40, prior)
    np.testing.assert_array_equal(scale(scores, nearly), scale(scores, without))


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="It rounds PyTorch's products."
)
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_labels_are_finite_where_products_are_those_of_a_gpu(seed, monkeypatch):
    import torch

    def rounded(x):  # To the 10 bits of TF32.
        bits = x.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    exact = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor,
        "__matmul__",
        lambda a, b: exact(rounded(a), rounded(b)),
    )
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(32, 8)) @ generator.normal(size=(8, 40))
    scores /= np.linalg.norm(scores, axis=1, keepdims=True)
    # As a streaming prior is after thousands of steps.
    prior = generator.dirichlet(np.full(40, 0.02))
    labels = lt.losses.sinkhorn(
        ops.convert_to_tensor(scores, "float32"),
        ops.convert_to_tensor(prior, "float32"),
    )
    sums = ops.convert_to_numpy(ops.sum(labels, axis=-1))
    np.testing.assert_allclose(sums, 1, atol=1e-3)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="Kernels are of PyTorch."
)
@pytest.mark.parametrize(("noise", "most"), [(8.0, 79), (1.0, 557)])
def test_most_iterations_are_not_done(noise, most):
    from counting import count_kernels

    generator = np.random.default_rng(0)
    targets = ops.convert_to_numpy(
        lt.initializers.SimplexETF()((20, 32), "float32")
    )
    nearest = generator.choice(20, 96)
    z = targets[nearest] + noise * generator.normal(size=(96, 32)) / 32**0.5
    scores = ops.convert_to_tensor(
        reference.target_scores(z, targets), "float32"
    )
    assert (
        count_kernels(lambda: lt.losses.sinkhorn(scores, regularization=0.1))
        <= most
    )


@pytest.mark.every_backend
def test_early_stopping_leaves_iterations_out():
    scores, prior = problem("skewed", seed=1)
    whole = compiled(regularization=0.01)(scores, prior)
    early = compiled(regularization=0.01, tolerance=0.3)(scores, prior)
    change = np.abs(early - whole).max()
    assert 1e-5 < change < 0.3


@pytest.mark.every_backend
def test_no_gradient_flows():
    scores, prior = problem("random", batch=6)
    scores = scores.astype("float32")

    def product(scores):
        return ops.sum(scores * lt.losses.sinkhorn(scores, prior))

    _, gradient = value_and_gradient(product, scores)
    close(gradient, reference.sinkhorn(scores, prior, 0.05, 300))


@pytest.mark.every_backend
def test_half_precision_scores_are_scaled_in_float32():
    scores, prior = problem("peaked")
    scores = ops.cast(ops.convert_to_tensor(scores, "float32"), "float16")
    labels = lt.losses.sinkhorn(scores, prior, 0.01, iterations=10)
    assert keras.backend.standardize_dtype(labels.dtype) == "float32"
    close(
        ops.convert_to_numpy(labels),
        reference.sinkhorn(ops.convert_to_numpy(scores), prior, 0.01, 10),
    )


def test_a_prior_may_be_counts():
    scores, _ = problem("random")
    scores = scores.astype("float32")
    counts = [5, 0, 1, 2, 0, 3, 1]
    close(
        ops.convert_to_numpy(lt.losses.sinkhorn(scores, counts)),
        reference.sinkhorn(scores, np.array(counts) / 12, 0.05, 300),
    )


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([0.5, 0.5], r"`prior` must hold one share for each .* shape \(7,\)"),
        (np.ones((7, 1)), r"`prior` must hold one share"),
        ([-0.1] + [1.1 / 6] * 6, "`prior` must hold finite numbers >= 0"),
        ([float("nan")] * 7, "`prior` must hold finite numbers >= 0"),
        ([float("inf")] + [0] * 6, "`prior` must hold finite numbers >= 0"),
        ([0] * 7, "`prior` must give at least one target .* all zero"),
    ],
)
def test_impossible_prior_is_refused(prior, message):
    scores, _ = problem("random")
    with pytest.raises(ValueError, match=message):
        lt.losses.sinkhorn(scores, prior)


def test_prior_tensor_of_another_length_is_refused():
    scores, _ = problem("random")
    with pytest.raises(ValueError, match=r"`prior` must hold one share"):
        lt.losses.sinkhorn(scores, ops.ones((6,)))


@pytest.mark.parametrize("shape", [(7,), (2, 2, 4, 7)])
def test_scores_of_another_rank_are_refused(shape):
    with pytest.raises(ValueError, match=r"`scores` must have shape \(batch"):
        lt.losses.sinkhorn(np.ones(shape, "float32"))


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", ["regularization", "tolerance"])
def test_impossible_number_is_refused(name, value):
    scores, _ = problem("random")
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
        lt.losses.sinkhorn(scores, **{name: value})


@pytest.mark.parametrize("iterations", [0, -1, 2.5, True])
def test_impossible_iterations_are_refused(iterations):
    scores, _ = problem("random")
    with pytest.raises(ValueError, match="`iterations` must be an integer"):
        lt.losses.sinkhorn(scores, iterations=iterations)
