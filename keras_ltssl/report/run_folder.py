"""Reads what a training left in its run folder."""

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_ltssl.report.run_files import (
    read_facts,
    read_features,
    read_images,
)


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
    facts = read_facts(place / "run.json")
    photos = facts.get("directory") if directory is None else directory
    if not isinstance(photos, str | os.PathLike) or not os.fspath(photos):
        raise ValueError(
            f"{str(place / 'run.json')!r} must name the folder of the photos. "
            f"Received: directory={photos!r}"
        )
    paths, labels = read_images(place / "images.csv")
    features = read_features(place / "features.npy", len(paths))
    return RunFolder(
        folder=place,
        facts=facts,
        directory=Path(photos),
        paths=tuple(paths),
        labels=tuple(labels),
        history=_read_history(place / "history.csv"),
        features=features,
    )


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
