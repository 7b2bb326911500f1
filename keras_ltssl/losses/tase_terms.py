"""TASE's temperatures and weights as functions of headness and shares."""

from keras import ops

from keras_ltssl.backend.fused_arithmetic import affine, plus_product
from keras_ltssl.backend.fused_operations import clip, rows_of
from keras_ltssl.losses.kernels.anchors import check_temperatures
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor, check_number


def sample_temperatures(
    headness: Tensor, temperature: float | Tensor, spread: float
) -> Tensor:
    """Returns a temperature for each sample whose population mean is τ_0.

        τ_i = τ_0 · (1 + spread · (2 h_i - 1))

    so that head samples (h = 1) get τ_0 (1 + spread) and tail samples (h = 0)
    τ_0 (1 - spread). This package's own design.

    Args:
        headness: h in [0, 1], 0.5 on average over the population, `(batch,)`.
        temperature: τ_0 > 0, the mean.
        spread: In (-1, 1); negative gives head samples the smaller ones.

    Returns:
        Temperatures, `(batch,)`.

    Raises:
        ValueError: If `headness` is not `(batch,)`, or another argument that
            is no tensor is out of range.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> from keras_ltssl.losses import sample_temperatures
    >>> h = np.array([0.0, 0.5, 1.0], "float32")
    >>> ops.convert_to_numpy(sample_temperatures(h, 0.5, spread=0.5)).tolist()
    [0.25, 0.5, 0.75]
    """
    headness = as_tensor("headness", headness)
    if len(headness.shape) != 1:
        raise ValueError(
            "`headness` must have shape (batch,). "
            f"Received: headness.shape={tuple(headness.shape)}"
        )
    check_temperatures(temperature)
    if not hasattr(spread, "shape"):
        check_number("spread", spread, above=-1, below=1)
    centered = affine(headness, 2.0, -1.0)
    return plus_product(temperature, temperature * spread, centered)


def inverse_share_weights(
    shares: Tensor, labels: Tensor, power: float | Tensor, limit: float
) -> Tensor:
    """Returns a weight for each sample that rises as its prototype shrinks.

        w_i ∝ clip( (K π_k(i))^-power, 1/limit, limit ),  mean 1 over the batch

    This package's own design.

    Args:
        shares: Population shares π, `(K,)`.
        labels: Nearest prototype of each sample, `(batch,)`.
        power: Exponent β >= 0, a number or a scalar tensor; 0 gives every
            sample weight 1.
        limit: Largest weight before normalizing, >= 1.

    Returns:
        Weights, `(batch,)`.

    Raises:
        ValueError: If a shape does not fit or an argument is out of range.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.losses import inverse_share_weights
    >>> shares = np.array([0.75, 0.25], "float32")
    >>> labels = np.array([0, 0, 0, 1], "int32")
    >>> weights = inverse_share_weights(shares, labels, power=1.0, limit=10.0)
    >>> [round(float(weight), 3) for weight in weights]
    [0.667, 0.667, 0.667, 2.0]
    """
    shares = as_tensor("shares", shares)
    labels = as_tensor("labels", labels)
    for name, values in (("shares", shares), ("labels", labels)):
        if len(values.shape) != 1:
            raise ValueError(
                f"`{name}` must have one axis. "
                f"Received: {name}.shape={tuple(values.shape)}"
            )
    check_weights(power, limit)
    return share_weights(shares, labels, -power, limit)


def share_weights(
    shares: Tensor, labels: Tensor, exponent: float | Tensor, limit: float
) -> Tensor:
    """Returns what `inverse_share_weights` returns for `power = -exponent`.

    Args:
        shares: Population shares π, `(K,)`.
        labels: Nearest prototype of each sample, `(batch,)`.
        exponent: Number or scalar tensor, <= 0.
        limit: Largest weight before normalizing, >= 1.
    """
    relative = affine(shares, float(shares.shape[0]), 1e-30)
    weights = clip(relative**exponent, 1.0 / limit, limit)
    return _with_mean_one(rows_of(weights, labels))


def inverse_headness_weights(
    headness: Tensor, power: float | Tensor, limit: float
) -> Tensor:
    """Returns a weight for each sample that falls as its headness rises.

        w_i ∝ clip( (2 h_i)^-power, 1/limit, limit ),  mean 1 over the batch

    This package's own design.

    Args:
        headness: h in [0, 1], 0.5 on average over the population, `(batch,)`.
        power: Exponent β >= 0, a number or a scalar tensor; 0 gives every
            sample weight 1.
        limit: Largest weight before normalizing, >= 1.

    Returns:
        Weights, `(batch,)`.

    Raises:
        ValueError: If `headness` is not `(batch,)` or an argument is out of
            range.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.losses import inverse_headness_weights
    >>> h = np.array([0.25, 0.5, 0.75], "float32")
    >>> weights = inverse_headness_weights(h, power=1.0, limit=4.0)
    >>> [round(float(weight), 3) for weight in weights]
    [1.636, 0.818, 0.545]
    """
    headness = as_tensor("headness", headness)
    if len(headness.shape) != 1:
        raise ValueError(
            "`headness` must have shape (batch,). "
            f"Received: headness.shape={tuple(headness.shape)}"
        )
    check_weights(power, limit)
    return headness_weights(headness, -power, limit)


def headness_weights(
    headness: Tensor, exponent: float | Tensor, limit: float
) -> Tensor:
    """Returns what `inverse_headness_weights` returns for `power = -exponent`.

    Args:
        headness: h in [0, 1], `(batch,)`.
        exponent: Number or scalar tensor, <= 0.
        limit: Largest weight before normalizing, >= 1.
    """
    doubled = affine(headness, 2.0, 1e-30)
    return _with_mean_one(clip(doubled**exponent, 1.0 / limit, limit))


def _with_mean_one(weights: Tensor) -> Tensor:
    return weights / ops.mean(weights)


def check_weights(power: float | Tensor, limit: float) -> None:
    """Raises if an argument that steers weights is out of range."""
    if not hasattr(power, "shape"):
        check_number("power", power, minimum=0)
    check_number("limit", limit, minimum=1)
