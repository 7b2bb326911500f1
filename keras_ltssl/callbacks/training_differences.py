"""Differences between a checkpoint and the training that resumes it."""

import re
from typing import Any

from keras_ltssl.callbacks.checkpoint_files import Checkpoint

_ARRAYS = {
    "weights": "weights",
    "optimizer_variables": "variables of the optimizer",
    "random_states": "random number generators",
}


def find_differences(checkpoint: Checkpoint, here: dict[str, Any]) -> str:
    """Returns the differences in words, or an empty string if there are none.

    Args:
        checkpoint: The checkpoint.
        here: Description of the model, from `describe_state`.
    """
    saved = checkpoint.description
    if saved is None:  # The old format describes only its random states.
        states = checkpoint.arrays["random_states"].values()
        count = len(checkpoint.arrays) - 1
        saved = {
            **here,
            "random_states": [
                ["", list(array.shape), str(array.dtype)] for array in states
            ],
            "callbacks": here["callbacks"][:count]
            + ["a callback"] * (count - len(here["callbacks"])),
        }
    found = [
        difference
        for what in ("optimizer", "loss")
        for difference in _of_config(what, saved.get(what), here[what])
    ]
    # Another loss or optimizer explains different weights.
    found = found or [
        difference
        for what in _ARRAYS
        for difference in _of_arrays(what, saved.get(what), here[what])
    ]
    found += _of_callbacks(saved.get("callbacks") or [], here["callbacks"])
    return "; ".join(found)


def _of_config(name: str, saved: Any, here: Any) -> list[str]:
    if not isinstance(saved, dict) or not isinstance(here, dict):
        if saved == here:
            return []
        return [f"{name} was {_short(saved)} and is {_short(here)}"]
    if saved.get("class_name") != here.get("class_name"):
        return [
            f"{name} was {_short(saved.get('class_name'))} and is "
            f"{_short(here.get('class_name'))}"
        ]
    return [
        difference
        # Another version of Keras may add arguments; compare the shared ones.
        for key in saved
        if key in here
        for difference in _of_config(
            name if key == "config" else f"{name}.{key}", saved[key], here[key]
        )
    ]


def _of_arrays(what: str, saved: Any, here: list[Any]) -> list[str]:
    saved = saved if isinstance(saved, list) else []
    if len(saved) != len(here):
        return [f"it has {len(saved)} {_ARRAYS[what]}, the model {len(here)}"]
    for one, other in zip(saved, here, strict=True):
        if _kind(what, one) != _kind(what, other):
            return [
                f"among its {_ARRAYS[what]} is {_in_words(one)}, where the "
                f"model has {_in_words(other)}"
            ]
    return []


def _kind(what: str, described: Any) -> tuple[Any, ...]:
    path, shape, dtype = described
    if what == "random_states":  # The dtype depends on the backend.
        return (tuple(shape),)
    # Numbers of layers depend on the process; paths on how they were built.
    name = re.sub(r"_\d+$", "", str(path).rsplit("/", 1)[-1])
    # The optimizer names its variables after the weights.
    return (name if what == "weights" else ""), tuple(shape), dtype


def _in_words(described: Any) -> str:
    path, shape, dtype = described
    return f"{path} of shape {tuple(shape)} and dtype {dtype}".strip()


def _of_callbacks(saved: list[str], here: list[str]) -> list[str]:
    found = []
    for index in range(max(len(saved), len(here))):
        one = saved[index] if index < len(saved) else None
        other = here[index] if index < len(here) else None
        if one == other:
            continue
        found.append(
            f"it has the state of {one}, which `callbacks` lacks"
            if other is None
            else f"it has no state of {other}, callback number {index}"
        )
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
