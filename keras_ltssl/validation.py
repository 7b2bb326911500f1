"""Checks of arguments, with one form of error for all of them."""

import math
import numbers
import os
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

# The largest seed that scikit-learn takes.
LARGEST_SEED = 2**32 - 1


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
        value: What came.
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


def check_pair(
    name: str,
    value: Any,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    may_be_equal: bool = True,
) -> tuple[Any, Any]:
    """Returns `(low, high)`; raises if `value` is no such pair of numbers.

    Args:
        name: Name of the argument, for the message.
        value: What came: two finite real numbers in order.
        minimum: `low` must not be smaller than this. Defaults to `None`.
        maximum: `high` must not be larger than this. Defaults to `None`.
        above: `low` must be larger than this. Defaults to `None`.
        may_be_equal: Whether `low == high` is allowed. Defaults to `True`.

    Returns:
        The two numbers as they came.

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
        value: What came: as many sizes as `of` has names.
        of: What the sizes are of, for the message.

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


def check_instance(
    name: str, value: Any, kind: type | tuple[type, ...], expected: str
) -> None:
    """Raises if `value` is not of this class.

    Args:
        name: Name of the argument, for the message.
        value: What came.
        kind: The class, or several of them.
        expected: What the argument must be, in words.

    Raises:
        ValueError: If `value` is of another class.

    Example:

    >>> from keras_ltssl.validation import check_instance
    >>> check_instance("name", 3, str, "a string")
    Traceback (most recent call last):
    ValueError: `name` must be a string. Received: name=3 of type int
    """
    if not isinstance(value, kind):
        raise ValueError(
            f"`{name}` must be {expected}. Received: {name}={value!r} of type "
            f"{type(value).__name__}"
        )


def check_names(name: str, value: Any, count: int) -> list[str]:
    """Returns names as a list; raises if there is not one for each class.

    Args:
        name: Name of the argument, for the message.
        value: What came: a sequence of names, but no string.
        count: How many classes there are.

    Returns:
        A list of strings.

    Raises:
        ValueError: If `value` is anything else.

    Example:

    >>> from keras_ltssl.validation import check_names
    >>> check_names("class_names", ("ant", "bee"), 2)
    ['ant', 'bee']
    >>> check_names("class_names", ("ant", "bee"), 3)
    Traceback (most recent call last):
    ValueError: `class_names` must hold one name for each class. \
Received: 2 names for 3 classes
    """
    is_sequence = isinstance(value, Sequence | np.ndarray)
    if not is_sequence or isinstance(value, str):
        raise ValueError(
            f"`{name}` must be a sequence of names. Received: {name}={value!r}"
        )
    if len(value) != count:
        raise ValueError(
            f"`{name}` must hold one name for each class. "
            f"Received: {len(value)} names for {count} classes"
        )
    return [str(each) for each in value]


def check_path(name: str, value: Any) -> None:
    """Raises if `value` cannot be the path of a file or a folder.

    Args:
        name: Name of the argument, for the message.
        value: What came: a string that is not empty, or a path object.

    Raises:
        ValueError: If `value` is anything else.

    Example:

    >>> from keras_ltssl.validation import check_path
    >>> check_path("path", "report.png")
    >>> check_path("path", "")
    Traceback (most recent call last):
    ValueError: `path` must be a path. Received: path=''
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"`{name}` must be a path. Received: {name}={value!r}")


def as_tensor(name: str, value: Any) -> Any:
    """Returns `value` as a tensor; raises if it holds no numbers.

    Values are not looked at, for they may not be known yet.

    Args:
        name: Name of the argument, for the message.
        value: What came: a tensor, an array or nested sequences of numbers.

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
    # Tensors come here in every training step, and go through at once.
    if not ops.is_tensor(value):
        is_one = hasattr(value, "dtype") and hasattr(value, "shape")
        # "V" is what NumPy says of bfloat16.
        if not is_one or getattr(value.dtype, "kind", "f") not in "biufV":
            check_array_of_numbers(name, value)
    return ops.convert_to_tensor(value)


def as_array(name: str, value: Any) -> npt.NDArray[Any]:
    """Returns `value` as a NumPy array; raises if its rows differ in length.

    Args:
        name: Name of the argument, for the message.
        value: What came: a tensor, an array or nested sequences.

    Returns:
        A NumPy array of any dtype, not copied where that can be.

    Raises:
        ValueError: If NumPy makes no array of `value`.

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
    """Raises if `value` does not hold samples that can be read by slices.

    Args:
        name: Name of the argument, for the message.
        value: What came, such as an array or a `numpy.memmap`.

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
    except Exception:  # Whatever a foreign class raises.
        is_readable = False
    if not is_readable or isinstance(value, str | bytes):
        raise ValueError(
            f"`{name}` must hold samples, at least one, that can be read by "
            f"slices, as of an array. Received: {name}={_shown(value)} of type "
            f"{type(value).__name__}"
        )


def check_array_of_numbers(name: str, value: Any) -> None:
    """Raises if `value` is no array, nor nested sequences of numbers.

    Args:
        name: Name of the argument, for the message.
        value: What came.

    Raises:
        ValueError: If NumPy makes no array of numbers of it.

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
    except (TypeError, ValueError):  # Rows of different lengths, for one.
        kind = "O"
    if kind not in "biufV":
        raise ValueError(
            f"`{name}` must be a tensor or an array of numbers. "
            f"Received: {name}={_shown(value)}"
        )


def _shown(value: Any) -> str:
    """Returns the beginning of `repr(value)`, which may be a million rows."""
    return reprlib.repr(value)


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
