"""Checks of arguments, with one form of error for all of them."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_integer(
    name: str,
    value: Any,
    minimum: int | None = None,
    maximum: int | None = None,
) -> int:
    """Returns `value` as an `int`; raises if it is not one in this range.

    Args:
        name: Name of the argument, for the message.
        value: What came. Booleans and floats such as `2.0` are refused.
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
    is_integer = isinstance(value, numbers.Integral) and not _is_bool(value)
    if not is_integer or not _is_within(value, minimum, maximum):
        raise ValueError(
            f"`{name}` must be an integer{_range(minimum, maximum)}. "
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
    """Returns `value` as a `float`; raises if it is not one in this range.

    Args:
        name: Name of the argument, for the message.
        value: What came: a finite real number, and no boolean.
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
    is_number = isinstance(value, numbers.Real) and not _is_bool(value)
    if (
        not is_number
        or not math.isfinite(value)
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


def check_boolean(name: str, value: Any) -> bool:
    """Returns `value` as a `bool`; raises if it is not `True` or `False`.

    Args:
        name: Name of the argument, for the message.
        value: What came.

    Returns:
        A Python `bool`.

    Raises:
        ValueError: If `value` is anything but a boolean.

    Example:

    >>> from keras_ltssl.validation import check_boolean
    >>> check_boolean("shuffle", True)
    True
    """
    if not _is_bool(value):
        raise ValueError(
            f"`{name}` must be True or False. Received: {name}={value!r}"
        )
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Returns `value`; raises if it is not one of `choices`.

    Args:
        name: Name of the argument, for the message.
        value: What came.
        choices: Every value allowed.

    Returns:
        `value`.

    Raises:
        ValueError: If `value` is not one of them.

    Example:

    >>> from keras_ltssl.validation import check_choice
    >>> check_choice("groups", "thirds", ("thirds", "thresholds"))
    'thirds'
    """
    # By type as well, for `True == 1`; and an array has no single truth.
    if not any(type(value) is type(c) and value == c for c in choices):
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
        )
    return value


def check_callable(name: str, value: Any) -> None:
    """Raises if `value` cannot be called.

    Args:
        name: Name of the argument, for the message.
        value: What came.

    Raises:
        ValueError: If `value` is no function.

    Example:

    >>> from keras_ltssl.validation import check_callable
    >>> check_callable("progress", print)
    """
    if not callable(value):
        raise ValueError(
            f"`{name}` must be a function. Received: {name}={value!r}"
        )


def _is_bool(value: Any) -> bool:
    # NumPy's boolean is not a subclass of Python's.
    return isinstance(value, bool | np.bool_)


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
