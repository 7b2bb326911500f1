"""Rows that `CSVLogger` wrote for epochs that a killed run has lost."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras

_RECORD = "logs.json"


def drop_lost_rows(
    folder: Path,
    callbacks: Sequence[keras.callbacks.Callback],
    start: int | None,
) -> None:
    """Removes the rows of lost epochs from the files of `CSVLogger`.

    A file may also hold rows of other runs. Therefore the folder of the
    checkpoints records how many lines each file had when this run began, and
    these lines stay. A file that is not on record is left as it is.

    Args:
        folder: The folder of the checkpoints.
        callbacks: All callbacks of `fit`. Of these, each `CSVLogger` with
            `append=True` has such a file.
        start: Epoch at which the run goes on. Its rows from this epoch on are
            removed. `None` if no epoch is lost.
    """
    record = _read_record(folder)
    before = dict(record)
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CSVLogger) and callback.append:
            path = Path(os.path.realpath(callback.filename))
            name = _name_of(path, folder)
            lines = _lines_of(path)
            if start is None or name not in record:
                record[name] = len(lines)
            else:
                separator = callback.sep.encode()
                _keep(path, lines, record[name], start, separator)
    if record != before:
        _replace(folder / _RECORD, json.dumps(record, indent=1).encode())


def _keep(
    path: Path, lines: list[bytes], earlier: int, start: int, separator: bytes
) -> None:
    kept = lines[:earlier]
    if start > 0:
        kept += [
            line
            for line in lines[earlier:]
            if line.endswith(b"\n") and _is_kept(line, start, separator)
        ]
    if kept != lines:
        _replace(path, b"".join(kept))


def _is_kept(line: bytes, start: int, separator: bytes) -> bool:
    try:
        return int(line.split(separator)[0]) < start
    except ValueError:  # The names of the columns.
        return True


def _lines_of(path: Path) -> list[bytes]:
    if not path.is_file():
        return []
    # Not `splitlines`, which also splits at a lone carriage return.
    *lines, rest = path.read_bytes().split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _name_of(path: Path, folder: Path) -> str:
    try:
        # Both may be moved to another place together.
        return Path(os.path.relpath(path, os.path.realpath(folder))).as_posix()
    except ValueError:  # Another drive of Windows.
        return str(path)


def _read_record(folder: Path) -> dict[str, int]:
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        return {str(name): int(count) for name, count in record.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that is either as before or complete at any time."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with open(unfinished, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        shutil.copymode(path, unfinished)
    os.replace(unfinished, path)
