"""Checks of tensors, arrays and samples."""

import reprlib
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops


def as_tensor(name: str, value: Any) -> Any:
    """Returns `value` as a tensor; raises if it holds no numbers.

    The values are not checked, since they may not be known yet.

    Args:
        name: Name of the argument, for the message.
        value: A tensor, an array or nested sequences of numbers.

    Returns:
        A tensor of the backend.

    Raises:
        ValueError: If `value` cannot be a tensor of numbers.

    Example:

    >>> from keras_ltssl.validation import as_tensor
    >>> tuple(as_tensor("z", [[1.0, 2.0]]).shape)
    (1, 2)
    >>> as_tensor("z", "ab")
    Traceback (most recent call last):
    ValueError: `z` must be a tensor or an array of numbers. Received: z='ab'
    """
    # Fast path: every training step passes tensors.
    if not ops.is_tensor(value):
        is_one = hasattr(value, "dtype") and hasattr(value, "shape")
        # "V" is the kind of bfloat16 in NumPy.
        if not is_one or getattr(value.dtype, "kind", "f") not in "biufV":
            check_array_of_numbers(name, value)
    return ops.convert_to_tensor(value)


def as_array(name: str, value: Any) -> npt.NDArray[Any]:
    """Returns `value` as a NumPy array; raises if its rows differ in length.

    Args:
        name: Name of the argument, for the message.
        value: A tensor, an array or nested sequences.

    Returns:
        A NumPy array of any dtype, without a copy if possible.

    Raises:
        ValueError: If NumPy cannot convert `value`.

    Example:

    >>> from keras_ltssl.validation import as_array
    >>> as_array("labels", [0, 1, 1]).shape
    (3,)
    >>> as_array("labels", [[0], [1, 1]])
    Traceback (most recent call last):
    ValueError: `labels` must be an array. Received: labels=[[0], [1, 1]]
    """
    if ops.is_tensor(value):
        return np.asarray(ops.convert_to_numpy(value))
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array. Received: {name}={_shown(value)}"
        ) from error


def check_samples(name: str, value: Any) -> None:
    """Raises if `value` does not hold samples that slices can read.

    Args:
        name: Name of the argument, for the message.
        value: An array, a `numpy.memmap` or the like.

    Raises:
        ValueError: If `value` has no length, is empty, or has no slices.

    Example:

    >>> from keras_ltssl.validation import check_samples
    >>> check_samples("x", [[0.0, 1.0], [1.0, 0.0]])
    >>> check_samples("x", None)
    Traceback (most recent call last):
    ValueError: `x` must hold samples, at least one, that can be read by \
slices, as of an array. Received: x=None of type NoneType
    """
    try:
        is_readable = len(value) > 0 and len(value[:1]) == 1
    except Exception:  # A foreign class may raise anything.
        is_readable = False
    if not is_readable or isinstance(value, str | bytes):
        raise ValueError(
            f"`{name}` must hold samples, at least one, that can be read by "
            f"slices, as of an array. Received: {name}={_shown(value)} of type "
            f"{type(value).__name__}"
        )


def check_array_of_numbers(name: str, value: Any) -> None:
    """Raises if `value` is not an array or nested sequences of numbers.

    Args:
        name: Name of the argument, for the message.
        value: The value.

    Raises:
        ValueError: If NumPy cannot convert it to an array of numbers.

    Example:

    >>> from keras_ltssl.validation import check_array_of_numbers
    >>> check_array_of_numbers("labels", [0, 1, 1])
    >>> check_array_of_numbers("labels", [[0], [1, 1]])
    Traceback (most recent call last):
    ValueError: `labels` must be a tensor or an array of numbers. \
Received: labels=[[0], [1, 1]]
    """
    try:
        kind = np.asarray(value).dtype.kind
    except (TypeError, ValueError):  # For example rows of different lengths.
        kind = "O"
    if kind not in "biufV":
        raise ValueError(
            f"`{name}` must be a tensor or an array of numbers. "
            f"Received: {name}={_shown(value)}"
        )


def _shown(value: Any) -> str:
    """Returns the beginning of `repr(value)`, which may be very long."""
    return reprlib.repr(value)
