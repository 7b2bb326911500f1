"""Where Sinkhorn's iterations lead, found in a few steps of Newton."""

from keras import ops

from keras_ltssl.backend.fused_arithmetic import plus_matmul
from keras_ltssl.types import Tensor

# All are spreads of log potentials: one of x moves no label by more than x / 4.
# How far the iterations may be from their end, and what may be left of that
# after the last of them. Where this is added to the end, it only errs in the
# second order.
_LEFT_OUT, _ADDED = (0.3, 4e-6), (0.15, 1.2e-4)

# How long the last step of Newton may be, which errs by about its square.
_LAST = 1e-3


def look_ahead(
    exponents: Tensor,
    log_columns: Tensor,
    log_scalings: Tensor,
    left: int,
    steps: int,
    doublings: int,
) -> tuple[Tensor, Tensor]:
    """Returns how columns are scaled after `left` more iterations, in logs.

    One iteration moves the log column scalings g by

        d(g) = log columns - log Σ_b P_b,   P = softmax(exponents + g)

    and what is added to g by A = Pᵀ (P / Σ_b P_b). A step of Newton adds
    d + dA + ... + dA^(2^doublings - 1), in which A is squared again and again:
    as many iterations as that in first order (half of it before the last). The
    steps end at g*. The iterations themselves end at g* + (g - g*) A^left, in
    first order. That is g* up to rounding, unless A is squared often enough to
    tell. This is this package's own design.

    Args:
        exponents: S, the log of the matrix to scale, `(problems, batch, K)`.
        log_columns: Logs of the column sums wanted, finite, `(K,)`.
        log_scalings: g after an iteration, `(problems, 1, K)`.
        left: Iterations that are not done, `>= 2 ** doublings`.
        steps: Steps of Newton.
        doublings: How often A is squared.

    Returns:
        The log column scalings, `(problems, 1, K)`, and whether they are those
        of the iterations to about 1e-6 of a label, a boolean scalar.
    """
    end, powers, turn = log_scalings, [], log_scalings
    for step in range(steps):
        plan = ops.softmax(exponents + end, axis=-1)
        sums = ops.sum(plan, axis=-2, keepdims=True)
        turn = log_columns - ops.log(sums)
        powers = [ops.transpose(plan, (0, 2, 1)) @ (plan / sums)]
        # The last step is the one that has to be exact.
        for _ in range(doublings - (step < steps - 1)):
            turn = plus_matmul(turn, turn, powers[-1])
            powers.append(powers[-1] @ powers[-1])
        end = end + turn
    near = log_scalings - end
    far, (nearest, most) = near, _LEFT_OUT
    if left < 2 ** (doublings + 1):
        for exponent, power in enumerate(powers):
            if left >> exponent & 1:
                far = far @ power
        end, (nearest, most) = end + far, _ADDED
    else:
        far = far @ powers[-1] @ powers[-1]
    # Scaled to one limit: a tensor of three would be copied to the device.
    spans = ops.stack([near * (_LAST / nearest), far * (_LAST / most), turn])
    apart = ops.amax(spans, axis=-1) - ops.amin(spans, axis=-1)
    return end, ops.all(apart <= _LAST)
