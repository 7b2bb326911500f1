"""Checks of numbers and of pairs and tuples of numbers."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

# The largest seed that scikit-learn takes.
LARGEST_SEED = 2**32 - 1

# The largest seed that Keras' generators take on every backend.
LARGEST_KERAS_SEED = 2**31 - 1


def check_integer(
    name: str,
    value: Any,
    minimum: int | None = None,
    maximum: int | None = None,
) -> int:
    """Returns `value` as an `int`; raises if it is not in the range.

    Args:
        name: Name of the argument, for the message.
        value: The value. Booleans and floats such as `2.0` are refused.
        minimum: Smallest value allowed. Defaults to `None`.
        maximum: Largest value allowed. Defaults to `None`.

    Returns:
        A Python `int`.

    Raises:
        ValueError: If `value` is not an integer in the range.

    Example:

    >>> from keras_ltssl.validation import check_integer
    >>> check_integer("k", 3, minimum=1)
    3
    >>> check_integer("k", 2.5, minimum=1)
    Traceback (most recent call last):
    ValueError: `k` must be an integer >= 1. Received: k=2.5
    """
    if not _is_integer(value) or not _is_within(value, minimum, maximum):
        raise ValueError(
            f"`{name}` must be an integer{_range(minimum, maximum)}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_integer_or_none(
    name: str,
    value: Any,
    minimum: int | None = None,
    maximum: int | None = None,
) -> int | None:
    """Returns `value` as an `int`, or `None`; raises if it is neither.

    Args:
        name: Name of the argument, for the message.
        value: The value.
        minimum: Smallest value allowed. Defaults to `None`.
        maximum: Largest value allowed. Defaults to `None`.

    Returns:
        A Python `int` or `None`.

    Raises:
        ValueError: If `value` is neither `None` nor an integer in the range.

    Example:

    >>> from keras_ltssl.validation import check_integer_or_none
    >>> check_integer_or_none("chunk_size", None, minimum=1)
    >>> check_integer_or_none("chunk_size", 0, minimum=1)
    Traceback (most recent call last):
    ValueError: `chunk_size` must be an integer >= 1 or None. \
Received: chunk_size=0
    """
    if value is None:
        return None
    if not _is_integer(value) or not _is_within(value, minimum, maximum):
        raise ValueError(
            f"`{name}` must be an integer{_range(minimum, maximum)} or None. "
            f"Received: {name}={value!r}"
        )
    return int(value)


def check_number(
    name: str,
    value: Any,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Returns `value` as a `float`; raises if it is not in the range.

    Args:
        name: Name of the argument, for the message.
        value: A finite real number, but not a boolean.
        minimum: Smallest value allowed. Defaults to `None`.
        maximum: Largest value allowed. Defaults to `None`.
        above: `value` must be larger than this. Defaults to `None`.
        below: `value` must be smaller than this. Defaults to `None`.

    Returns:
        A Python `float`.

    Raises:
        ValueError: If `value` is not a finite number in the range.

    Example:

    >>> from keras_ltssl.validation import check_number
    >>> check_number("momentum", 0.9, minimum=0, below=1)
    0.9
    >>> check_number("momentum", "a", minimum=0, below=1)
    Traceback (most recent call last):
    ValueError: `momentum` must be a finite number >= 0 and < 1. \
Received: momentum='a'
    """
    if (
        not _is_finite(value)
        or not _is_within(value, minimum, maximum)
        or (above is not None and not value > above)
        or (below is not None and not value < below)
    ):
        raise ValueError(
            f"`{name}` must be a finite number"
            f"{_range(minimum, maximum, above, below)}. "
            f"Received: {name}={value!r}"
        )
    return float(value)


def check_pair(
    name: str,
    value: Any,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    may_be_equal: bool = True,
) -> tuple[Any, Any]:
    """Returns `(low, high)`; raises if `value` is not such a pair of numbers.

    Args:
        name: Name of the argument, for the message.
        value: Two finite real numbers in order.
        minimum: `low` must not be smaller than this. Defaults to `None`.
        maximum: `high` must not be larger than this. Defaults to `None`.
        above: `low` must be larger than this. Defaults to `None`.
        may_be_equal: Whether `low == high` is allowed. Defaults to `True`.

    Returns:
        The two numbers, unchanged.

    Raises:
        ValueError: If `value` is not a pair of numbers in the range.

    Example:

    >>> from keras_ltssl.validation import check_pair
    >>> check_pair("scale", [0.1, 1.0], above=0, maximum=1)
    (0.1, 1.0)
    >>> check_pair("scale", 0.5, above=0, maximum=1)
    Traceback (most recent call last):
    ValueError: `scale` must be a pair (low, high) with 0 < low <= high <= 1. \
Received: scale=0.5
    """
    is_pair = isinstance(value, Sequence | np.ndarray) and len(value) == 2
    if is_pair and all(_is_finite(bound) for bound in value):
        low, high = value
        if (
            (low < high or (may_be_equal and low == high))
            and _is_within(low, minimum, None)
            and _is_within(high, None, maximum)
            and (above is None or low > above)
        ):
            return low, high
    expected = f"low {'<=' if may_be_equal else '<'} high"
    if minimum is not None:
        expected = f"{minimum} <= {expected}"
    if above is not None:
        expected = f"{above} < {expected}"
    if maximum is not None:
        expected = f"{expected} <= {maximum}"
    raise ValueError(
        f"`{name}` must be a pair (low, high) with {expected}. "
        f"Received: {name}={value!r}"
    )


def check_sizes(name: str, value: Any, of: Sequence[str]) -> tuple[int, ...]:
    """Returns sizes as a tuple; raises if they are not integers >= 1.

    Args:
        name: Name of the argument, for the message.
        value: The sizes, as many as `of` has names.
        of: Names of the sizes, for the message.

    Returns:
        A tuple of Python `int`.

    Raises:
        ValueError: If `value` is not a tuple or a list of such integers.

    Example:

    >>> from keras_ltssl.validation import check_sizes
    >>> check_sizes("image_size", [32, 48], ("height", "width"))
    (32, 48)
    >>> check_sizes("image_size", 32, ("height", "width"))
    Traceback (most recent call last):
    ValueError: `image_size` must be 2 integers >= 1, (height, width). \
Received: image_size=32
    """
    if (
        not isinstance(value, tuple | list)
        or len(value) != len(of)
        or not all(_is_integer(size) and size >= 1 for size in value)
    ):
        raise ValueError(
            f"`{name}` must be {len(of)} integers >= 1, ({', '.join(of)}). "
            f"Received: {name}={value!r}"
        )
    return tuple(int(size) for size in value)


def _is_bool(value: Any) -> bool:
    # NumPy's boolean is not a subclass of Python's.
    return isinstance(value, bool | np.bool_)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not _is_bool(value)


def _is_finite(value: Any) -> bool:
    if not isinstance(value, numbers.Real) or _is_bool(value):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer beyond the largest float.
        return False


def _is_within(value: Any, minimum: Any, maximum: Any) -> bool:
    return not (
        (minimum is not None and value < minimum)
        or (maximum is not None and value > maximum)
    )


def _range(
    minimum: Any, maximum: Any, above: Any = None, below: Any = None
) -> str:
    bounds = [
        f"{sign} {bound}"
        for sign, bound in (
            (">", above),
            (">=", minimum),
            ("<=", maximum),
            ("<", below),
        )
        if bound is not None
    ]
    return f" {' and '.join(bounds)}" if bounds else ""
