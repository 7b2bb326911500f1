"""A file of features that is written row by row, and outlives a kill."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[Any]


class OtherFeaturesError(ValueError):
    """Raised if a file holds features of another origin."""


class FeaturesFile:
    """Writes a `.npy` file row by row; a killed writer goes on at its last row.

    Until all rows are there, they lie in `<path>.part`. Beside it lies
    `<path>.json`: what the features were made of, and how many are written. It
    stays with the finished file, and tells which features these are.

    Args:
        path: Path of the `.npy` file.
        origin: What the features are made of, as numbers and strings.

    Raises:
        OtherFeaturesError: If there are features of another origin at `path`,
            or a file whose origin is not known.
    """

    def __init__(self, path: str | os.PathLike[str], origin: dict[str, Any]):
        self.path = Path(path)
        self.origin = origin
        self._part = self.path.with_name(self.path.name + ".part")
        self._record = self.path.with_name(self.path.name + ".json")
        self._array: Features | None = None
        self.done = self._rows_done()
        """Number of rows that are written already."""

    @property
    def is_finished(self) -> bool:
        """Whether all rows are written."""
        return self.path.exists()

    def write(self, rows: Features) -> None:
        """Appends rows; when it returns, a kill does not lose them."""
        if self._array is None:
            self._array = self._open(rows)
        self._array[self.done : self.done + len(rows)] = rows
        self._array.flush()  # type: ignore[attr-defined]
        self.done += len(rows)
        self._say(self.done)

    def finish(self) -> None:
        """Gives the file its name, once all rows are written."""
        self._array = None
        os.replace(self._part, self.path)

    def read(self) -> Features:
        """Returns the finished file, mapped into memory, for reading."""
        return np.lib.format.open_memmap(self.path, mode="r")

    def _rows_done(self) -> int:
        """Returns how many rows are written; raises if they are others."""
        for file in (self.path, self._part):
            if not file.exists():
                continue
            before = self._read_record()
            for name, value in self.origin.items():
                if before.get(name) != value:
                    raise OtherFeaturesError(
                        "`path` must name a new file, or one of the same "
                        f"features. Received: path={os.fspath(self.path)}; "
                        f"{file.name} there has {name}="
                        f"{before.get(name, 'unknown')}, not {value}. Remove "
                        "it, or give another path."
                    )
            return int(before["done"])
        return 0

    def _read_record(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}
        return record

    def _open(self, rows: Features) -> Features:
        if self.done:
            return np.lib.format.open_memmap(self._part, mode="r+")
        self._part.parent.mkdir(parents=True, exist_ok=True)
        shape = (self.origin["rows"], *rows.shape[1:])
        return np.lib.format.open_memmap(
            self._part, mode="w+", dtype=rows.dtype, shape=shape
        )

    def _say(self, done: int) -> None:
        unfinished = self._record.with_name(self._record.name + ".part")
        unfinished.write_text(json.dumps({**self.origin, "done": done}) + "\n")
        os.replace(unfinished, self._record)


def remove_features(path: str | os.PathLike[str]) -> None:
    """Removes a file of features, finished or not, and its record."""
    for ending in (".json", "", ".part"):
        Path(f"{os.fspath(path)}{ending}").unlink(missing_ok=True)
