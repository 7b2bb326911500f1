"""Checks of arguments, with one form of error for all of them."""

from keras_ltssl.validation.arrays import (
    as_array,
    as_tensor,
    check_array_of_numbers,
    check_samples,
)
from keras_ltssl.validation.numbers import (
    LARGEST_KERAS_SEED,
    LARGEST_SEED,
    check_integer,
    check_integer_or_none,
    check_number,
    check_pair,
    check_sizes,
)
from keras_ltssl.validation.objects import (
    check_boolean,
    check_callable,
    check_choice,
    check_instance,
    check_names,
    check_path,
    check_sequence,
)

__all__ = [
    "LARGEST_KERAS_SEED",
    "LARGEST_SEED",
    "as_array",
    "as_tensor",
    "check_array_of_numbers",
    "check_boolean",
    "check_callable",
    "check_choice",
    "check_instance",
    "check_integer",
    "check_integer_or_none",
    "check_names",
    "check_number",
    "check_pair",
    "check_path",
    "check_samples",
    "check_sequence",
    "check_sizes",
]
