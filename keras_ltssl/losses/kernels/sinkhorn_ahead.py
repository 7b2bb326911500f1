"""Where Sinkhorn's iterations lead, found in a few steps of Newton."""

from keras import ops

from keras_ltssl.types import Tensor

# Spreads of log potentials. How far the iterations may be from their end, for
# the first order to tell how they approach it:
_NEAR = 0.3
# what may be left of that at the last one, where it is left out and where it
# is added; an error of x moves no label by more than x / 4:
_LEFT_OUT, _ADDED = 4e-6, 3e-5
# and how long the last step of Newton may be: it errs by about its square.
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
    as many iterations as that in first order. The steps end at g*. The
    iterations themselves end at g* + (g - g*) A^left, in first order. Where
    that is not g* up to rounding, A is squared often enough to tell. This is
    this package's own design.

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
    for _ in range(steps):
        plan = ops.softmax(exponents + end, axis=-1)
        sums = ops.sum(plan, axis=-2, keepdims=True)
        turn = log_columns - ops.log(sums)
        powers = [ops.transpose(plan, (0, 2, 1)) @ (plan / sums)]
        for _ in range(doublings):
            turn = turn + turn @ powers[-1]
            powers.append(powers[-1] @ powers[-1])
        end = end + turn
    near = log_scalings - end
    far, most = near, _LEFT_OUT
    if left < 2 ** (doublings + 1):
        for exponent, power in enumerate(powers):
            if left >> exponent & 1:
                far = far @ power
        end, most = end + far, _ADDED
    else:
        far = far @ powers[-1] @ powers[-1]
    spans = ops.stack([near, far, turn])
    apart = ops.amax(spans, axis=(2, 3)) - ops.amin(spans, axis=(2, 3))
    limits = ops.convert_to_tensor([[_NEAR], [most], [_LAST]], apart.dtype)
    return end, ops.all(apart <= limits)
