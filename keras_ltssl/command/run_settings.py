"""What a run is made with: the flags, checked, and what may not change."""

import math
import re
from pathlib import Path
from typing import Any

import keras
from absl import flags

from keras_ltssl.command import recipe
from keras_ltssl.command.image_lists import LISTS
from keras_ltssl.command.run_folder import RunFolder
from keras_ltssl.version import __version__

# Flags that cannot change while a run goes on. `image_size`, `precision` and
# `weights` belong to them, in other words.
_FIXED = (
    *("color_mode", "method", "framework", "backbone", "epochs", "batch_size"),
    *("temperature", "rand_augment", "horizontal_flip", "optimizer"),
    *("learning_rate", "weight_decay", "seed"),
    *("temperature_min", "temperature_max", "period", "gh_warmup", "gh_ramp"),
    *("queue_size", "pruned_share", "smallest_crop", "blur", "warmup_epochs"),
)
_ABOVE_0_IF_GIVEN = ("temperature_min", "temperature_max", "period")
# What a run had that was begun before there were these flags.
_BEFORE = {"smallest_crop": 0.1, "blur": 0.0}


def settings_of(directory: str, values: flags.FlagValues) -> dict[str, Any]:
    """Returns what `run.json` holds before training; checks the flags."""
    base, additions = recipe.split_method(values.method, ("ts", "gh", "bcl"))
    if values.framework == "byol" and (base != "plain" or "ts" in additions):
        raise ValueError(
            "BYOL has no negatives and no temperature, so `--method` must be "
            "plain, with gh or bcl if you like. Received: "
            f"--framework=byol, --method={values.method}"
        )
    for name in ("temperature", "learning_rate", *_ABOVE_0_IF_GIVEN):
        number = values[name].value
        if number is None and name in _ABOVE_0_IF_GIVEN:
            continue
        if not 0 < float(number or 0) < math.inf:
            raise ValueError(
                f"`--{name}` must be a number > 0. Received: --{name}={number}"
            )
    for name in ("rand_augment", "blur"):
        share = float(values[name].value or 0)
        if not 0 <= share <= 1:
            raise ValueError(
                f"`--{name}` must be a number from 0 to 1. "
                f"Received: --{name}={share}"
            )
    if not 0 < values.smallest_crop <= 1:
        raise ValueError(
            "`--smallest_crop` must be a number above 0 and at most 1. "
            f"Received: --smallest_crop={values.smallest_crop}"
        )
    if not 0 < (values.pruned_share or 0.5) < 1:
        raise ValueError(
            "`--pruned_share` must be a number between 0 and 1. "
            f"Received: --pruned_share={values.pruned_share}"
        )
    if not 0 <= values.weight_decay < math.inf:
        raise ValueError(
            "`--weight_decay` must be a number >= 0. "
            f"Received: --weight_decay={values.weight_decay}"
        )
    places = [
        f"--{name}"
        for name in ("train", "labels", "folder_labels")
        if values[name].value not in (None, False)
    ]
    if len(places) > 1:
        raise ValueError(
            f"Labels must come from one place. Received: {' and '.join(places)}"
        )
    size = _size_of(values.image_size)
    weights = None if values.weights in ("none", "") else values.weights
    _check_encoder(values, size, weights)
    return {
        "directory": str(Path(directory).resolve()),
        "image_size": size,
        **{name: values[name].value for name in _FIXED},
        "weights": weights,
        "dtype_policy": values.precision,
        # Only recorded: nothing here depends on it.
        "backend": keras.config.backend(),
        "keras": keras.__version__,
        "keras_ltssl": __version__,
        "seconds": None,
        "protocol": values.protocol,
        **{f"{name}_list": _full_path(values[name].value) for name in LISTS},
        "labels_file": _full_path(values.labels),
        "folder_labels": values.folder_labels,
    }


def _full_path(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _check_encoder(
    values: flags.FlagValues, size: list[int], weights: str | None
) -> None:
    """Raises if there is no such encoder; it may download its weights."""
    channels = 3 if values.color_mode == "rgb" else 1
    try:
        recipe.build_encoder(
            values.backbone, (size[0], size[1], channels), weights
        )
    except ValueError as error:
        raise ValueError(
            f"`--backbone` must be {', '.join(recipe.BACKBONES)}, or a network "
            "that takes images of --image_size and begins with --weights. "
            f"Received: --backbone={values.backbone}, "
            f"--image_size={values.image_size}, --weights={values.weights}. "
            f"What is wrong: {error}"
        ) from error


def _size_of(text: str) -> list[int]:
    """Returns height and width of a flag such as `64` or `48x64`."""
    sizes = [int(part) for part in re.findall(r"\d+", text)]
    if (
        not re.fullmatch(r"\s*\d+\s*([x,]\s*\d+\s*)?", text)
        or min(sizes, default=0) < 1
    ):
        raise ValueError(
            "`--image_size` must be a number of pixels >= 1, such as 64, or "
            f"height x width, such as 48x64. Received: --image_size={text}"
        )
    return sizes * 2 if len(sizes) == 1 else sizes


def check_same(
    earlier: dict[str, Any], settings: dict[str, Any], folder: RunFolder
) -> None:
    """Raises if a run was begun with other flags."""
    flag_of = {"dtype_policy": "precision", "backend": "KERAS_BACKEND"}
    changed = []
    for name in (*_FIXED, "weights", "image_size", "dtype_policy", "backend"):
        before, now = earlier.get(name, _BEFORE.get(name)), settings[name]
        if before != now:
            shown = flag_of.get(name, name)
            shown = shown if shown.isupper() else f"--{shown}"
            changed.append(f"{shown} was {_shown(before)}, now {_shown(now)}")
    if changed:
        raise ValueError(
            f"The run in {folder.path} must go on with the flags it began "
            f"with, or another run needs another --output. Received: "
            f"{'; '.join(changed)}"
        )


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)
