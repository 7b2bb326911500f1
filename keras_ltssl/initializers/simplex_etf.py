"""Unit vectors that are as far apart from each other as can be."""

import warnings
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops
from scipy.linalg import helmert

from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor, check_integer

_Array: TypeAlias = np.ndarray[Any, Any]

# Rows of the K x K cosines that are held at once.
_BLOCK = 1024


@keras.saving.register_keras_serializable(package="keras_ltssl")
class SimplexETF(keras.initializers.Initializer):
    """Makes K unit vectors that minimize the largest pairwise cosine.

    The result depends on the dimension:

    - K <= dim + 1: a simplex equiangular tight frame. Every pairwise cosine is
      -1/(K-1), the smallest possible maximum, and the vectors sum to zero.
    - dim + 1 < K <= 2 dim: simplices in orthogonal subspaces. The largest
      cosine is 0, the smallest possible maximum, and the vectors sum to zero.
    - K > 2 dim: an approximation, with a largest cosine above 0. It is the best
      result of gradient descent with momentum on log Σ exp(p cos) over all
      pairs. It takes 100 to 2,000 steps from random vectors, while p rises from
      8 to 3,000 (this package's own design). K = 100 takes about half a second,
      K = 1,000 about ten seconds.

    The last two cases warn and report the largest cosine, as `largest_cosine`
    computes it. NumPy makes the vectors in float64, so they are the same on
    every backend.

    Args:
        seed: Integer >= 0, seed of the random rotation, or of the initial
            vectors if K > 2 dim. Defaults to `0`.

    Call arguments:
        shape: `(K, dim)`, with K >= 2 and dim >= 1.
        dtype: A float dtype. Defaults to `None`, the default float type of
            Keras.

    Raises:
        ValueError: If `seed` is not an integer >= 0. When called, if `shape` or
            `dtype` is not valid.

    Example:

    >>> from keras import ops
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> targets = ops.convert_to_numpy(lt.initializers.SimplexETF()((5, 16)))
    >>> bool(np.allclose(targets @ targets.T, 1.25 * np.eye(5) - 0.25))
    True

    Reference:
        - [Prevalence of Neural Collapse during the terminal phase of deep
          learning training](https://arxiv.org/abs/2008.08186), Papyan et al.,
          PNAS 2020
        - [The Closest Packing of Spherical Caps in n
          Dimensions](https://doi.org/10.1017/S2040618500033219), Rankin, 1955
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_integer("seed", seed, minimum=0)

    def __call__(self, shape: tuple[int, int], dtype: Any = None) -> Tensor:
        if len(shape) != 2 or shape[0] < 2 or shape[1] < 1:
            raise ValueError(
                "`shape` must be (num_targets, dim) with num_targets >= 2 and "
                f"dim >= 1. Received: shape={tuple(shape)}"
            )
        dtype = keras.backend.standardize_dtype(dtype)
        if not keras.backend.is_float_dtype(dtype):
            raise ValueError(
                f"`dtype` must be a float dtype. Received: dtype={dtype}"
            )
        num_targets, dim = shape
        generator = np.random.default_rng(self.seed)
        if num_targets <= 2 * dim:
            vectors = _rotated(_simplices(num_targets, dim), dim, generator)
        else:
            vectors = _spread_out(num_targets, dim, generator)
        if num_targets > dim + 1:
            least = (
                "0 is the least that any vectors reach"
                if num_targets <= 2 * dim
                else "more than 2 * dim vectors cannot all stay at or below 0"
            )
            warnings.warn(
                f"num_targets={num_targets} is too large for a simplex in "
                f"dim={dim}, which holds dim + 1 vectors. The largest pairwise "
                f"cosine is {max(largest_cosine(vectors), 0.0):.4f} instead of "
                f"-1/(num_targets-1) = {-1 / (num_targets - 1):.4f} ({least}).",
                stacklevel=2,
            )
        if dtype != "float64":
            vectors = vectors.astype("float32")
        return ops.convert_to_tensor(vectors, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


def largest_cosine(vectors: Tensor) -> float:
    """Returns the largest cosine of any two of the vectors.

    Args:
        vectors: Vectors of any length > 0, `(K, dim)`, K >= 2.

    Returns:
        A number in [-1, 1].

    Raises:
        ValueError: If there are fewer than two vectors.

    Example:

    >>> import numpy as np
    >>> from keras_ltssl.initializers.simplex_etf import largest_cosine
    >>> largest_cosine(np.array([[1, 0], [0, 2], [-1, 0]]))
    0.0
    """
    vectors = as_tensor("vectors", vectors)
    rows = np.asarray(ops.convert_to_numpy(vectors), "float64")
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(
            "`vectors` must have shape (K, dim) with K >= 2. "
            f"Received: vectors.shape={rows.shape}"
        )
    rows = _unit(rows)
    return float(
        max(
            _cosines(rows, start).max() for start in range(0, len(rows), _BLOCK)
        )
    )


def _unit(rows: _Array) -> _Array:
    unit: _Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _cosines(rows: _Array, start: int) -> _Array:
    """Returns a block of cosines, -inf for a vector with itself."""
    block: _Array = rows[start : start + _BLOCK] @ rows.T
    own = np.arange(len(block))
    block[own, start + own] = -np.inf
    return block


def _simplex(count: int) -> _Array:
    """Returns `count` vertices of a regular simplex, `(count, count - 1)`."""
    simplex: _Array = helmert(count).T * np.sqrt(count / (count - 1))
    return simplex


def _simplices(count: int, dim: int) -> _Array:
    """Returns vertices of as few simplices as fit, orthogonal to each other.

    g simplices with `count` vertices span count - g dimensions.
    """
    groups = max(1, count - dim)
    vectors = np.zeros((count, count - groups))
    row = column = 0
    for group in range(groups):
        size = count // groups + (group < count % groups)
        vectors[row : row + size, column : column + size - 1] = _simplex(size)
        row += size
        column += size - 1
    return vectors


def _rotated(
    vectors: _Array, dim: int, generator: np.random.Generator
) -> _Array:
    """Turns vectors into a random subspace of `dim` dimensions."""
    basis, upper = np.linalg.qr(
        generator.normal(size=(dim, vectors.shape[1])),
    )
    # With these signs every subspace and rotation is equally likely.
    turned: _Array = vectors @ (basis * np.sign(np.diag(upper))).T
    return turned


def _spread_out(count: int, dim: int, generator: np.random.Generator) -> _Array:
    """Returns the best vectors of a descent on the largest cosine."""
    steps = int(np.clip(3e5 / count, 100, 2000))
    # float32 takes half the time of float64 and is precise enough here.
    rows = _unit(generator.normal(size=(count, dim))).astype("float32")
    best, least = rows, np.inf
    velocity = np.zeros_like(rows)
    for sharpness in np.geomspace(8, 3000, steps, dtype="float32"):
        gradient, reached = _push(rows, sharpness)
        if reached < least:
            best, least = rows, reached
        gradient -= np.sum(gradient * rows, axis=1, keepdims=True) * rows
        length = np.sqrt(np.max(np.sum(gradient**2, axis=1)))
        if length == 0:  # In one dimension, vectors cannot move.
            break
        velocity = np.float32(0.9) * velocity + gradient / length
        velocity -= np.sum(velocity * rows, axis=1, keepdims=True) * rows
        rows = _unit(rows - np.float32(0.2) / sharpness * velocity)
    return _unit(best.astype("float64"))


def _push(rows: _Array, sharpness: np.float32) -> tuple[_Array, float]:
    """Returns the direction of Σ_j exp(p cos_ij) x_j and the largest cosine."""
    push = np.zeros_like(rows)
    largest = np.float32(-1)
    for start in range(0, len(rows), _BLOCK):
        block = _cosines(rows, start)
        before, largest = largest, max(largest, block.max())
        push *= np.exp(sharpness * (before - largest))
        block -= largest
        block *= sharpness
        # Smaller exponents have no effect, but denormal numbers would make the
        # product ten times slower.
        np.exp(np.maximum(block, -60, out=block), out=block)
        push[start : start + _BLOCK] = block @ rows
    return push, float(largest)
