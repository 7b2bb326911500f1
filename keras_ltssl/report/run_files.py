"""Reads the files of a run folder."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_facts(path: Path) -> dict[str, Any]:
    """Returns what `run.json` holds; raises if it is damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(facts, dict):
        raise ValueError(
            f"{str(path)!r} must hold a JSON object. Received: "
            f"{type(facts).__name__}"
        )
    return facts


def read_images(path: Path) -> tuple[list[str], list[str]]:
    """Returns paths and labels in `images.csv`; raises if it is damaged."""
    # A name that is not UTF-8 comes back as the system gave it.
    with open(
        path, encoding="utf-8", errors="surrogateescape", newline=""
    ) as stream:
        try:
            rows = list(csv.reader(stream))
        except csv.Error as error:
            raise ValueError(f"{str(path)!r} is damaged: {error}") from error
    if not rows or rows[0] != ["path", "label"]:
        raise ValueError(
            f"{str(path)!r} must begin with the row path,label. Received: "
            f"{rows[:1]}"
        )
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != 2:
            raise ValueError(
                f"{str(path)!r} must have two cells in each row. Received: "
                f"{len(row)} cells for image {number}"
            )
    return [row[0] for row in rows[1:]], [row[1] for row in rows[1:]]


def read_features(path: Path, num_images: int) -> NDArray[Any] | None:
    """Returns what `features.npy` holds, or `None` without that file.

    Args:
        path: Path of the file.
        num_images: How many images have features.

    Raises:
        ValueError: If it is damaged, or belongs to other images.
    """
    if not path.is_file():
        return None
    try:
        features: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged; write the features again: {error}"
        ) from error
    if features.ndim != 2 or len(features) != num_images:
        raise ValueError(
            f"{str(path)!r} must have one row for each of the {num_images} "
            f"images in images.csv. Received: shape={features.shape}. The "
            "features belong to other images; write them again"
        )
    return features
