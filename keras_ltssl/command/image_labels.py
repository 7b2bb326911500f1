"""Labels of some images, from a CSV file or from the names of folders."""

import csv
import os
import posixpath
from collections.abc import Iterable, Sequence

from keras_ltssl.datasets.directory_messages import counted, first_of
from keras_ltssl.datasets.image_listing import class_of


def read_labels(path: str, directory: str) -> dict[str, str]:
    """Returns the labels in a CSV file, by relative paths.

    It has a header with the columns `path` and `label`, in any order, and any
    others. A row without a label counts as an image whose label is unknown.

    Args:
        path: Path of the file.
        directory: The folder of the photos. Paths are relative to it, or lead
            into it.

    Raises:
        ValueError: If the file cannot be read, or gives an image two labels.
    """
    labels: dict[str, str] = {}
    try:
        # With or without the mark that spreadsheets put in front.
        with open(
            path, encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            if "path" not in columns or "label" not in columns:
                raise ValueError(
                    "`--labels` must be a CSV file whose first line names the "
                    f"columns path and label. Received: {path} with "
                    f"{', '.join(map(str, columns)) or 'no columns'}"
                )
            for row in rows:
                label = (row["label"] or "").strip()
                if not label:
                    continue
                name = _relative(row["path"] or "", directory)
                if labels.setdefault(name, label) != label:
                    raise ValueError(
                        "`--labels` must give an image one label. Received: "
                        f"{path} with {labels[name]!r} and {label!r} for "
                        f"{name!r}"
                    )
    except (OSError, csv.Error, UnicodeError) as error:
        raise ValueError(
            f"`--labels` must be a CSV file. Received: --labels={path}: {error}"
        ) from error
    return labels


def labels_of(
    names: Sequence[str], labels: dict[str, str], skipped: Iterable[str]
) -> list[str]:
    """Returns the label of each image, empty where it is unknown.

    Args:
        names: Relative paths of the images.
        labels: What `read_labels` returned.
        skipped: Relative paths of files that are left out, which may have a
            label.

    Raises:
        ValueError: If there are labels of other files.
    """
    unknown = sorted(labels.keys() - set(names) - set(skipped))
    if unknown:
        raise ValueError(
            "`--labels` must name images in the folder, by their paths in it. "
            f"Received: {counted(len(unknown), 'other path')}, "
            f"{first_of(unknown)}; a path in the folder is {names[0]!r}"
        )
    return [labels.get(name, "") for name in names]


def folder_labels(names: Sequence[str]) -> list[str]:
    """Returns the first folder of each relative path.

    Raises:
        ValueError: If no image lies in a subfolder.
    """
    labels = [class_of(name) for name in names]
    if not any(labels):
        raise ValueError(
            "`--folder_labels` takes the names of subfolders as labels, so "
            "images must lie in subfolders. Received: "
            f"{counted(len(names), 'image')}, none of them in one"
        )
    return labels


def _relative(path: str, directory: str) -> str:
    """Returns a path relative to a folder, with `/` between its parts."""
    if os.path.isabs(path):
        path = os.path.relpath(path, os.path.abspath(directory))
    return posixpath.normpath(path.replace(os.sep, "/"))
