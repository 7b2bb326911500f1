"""Optimal-transport scaling of scores into balanced surrogate labels."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_ltssl.backend.compilation import compiled_by_xla
from keras_ltssl.losses.kernels.sinkhorn_options import SinkhornOptions
from keras_ltssl.losses.kernels.unit_views import as_floats
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    as_tensor,
    check_array_of_numbers,
)

# Scalings may grow to exp(±25) before they are folded into the potentials:
# what float32 drops below exp(-87) is then less than exp(-37) of any sum.
_RANGE = 25.0

# The same for scalings that start at the scores: what float32 drops below
# exp(-87) is then less than exp(-23) of any sum.
_REACH = 64.0

# Iterations between two looks at whether scaling may stop.
_WINDOW = 25


def check_prior(prior: Any, num_targets: int) -> Tensor:
    """Returns target shares that sum to 1, `(K,)`; raises if they are none.

    Values are checked where they are known ahead (NumPy arrays and sequences);
    of a tensor only the shape is.
    """
    known = isinstance(prior, (np.ndarray, list, tuple))
    if known:
        check_array_of_numbers("prior", prior)
        prior = np.asarray(prior, "float64")
    else:
        prior = as_tensor("prior", prior)
    if len(prior.shape) != 1 or prior.shape[0] not in (num_targets, None):
        raise ValueError(
            "`prior` must hold one share for each target, shape "
            f"({num_targets},). Received: prior.shape={tuple(prior.shape)}"
        )
    if known:
        if not np.isfinite(prior).all() or (prior < 0).any():
            raise ValueError(
                "`prior` must hold finite numbers >= 0. "
                f"Received: prior={prior.tolist()}"
            )
        if not prior.any():
            raise ValueError(
                "`prior` must give at least one target a share > 0. "
                "Received: all zero"
            )
        return prior / prior.sum()
    return ops.stop_gradient(prior / ops.sum(prior))


def sinkhorn(
    scores: Tensor,
    prior: Tensor | None = None,
    regularization: float = 0.05,
    iterations: int = 300,
    tolerance: float | None = None,
) -> Tensor:
    """Turns scores into surrogate labels that share out the targets by a prior.

        Q ← exp(scores / ε)
        repeat:  Q_:k ← Q_:k · prior_k / Σ_b Q_bk,   Q_b: ← Q_b: / (B Σ_k Q_bk)
        q = B · Q

    Rows come last, so each row of q sums to 1 and column k to about
    B · prior_k. A target of prior 0 gets exactly nothing. Computed in float32
    (float64 stays float64). No gradient flows.

    Any ε is safe: log-sum-exps move the potentials until what is left of the
    way provably fits the range of floats, and plain products go that way: for
    cosines at ε = 0.05, mostly all of it (how that is decided is this package's
    own design).

    Args:
        scores: Scores of each sample and target, `(batch, K)`, or of several
            views, `(views, batch, K)`, each view a problem of its own.
        prior: Share of each target, `(K,)`, numbers >= 0, not all zero. They
            are divided by their sum, so counts will do. Defaults to `None`,
            equal shares.
        regularization: ε > 0, in the unit of the scores; the smaller, the
            closer labels come to 0 and 1. Defaults to `0.05`.
        iterations: Integer >= 1. Defaults to `300`.
        tolerance: Largest change of any entry of the result for which
            iterations may be left out, > 0. How far the column scalings moved
            in so many iterations (their summed marginal errors) bounds how far
            they move in as many more, hence what all iterations left could
            change. That holds for every input, up to the rounding of floats,
            so inputs that converge slowly run to their end. `1e-6` is near
            that rounding and may stop later than `1e-5` does. Defaults to
            `None`: all iterations.

    Returns:
        Surrogate labels, of the shape of `scores`.

    Raises:
        ValueError: If `scores` has another rank, `prior` has another length or,
            where its values are known ahead, is negative, not finite or all
            zero, or another argument is out of range.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> scores = np.array([[0.9, 0.1], [0.8, 0.1], [0.7, 0.6]], "float32")
    >>> labels = lt.losses.sinkhorn(scores, prior=[2, 1], regularization=0.2)
    >>> np.asarray(labels).astype(float).round(2).tolist()
    [[0.91, 0.09], [0.86, 0.14], [0.23, 0.77]]

    Reference:
        - [Sinkhorn Distances: Lightspeed Computation of Optimal
          Transport](https://arxiv.org/abs/1306.0895), Cuturi, NeurIPS 2013
    """
    scores = ops.stop_gradient(as_floats(as_tensor("scores", scores)))
    if len(scores.shape) not in (2, 3):
        raise ValueError(
            "`scores` must have shape (batch, targets) or (views, batch, "
            f"targets). Received: scores.shape={tuple(scores.shape)}"
        )
    SinkhornOptions(regularization, iterations, tolerance)  # Checks them.
    num_targets = scores.shape[-1]
    if prior is None:
        prior = np.full(num_targets, 1 / num_targets)
    prior = check_prior(prior, num_targets)

    problems = scores if len(scores.shape) == 3 else scores[None]
    scale = _compiled_scale(float(regularization), int(iterations), tolerance)
    labels = scale(problems, ops.cast(prior, scores.dtype))
    # Behind the loops, too: TensorFlow would differentiate them in a `cond`.
    labels = ops.stop_gradient(labels)
    return labels if len(scores.shape) == 3 else labels[0]


@functools.lru_cache(maxsize=64)
def _compiled_scale(
    regularization: float, iterations: int, tolerance: float | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns `_scale` with these settings, compiled once."""
    return compiled_by_xla(
        functools.partial(
            _scale,
            regularization=regularization,
            iterations=iterations,
            tolerance=tolerance,
        )
    )


def _scale(
    scores: Tensor,
    prior: Tensor,
    regularization: float,
    iterations: int,
    tolerance: float | None,
) -> Tensor:
    """Scales `(problems, batch, K)` scores; see `sinkhorn`.

    In potentials f, g the matrix is exp(S + f_b + g_k). Iterations are products
    of a kernel exp(S + f + g) with two vectors while that provably fits floats:

    - All of them from f = 0 = g, without a log, where scores span little. An
      iteration is a map of logs that is monotone and commutes with adding
      constants, so it moves nothing further from a fixed point. If the entries
      of S go from -R to 0 with a 0 in each row, f spans at most R + log K
      there. Started from f that spans F, a sum is then never smaller beside its
      largest addend than `span` below says.
    - Else a round does one iteration in logs and folds f, g into the kernel.
      Its rows now sum to 1, and its column sums tell how far, e, the next
      iteration moves log potentials apart. For the same reason j more
      iterations move none by more than j·e: as many as stay within `_RANGE` are
      products. e falls quickly: of 300 iterations on cosines at ε = 0.01, at
      most 8 were rounds of their own.
    """
    # A softmax moves by at most a quarter of what its logits move apart; half
    # of that is left to rounding.
    allowed = 2.0 * (tolerance or 0.0)
    live = prior > 0
    unused = ops.where(live, ops.zeros_like(prior), -math.inf)
    largest = ops.amax(scores + unused, axis=-1, keepdims=True)
    # Differences first: the entries that matter are near 0 and lose no digits.
    # Only a target of prior 0 can be above 0.
    exponents = ops.minimum((scores - largest) / regularization, 0.0)
    start = largest[..., 0] / regularization
    start = start - ops.amax(start, axis=-1, keepdims=True)
    batch = ops.cast(ops.shape(scores)[1], prior.dtype)
    columns = batch * prior
    most = ops.amax(columns)
    least = ops.amin(ops.where(live, columns, most))
    # 1.5·R + F + log(largest prior / smallest) + log(B·K)
    span = ops.log(most / least * batch * scores.shape[2])
    span = span - 1.5 * ops.amin(exponents) - ops.amin(start)
    fits = span <= _REACH
    ones = ops.ones_like(start)[:, None, :]

    def spread(log_ratio: Tensor) -> Tensor:
        apart = ops.amax(log_ratio, axis=-1) - ops.amin(log_ratio, axis=-1)
        return ops.amax(apart)

    def turned(kernel: Tensor) -> Tensor:
        # By a detour that lays the entries out anew: PyTorch's products of row
        # vectors with such a matrix are a third faster.
        across = ops.transpose(kernel, (0, 2, 1))
        flat = ops.reshape(across, (-1, ops.shape(kernel)[1]))
        return ops.reshape(flat, ops.shape(across))

    # Row vectors and plain operators: several times faster in PyTorch than
    # columns, `ops.matmul`, and `1.0 /`, which makes a tensor of its own.
    def iterate(u: Tensor, kernel: Tensor, across: Tensor) -> Any:
        v = columns / (u @ kernel)
        return ones / (v @ across), v

    def products(
        kernels: tuple[Tensor, Tensor],
        u: Tensor,
        v: Tensor,
        steps: Tensor,
        left: Tensor,
    ) -> Any:
        """Does `steps` of `left` iterations, fewer if these change nothing."""

        def step(_: Tensor, scalings: tuple[Tensor, Tensor]) -> Any:
            return iterate(scalings[0], *kernels)

        def chunk_of(
            made: Tensor, u: Tensor, v: Tensor, since: Tensor, anchor: Tensor
        ) -> Any:
            size = ops.minimum(_WINDOW, steps - made)
            u, v = ops.fori_loop(0, size, step, (u, v))
            made = made + size
            moved = spread(ops.log(ops.where(live, v / anchor, 1.0)))
            # As far as in the steps since the anchor, as often as those fit in.
            ahead = ops.ceil((left - made) / (made - since))
            still = moved * ops.cast(ahead, moved.dtype) <= allowed
            # Only on the way to the end: the rounding is that of all steps.
            still = ops.logical_and(still, steps == left)
            keep = moved <= allowed
            return (
                ops.where(still, steps, made),
                u,
                v,
                ops.where(keep, since, made),
                ops.where(keep, anchor, v),
            )

        if tolerance is None:
            return ops.fori_loop(0, steps, step, (u, v))
        none = ops.zeros_like(left)
        _, u, v, _, _ = ops.while_loop(
            lambda made, *_: made < steps, chunk_of, (none, u, v, none, v)
        )
        return u, v

    def plain_round(
        done: Tensor, rows_log: Tensor, columns_log: Tensor, _: Tensor
    ) -> tuple[Tensor, ...]:
        kernel = ops.exp(exponents)
        kernels = (kernel, turned(kernel))
        u, v = iterate(ops.exp(rows_log)[:, None, :], *kernels)
        left = iterations - (done + 1)
        u, v = products(kernels, u, v, left, left)
        labels = kernel * v * ops.transpose(u, (0, 2, 1))
        return done + 1 + left, rows_log, columns_log, labels

    def log_round(
        done: Tensor, rows_log: Tensor, columns_log: Tensor, _: Tensor
    ) -> tuple[Tensor, ...]:
        columns_log = ops.log(columns) - ops.logsumexp(
            exponents + rows_log[..., None], axis=-2
        )
        rows_log = -ops.logsumexp(
            exponents + columns_log[..., None, :], axis=-1
        )
        kernel = ops.exp(
            exponents + (rows_log[..., None] + columns_log[..., None, :])
        )
        ratio = ops.where(live, columns / ops.sum(kernel, axis=-2), 1.0)
        error = ops.maximum(spread(ops.log(ratio)), _RANGE / iterations)
        steps = ops.cast(ops.floor(_RANGE / error), "int32")
        left = iterations - (done + 1)
        steps = ops.maximum(ops.minimum(steps, left), 0)
        # Ones: an unused column gets 0 / Σu = 0 instead of 0 / 0.
        kernel = ops.where(live, kernel, 1.0)
        v = ops.where(live, ops.ones_like(columns_log), 0.0)[:, None, :]
        kernels = (kernel, turned(kernel))
        u, v = products(kernels, ones, v, steps, left)
        return (
            done + 1 + steps,
            rows_log + ops.log(u[:, 0, :]),
            columns_log + ops.log(v[:, 0, :]),
            kernel * v * ops.transpose(u, (0, 2, 1)),
        )

    state = (
        ops.convert_to_tensor(0, "int32"),
        start,
        ops.zeros_like(scores[:, 0]),
        exponents,  # Of the shape of labels, and there already.
    )
    # A loop that runs once or not at all: `ops.cond` costs PyTorch more.
    state = ops.while_loop(
        lambda done, *_: ops.logical_and(fits, done < iterations),
        plain_round,
        state,
    )
    return ops.while_loop(lambda done, *_: done < iterations, log_round, state)[
        -1
    ]
