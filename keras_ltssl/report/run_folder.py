"""Reads what a training left in its run folder."""

import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class RunFolder:
    """Holds the files of a run folder.

    Attributes:
        folder: The run folder.
        facts: What `run.json` holds.
        directory: The folder of the photos.
        paths: Path of each image, relative to `directory`, in the order of ids.
        labels: Label of each image, `""` where it is unknown.
        history: Columns of `history.csv` by name; NaN where a cell is empty.
        features: Array of shape `(images, dim)`, or `None` if there is none.
    """

    folder: Path
    facts: dict[str, Any]
    directory: Path
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    history: dict[str, NDArray[np.float64]]
    features: NDArray[Any] | None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the encoder saw, in pixels."""
        size = self.facts.get("image_size")
        if (
            isinstance(size, list)
            and len(size) == 2
            and all(isinstance(side, int) and side > 0 for side in size)
        ):
            return size[0], size[1]
        return 1, 1

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Path and reason of each file that was left out."""
        return [
            (str(entry.get("path", "")), str(entry.get("reason", "")))
            for entry in self.facts.get("skipped") or []
            if isinstance(entry, dict)
        ]


def read_run_folder(
    folder: str | os.PathLike[str],
    directory: str | os.PathLike[str] | None = None,
) -> RunFolder:
    """Reads a run folder.

    Args:
        folder: The folder, with `run.json` and `images.csv`, and after the
            training also `history.csv` and `features.npy`.
        directory: Folder of the photos, if they have moved. Defaults to
            `None`: the one that `run.json` names.

    Returns:
        A `RunFolder`.

    Raises:
        ValueError: If the folder is no run folder, or a file of it is damaged
            or does not fit the others.
    """
    place = Path(folder)
    for name in ("run.json", "images.csv"):
        if not (place / name).is_file():
            raise ValueError(
                "`folder` must be a run folder, as `keras-ltssl pretrain` "
                f"writes it, with the file {name}. Received: "
                f"folder={os.fspath(folder)!r}, which has no such file"
            )
    facts = _read_facts(place / "run.json")
    photos = facts.get("directory") if directory is None else directory
    if not isinstance(photos, str | os.PathLike) or not os.fspath(photos):
        raise ValueError(
            f"{str(place / 'run.json')!r} must name the folder of the photos. "
            f"Received: directory={photos!r}"
        )
    paths, labels = _read_images(place / "images.csv")
    features = _read_features(place / "features.npy", len(paths))
    return RunFolder(
        folder=place,
        facts=facts,
        directory=Path(photos),
        paths=tuple(paths),
        labels=tuple(labels),
        history=_read_history(place / "history.csv"),
        features=features,
    )


def _read_facts(path: Path) -> dict[str, Any]:
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


def _read_images(path: Path) -> tuple[list[str], list[str]]:
    # A name that is not UTF-8 comes back as the system gave it.
    with open(
        path, encoding="utf-8", errors="surrogateescape", newline=""
    ) as stream:
        rows = list(csv.reader(stream))
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


def _read_features(path: Path, num_images: int) -> NDArray[Any] | None:
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


def _read_history(path: Path) -> dict[str, NDArray[np.float64]]:
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if len(rows) < 2:
        return {}
    names = rows[0]
    # A killed training may leave a row that is cut off.
    whole = [row for row in rows[1:] if len(row) == len(names)]
    columns = {
        name: np.array([_number(row[place]) for row in whole])
        for place, name in enumerate(names)
    }
    return {
        name: values
        for name, values in columns.items()
        if not np.isnan(values).all() or name == "loss"
    }


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
