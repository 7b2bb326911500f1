"""Writes which images a run has, and compares them with those of another."""

import csv
import os
from collections.abc import Iterable, Mapping

from keras_ltssl.datasets.directory_messages import counted, first_of
from keras_ltssl.validation import check_path

_COLUMNS = ["id", "path", "bytes", "skipped"]


def write_image_sizes(
    path: str | os.PathLike[str],
    sizes: Iterable[tuple[str, int]],
    skipped: Mapping[str, str],
) -> None:
    """Writes images and skipped files to a CSV file.

    Args:
        path: Path of the file.
        sizes: Pairs of the path of an image and its bytes, in the order of
            their ids.
        skipped: Reasons by the paths of skipped files.
    """
    check_path("path", path)
    unfinished = f"{os.fspath(path)}.part"
    # A name may hold any bytes, which are written as they are.
    with open(
        unfinished, "w", encoding="utf-8", errors="surrogateescape", newline=""
    ) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for row, (name, size) in enumerate(sizes):
            writer.writerow([row, name, size, ""])
        for name, reason in skipped.items():
            writer.writerow(["", name, "", reason])
    # A run that is killed leaves no half of a list.
    os.replace(unfinished, path)


def read_image_sizes(path: str | os.PathLike[str]) -> dict[str, int]:
    """Returns the bytes of each image in a file of `write_image_sizes`.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If the file is missing or damaged. The message names it.
    """
    check_path("path", path)
    try:
        with open(
            path, encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            columns, *rows = csv.reader(file)
        if columns != _COLUMNS:
            raise ValueError(f"its columns are {columns}, not {_COLUMNS}")
        return {name: int(size) for row, name, size, _ in rows if row}
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(
            f"Cannot read a list of images from {os.fspath(path)!r}: {error}"
        ) from error


def changes_in_words(before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """Returns which images differ, or an empty text if none does.

    Args:
        before: Bytes of each image by its path, then.
        now: The same now.

    Example:

    >>> from keras_ltssl.datasets.image_folder_list import changes_in_words
    >>> changes_in_words({"a.jpg": 9, "b.jpg": 9}, {"b.jpg": 7, "c.jpg": 9})
    "1 image was added ('c.jpg'), 1 was removed ('a.jpg'), \
1 has another size ('b.jpg')"
    """
    groups = (
        ("was added", "were added", now.keys() - before.keys()),
        ("was removed", "were removed", before.keys() - now.keys()),
        (
            "has another size",
            "have another size",
            {name for name in now if before.get(name, now[name]) != now[name]},
        ),
    )
    words: list[str] = []
    for singular, plural, found in groups:
        if found:
            count = counted(len(found), "image") if not words else len(found)
            verb = singular if len(found) == 1 else plural
            words.append(f"{count} {verb} ({first_of(sorted(found))})")
    return ", ".join(words)
