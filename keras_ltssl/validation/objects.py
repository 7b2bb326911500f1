"""Checks of booleans, choices, functions, classes, names and paths."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_boolean(name: str, value: Any) -> bool:
    """Returns `value` as a `bool`; raises if it is not `True` or `False`.

    Args:
        name: Name of the argument, for the message.
        value: The value.

    Returns:
        A Python `bool`.

    Raises:
        ValueError: If `value` is anything but a boolean.

    Example:

    >>> from keras_ltssl.validation import check_boolean
    >>> check_boolean("shuffle", True)
    True
    """
    # NumPy's boolean is not a subclass of Python's.
    if not isinstance(value, bool | np.bool_):
        raise ValueError(
            f"`{name}` must be True or False. Received: {name}={value!r}"
        )
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Returns `value`; raises if it is not one of `choices`.

    Args:
        name: Name of the argument, for the message.
        value: The value.
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
    # Compare types first: `True == 1`, and an array has no single truth value.
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
        value: The value.

    Raises:
        ValueError: If `value` is not a function.

    Example:

    >>> from keras_ltssl.validation import check_callable
    >>> check_callable("progress", print)
    """
    if not callable(value):
        raise ValueError(
            f"`{name}` must be a function. Received: {name}={value!r}"
        )


def check_instance(
    name: str, value: Any, kind: type | tuple[type, ...], expected: str
) -> None:
    """Raises if `value` is not of this class.

    Args:
        name: Name of the argument, for the message.
        value: The value.
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
    """Returns names as a list; raises unless there is one for each class.

    Args:
        name: Name of the argument, for the message.
        value: A sequence of names, but not a string.
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


def check_sequence(name: str, value: Any) -> None:
    """Raises if `value` is no sequence, or a string, which is rarely meant.

    Args:
        name: Name of the argument, for the message.
        value: A list, a tuple, an array or another sequence.

    Raises:
        ValueError: If `value` is anything else.

    Example:

    >>> from keras_ltssl.validation import check_sequence
    >>> check_sequence("files", ["a.png", "b.png"])
    >>> check_sequence("files", "a.png")
    Traceback (most recent call last):
    ValueError: `files` must be a sequence. Received: files='a.png'
    """
    is_sequence = isinstance(value, Sequence | np.ndarray)
    if not is_sequence or isinstance(value, str | bytes):
        raise ValueError(
            f"`{name}` must be a sequence. Received: {name}={value!r}"
        )


def check_path(name: str, value: Any) -> None:
    """Raises if `value` cannot be the path of a file or a folder.

    Args:
        name: Name of the argument, for the message.
        value: A string that is not empty, or a path object.

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
