"""Sinkhorn's iterations, one by one."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_ltssl.losses.kernels.sinkhorn_ahead import look_ahead
from keras_ltssl.types import Tensor

# Scalings may grow to exp(±25) before they are folded into the potentials:
# what float32 drops below exp(-87) is then less than exp(-37) of any sum.
_RANGE = 25.0

# The same for scalings that start at the scores: what float32 drops below
# exp(-87) is then less than exp(-23) of any sum.
_REACH = 64.0

# Iterations between two looks at whether scaling may stop.
_WINDOW = 25

# Iterations before a look at where the others lead, and how far the last of
# them may move log potentials apart.
_LATE, _CALM = 96, 0.01


class Ahead(NamedTuple):
    """What a look at the end of the iterations needs and finds.

    Attributes:
        is_known: Whether the labels are known already, a boolean scalar.
        labels: These labels, `(problems, batch, K)`.
        log_columns: Finite logs of the column sums, `(K,)`.
        labels_of: Makes labels of log column scalings, `(problems, 1, K)`.
    """

    is_known: Tensor
    labels: Tensor
    log_columns: Tensor
    labels_of: Callable[[Tensor], Tensor]


def iterated_labels(
    exponents: Tensor,
    start: Tensor,
    columns: Tensor,
    iterations: int,
    tolerance: float | None,
    ahead: Ahead | None = None,
) -> Tensor:
    """Returns surrogate labels after all iterations; see `sinkhorn`.

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

    Args:
        exponents: Scores over ε, less the largest of each row, where targets
            of prior 0 do not count; at most 0, `(problems, batch, K)`.
        start: These largest scores over ε, `(problems, batch)`.
        columns: Sum of each column, `(K,)`: 0 or well above what floats lose.
        iterations: How many there are.
        tolerance: As for `sinkhorn`.
        ahead: What an early look ahead has found; there will be a late one.
            Defaults to `None`, none of them.
    """
    # A softmax moves by at most a quarter of what its logits move apart; half
    # of that is left to rounding.
    allowed = 2.0 * (tolerance or 0.0)
    live = columns > 0
    start = start - ops.amax(start, axis=-1, keepdims=True)
    batch = ops.cast(ops.shape(exponents)[1], columns.dtype)
    most = ops.amax(columns)
    least = ops.amin(ops.where(live, columns, most))
    # 1.5·R + F + log(largest prior / smallest) + log(B·K)
    span = ops.log(most / least * batch * exponents.shape[2])
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

    def late_round(
        done: Tensor, rows_log: Tensor, columns_log: Tensor, _: Tensor
    ) -> tuple[Tensor, ...]:
        assert ahead is not None
        kernel = ops.exp(exponents)
        kernels = (kernel, turned(kernel))
        u, v = iterate(ops.exp(rows_log)[:, None, :], *kernels)
        u, v = ops.fori_loop(
            0,
            _LATE - 1,
            lambda _, scalings: iterate(scalings[0], *kernels),
            (u, v),
        )
        sums = u @ kernel
        moved = spread(ops.log(ops.where(live, columns / (sums * v), 1.0)))
        # A target of prior 0 has no log: those of the next iteration do.
        scaled = ahead.log_columns - ops.log(sums)
        is_calm = moved <= _CALM
        end, is_known = ops.cond(
            is_calm,
            lambda: look_ahead(
                exponents,
                ahead.log_columns,
                scaled,
                iterations - _LATE - 1,
                3,
                8,
            ),
            lambda: (scaled, is_calm),
        )
        return (
            ops.where(is_known, iterations, done + _LATE),
            ops.log(u[:, 0, :]),
            columns_log,
            ahead.labels_of(end),
        )

    done = ops.convert_to_tensor(0, "int32")
    labels = exponents  # Of the shape of labels, and there already.
    if ahead is not None:
        done = ops.where(ahead.is_known, iterations, done)
        labels = ahead.labels
    # Column potentials that nothing reads; constants are more than
    # TensorFlow's compiler can keep track of through several loops.
    state = (done, start, exponents[:, 0], labels)
    # Loops that run once or not at all: `ops.cond` costs PyTorch more.
    if ahead is not None:
        state = ops.while_loop(
            lambda done, *_: ops.logical_and(fits, done == 0), late_round, state
        )
    state = ops.while_loop(
        lambda done, *_: ops.logical_and(fits, done < iterations),
        plain_round,
        state,
    )
    return ops.while_loop(lambda done, *_: done < iterations, log_round, state)[
        -1
    ]
