"""Arithmetic that takes more kernels in Keras on PyTorch than it needs to.

Small batches take as long as there are kernels to start on a GPU: here are
several in one. Where one of two arguments is a Python number, Keras copies it
to the device first, and the host waits for that.
"""

import keras
from keras import ops

from keras_ltssl.types import Tensor


def affine(x: Tensor, factor: float, offset: float) -> Tensor:
    """Returns `factor * x + offset`.

    Args:
        x: Tensor of floats.
        factor: Number.
        offset: Number.
    """
    if keras.backend.backend() != "torch":
        return factor * x + offset
    import torch

    return torch.rsub(x, offset, alpha=-factor)


def interpolate(a: Tensor, b: Tensor, share: float | Tensor) -> Tensor:
    """Returns `a + share * (b - a)`.

    Args:
        a: Tensor of floats.
        b: Tensor of the same dtype.
        share: Number, or tensor of the same dtype.
    """
    if keras.backend.backend() != "torch":
        return a + share * (b - a)
    import torch

    return torch.lerp(a, b, share)


def plus_multiple(x: Tensor, y: Tensor, factor: float) -> Tensor:
    """Returns `x + factor * y`.

    Args:
        x: Tensor of floats.
        y: Tensor of floats.
        factor: Number.
    """
    if keras.backend.backend() != "torch":
        return x + factor * y
    import torch

    return torch.add(x, y, alpha=factor)


def plus_product(
    x: float | Tensor, a: float | Tensor, b: float | Tensor
) -> Tensor:
    """Returns `x + a * b`.

    Args:
        x: Tensor or number; all three are broadcast to one shape.
        a: Tensor or number.
        b: Tensor or number.
    """
    are_tensors = all(ops.is_tensor(each) for each in (x, a, b))
    if not are_tensors or keras.backend.backend() != "torch":
        return x + a * b
    import torch

    product: Tensor = torch.addcmul(x, a, b)  # type: ignore[arg-type]
    return product


def minus_quotient(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Returns `x - a / b`.

    Args:
        x: Tensor; all three are broadcast to one shape.
        a: Tensor.
        b: Tensor.
    """
    if keras.backend.backend() != "torch":
        return x - a / b
    import torch

    return torch.addcdiv(x, a, b, value=-1)


def minus_product(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Returns `x - a * b`.

    Args:
        x: Tensor.
        a: Tensor; both are broadcast to the shape of `x`.
        b: Tensor.
    """
    if keras.backend.backend() != "torch":
        return x - a * b
    import torch

    return torch.addcmul(x, a, b, value=-1)


def plus_matmul(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Returns `x + a @ b`.

    Args:
        x: Matrix, or several, `(problems, rows, columns)`.
        a: As many matrices.
        b: As many matrices.
    """
    if keras.backend.backend() != "torch":
        return x + a @ b
    import torch

    fused = torch.addmm if x.ndim == 2 else torch.baddbmm
    return fused(x, a, b)


def times_vector(matrix: Tensor, vector: Tensor) -> Tensor:
    """Returns the product of a matrix and a vector.

    Args:
        matrix: `(rows, columns)`.
        vector: `(columns,)`.
    """
    if keras.backend.backend() != "torch":
        # A product would be one of TF32 on some GPUs.
        return ops.sum(matrix * vector, axis=-1)
    return matrix @ vector


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Returns the sum of the products of two vectors, a scalar.

    Args:
        a: `(n,)`.
        b: `(n,)`, of the same dtype.
    """
    if keras.backend.backend() != "torch":
        return ops.sum(a * b)
    import torch

    return torch.dot(a, b)


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and the standard deviation of all numbers.

    Args:
        x: Tensor of floats.
    """
    if keras.backend.backend() != "torch":
        return ops.mean(x), ops.std(x)
    import torch

    deviation, mean = torch.std_mean(x, correction=0)
    return mean, deviation


def entropy_of(shares: Tensor) -> Tensor:
    """Returns -Σ p log p, a scalar.

    Args:
        shares: Numbers p >= 0; one that is 0 adds nothing.
    """
    if keras.backend.backend() != "torch":
        return -ops.sum(shares * ops.log(shares + 1e-30))
    import torch

    return torch.special.entr(shares).sum()
