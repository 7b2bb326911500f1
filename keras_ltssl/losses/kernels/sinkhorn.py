"""Optimal-transport scaling of scores into balanced surrogate labels."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ltssl.backend.compilation import compiled_by_xla, runs_eagerly
from keras_ltssl.losses.kernels.sinkhorn_ahead import look_ahead
from keras_ltssl.losses.kernels.sinkhorn_loop import Ahead, iterated_labels
from keras_ltssl.losses.kernels.sinkhorn_options import SinkhornOptions
from keras_ltssl.losses.kernels.unit_views import as_floats
from keras_ltssl.types import Tensor
from keras_ltssl.validation import (
    as_tensor,
    check_array_of_numbers,
)

# Iterations before a first look at where they lead. Looking ahead pays from so
# many iterations on, and for so few targets: A² costs K³.
_EARLY, _PAYS_FROM, _PAYS_UP_TO = 4, 160, 256

# Longest move of log potentials in the last early iteration.
_CALM = 1.0

# A column of a smaller sum gets nothing: floats could not hold its scaling. A
# streaming prior comes close to 0 where a target is not used for long.
_NOTHING = 1e-12


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
    B · prior_k. A target for which that is below 1e-12 gets exactly nothing.
    Computed in float32 (float64 stays float64). No gradient flows.

    Any ε is safe: log-sum-exps move the potentials until what is left of the
    way provably fits the range of floats, and plain products go that way: for
    cosines at ε = 0.05, mostly all of it. From 160 iterations on, most are left
    out where a few steps of Newton tell where they lead, to about 1e-6 of a
    label: soft scores need 4 of 300, those of a model trained by this 96. Where
    they do not tell, all are done. How that is decided is this package's own
    design.

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

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> scores = np.array([[0.9, 0.1], [0.8, 0.1], [0.7, 0.6]], "float32")
    >>> labels = lt.losses.sinkhorn(scores, prior=[2, 1], regularization=0.2)
    >>> ops.convert_to_numpy(labels).astype(float).round(2).tolist()
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

    A few iterations and a look ahead do for many where scores are soft. All
    are done where that look does not tell where they end.
    """
    columns = ops.cast(ops.shape(scores)[1], prior.dtype) * prior
    live = columns >= _NOTHING
    largest = ops.amax(
        ops.where(live, scores, -float("inf")), axis=-1, keepdims=True
    )
    # Differences first: the entries that matter are near 0 and lose no digits.
    # Only a target of prior 0 can be above 0.
    exponents = ops.minimum((scores - largest) / regularization, 0.0)
    looks_ahead = (
        iterations >= _PAYS_FROM
        and scores.shape[2] <= _PAYS_UP_TO
        and keras.backend.standardize_dtype(scores.dtype) != "float64"
    )
    log_columns = ops.log(ops.maximum(columns, _NOTHING))

    def labels_of(scaled: Tensor) -> Tensor:
        labels = ops.softmax(exponents + scaled, axis=-1)
        return ops.where(live, labels, 0.0)

    def everything(ahead: Ahead | None = None) -> Tensor:
        return iterated_labels(
            exponents,
            largest[..., 0] / regularization,
            ops.where(live, columns, 0.0),
            iterations,
            tolerance,
            ahead,
        )

    if not looks_ahead:
        return everything()
    turn = scaled = log_columns - ops.logsumexp(
        scores / regularization, axis=-2, keepdims=True
    )
    for _ in range(_EARLY - 1):
        sums = ops.sum(
            ops.softmax(exponents + scaled, axis=-1), axis=-2, keepdims=True
        )
        turn = log_columns - ops.log(sums)
        scaled = scaled + turn

    is_calm = ops.norm(ops.reshape(turn, (-1,))) <= _CALM
    end, is_known = ops.cond(
        is_calm,
        lambda: look_ahead(
            exponents, log_columns, scaled, iterations - _EARLY, 2, 4
        ),
        lambda: (scaled, is_calm),
    )
    if runs_eagerly() and is_known:
        return labels_of(end)
    return everything(Ahead(is_known, labels_of(end), log_columns, labels_of))
