"""Writes which samples to label as a CSV file."""

import csv
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_ltssl.validation import as_array, check_path, check_sequence


def write_to_label(
    path: str | os.PathLike[str],
    chosen: ArrayLike,
    files: Sequence[Any],
    reasons: Sequence[str] | None = None,
) -> None:
    """Writes a CSV file of samples to label, the first to label first.

    Its columns are `rank`, from 1, `path`, `label`, which is empty, for the
    user to fill in, and `reason`, if `reasons` are given. The file is UTF-8,
    quoted by RFC 4180, so that a name may hold commas, quotes and newlines. It
    replaces an older one at once or not at all. `report.contact_sheet` draws
    the images in the same order.

    Args:
        path: The file to write; its folder exists.
        chosen: Rows of the samples in the order to label, `(chosen,)`, none of
            them twice, as `choose_to_label` returns.
        files: Path, or any name, of every sample.
        reasons: Why each of the chosen was chosen, `(chosen,)`. Defaults to
            `None`: no such column.

    Raises:
        ValueError: If `chosen` are no rows of `files`, one comes twice, or
            `reasons` are not as many.

    Example:

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write_to_label(folder / "to_label.csv", [2, 0], ["a.png", "b.png", "c"])
    >>> (folder / "to_label.csv").read_text().splitlines()
    ['rank,path,label', '1,c,', '2,a.png,']
    """
    check_path("path", path)
    check_sequence("files", files)
    if reasons is not None:
        check_sequence("reasons", reasons)
    rows = as_array("chosen", chosen)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise ValueError(
            "`chosen` must be rows, integers of shape (chosen,). Received: "
            f"dtype={rows.dtype}, shape={rows.shape}"
        )
    if rows.size and (rows.min() < 0 or rows.max() >= len(files)):
        raise ValueError(
            f"`chosen` must be rows of the {len(files)} `files`. Received: "
            f"{rows.min()} to {rows.max()}"
        )
    if len(np.unique(rows)) < len(rows):
        raise ValueError(
            "`chosen` must not name a sample twice. Received: "
            f"{len(rows) - len(np.unique(rows))} again"
        )
    if reasons is not None and len(reasons) != len(rows):
        raise ValueError(
            "`reasons` must be as many as `chosen`. Received: "
            f"{len(reasons)} reasons for {len(rows)} samples"
        )
    header = ["rank", "path", "label"]
    unfinished = f"{os.fspath(path)}.{os.getpid()}"
    try:
        # A name may hold any bytes, which are written as they are.
        with open(
            unfinished,
            "w",
            encoding="utf-8",
            errors="surrogateescape",
            newline="",
        ) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header if reasons is None else [*header, "reason"])
            for place, row in enumerate(rows):
                line = [place + 1, str(files[int(row)]), ""]
                if reasons is not None:
                    line.append(reasons[place])
                writer.writerow(line)
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
