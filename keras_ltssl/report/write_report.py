"""Writes the report of a run as one HTML file, with a JSON file beside it."""

import datetime
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_ltssl.report.data_section import data_section
from keras_ltssl.report.duplicates_section import duplicates_section
from keras_ltssl.report.feature_view import (
    FEWEST,
    features_problem,
    view_features,
)
from keras_ltssl.report.groups_section import groups_section
from keras_ltssl.report.labels_section import labels_section
from keras_ltssl.report.neighbors_section import neighbors_section
from keras_ltssl.report.outliers_section import outliers_section
from keras_ltssl.report.page import PROBLEMS, alerts, make_page
from keras_ltssl.report.probes_section import probes_section
from keras_ltssl.report.run_folder import RunFolder, read_run_folder
from keras_ltssl.report.section import Section, with_alert
from keras_ltssl.report.tail_section import diagnose, tail_section
from keras_ltssl.report.thumbnails import Thumbnails
from keras_ltssl.report.training_section import training_section
from keras_ltssl.validation import check_boolean, check_integer, check_path
from keras_ltssl.version import __version__

FORMAT = "keras_ltssl.run_report"
FORMAT_VERSION = 1


def write_report(
    folder: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    neighbors_of: Sequence[str] | None = None,
    num_groups: int = 20,
    max_image_bytes: int = 3_000_000,
    seed: int = 0,
    verbose: bool = True,
) -> Path:
    r"""Writes `report.html` and `report.json` into a run folder.

    The page is a single file that loads nothing: style, charts and small
    copies of the photos are in it. It shows the files that were used and left
    out, the curves of the training, rare-looking and common-looking images,
    groups, nearest neighbors, and near-duplicates and outliers, which the
    other sections leave out. Where labels are known, it adds the accuracy of
    classes with many, medium and few images, by the nearest other labeled
    image. `report.json` holds the same as numbers and paths.

    A run folder is what `keras-ltssl pretrain` writes. Read here are:

    - `run.json`: an object with `directory`, the folder of the photos, and
      `image_size`; and, if they are there, the settings and the files that
      were skipped.
    - `images.csv`: the columns `path`, relative to that folder, and `label`.
    - `history.csv`: the columns of `keras.callbacks.CSVLogger`.
    - `features.npy`: array of shape `(images, dim)`, rows as in `images.csv`.
    - `probes.json`: what `LongTailReport.to_json` returned.

    Without the last three, the sections that need them are left out. Photos
    that are no longer there are replaced by a crossed box.

    Args:
        folder: The run folder.
        directory: Folder of the photos, if they have moved. Defaults to
            `None`: the one that `run.json` names.
        neighbors_of: Paths of images, as in `images.csv`, whose nearest
            neighbors are shown. Defaults to `None`: six images from
            rare-looking to common-looking.
        num_groups: Groups of similar images, at least 2. Defaults to `20`.
        max_image_bytes: Characters of the page that all images together may
            take, integer >= 0. More images are made smaller. Defaults to
            `3_000_000`.
        seed: Seed of everything random, integer >= 0. Defaults to `0`.
        verbose: Boolean, whether to print the progress. Defaults to `True`.

    Returns:
        Path of `report.html`.

    Raises:
        ValueError: If the folder is no run folder, a file in it is damaged or
            does not fit the others, or an argument is out of range.

    Example:

    >>> import json, pathlib, tempfile
    >>> from keras_ltssl.report import write_report
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> facts = {"directory": "photos", "image_size": [32, 32], "epochs": 2}
    >>> _ = (folder / "run.json").write_text(json.dumps(facts))
    >>> _ = (folder / "images.csv").write_text("path,label\na.jpg,\nb.jpg,\n")
    >>> _ = (folder / "history.csv").write_text("epoch,loss\n0,5.1\n1,4.2\n")
    >>> write_report(folder, verbose=False).name
    'report.html'
    >>> numbers = json.loads((folder / "report.json").read_text())
    >>> numbers["training"]["last"]
    {'loss': 4.2}
    """
    check_path("folder", folder)
    if directory is not None:
        check_path("directory", directory)
    _check_names(neighbors_of)
    check_integer("num_groups", num_groups, minimum=2)
    check_integer("max_image_bytes", max_image_bytes, minimum=0)
    check_integer("seed", seed, minimum=0)
    check_boolean("verbose", verbose)
    run = read_run_folder(folder, directory)
    chosen = _chosen(run, neighbors_of)
    sections = _sections(run, chosen, num_groups, seed, verbose)
    now = datetime.datetime.now().astimezone()
    page = make_page(
        title=f"Report: {run.folder.resolve().name}",
        subtitle=f"{len(run.paths):,} images. Written {now:%Y-%m-%d %H:%M}.",
        sections=sections,
        footer=f"Written by keras_ltssl {__version__}. This file loads nothing "
        "from a network and can be sent as it is; it holds small copies of "
        "the photos shown.",
    )
    thumbnails = Thumbnails(
        run.directory,
        run.paths,
        run.image_size,
        "grayscale" if run.facts.get("color_mode") == "grayscale" else "rgb",
        max_image_bytes,
        verbose,
    )
    page, problems = thumbnails.fill(page)
    page = page.replace(PROBLEMS, alerts(problems))
    numbers = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "written": now.isoformat(timespec="seconds"),
        "problems": problems,
        **{section.name: section.numbers for section in sections},
    }
    target = run.folder / "report.html"
    _write(target, page)
    _write(
        run.folder / "report.json",
        json.dumps(_plain(numbers), indent=1, allow_nan=False) + "\n",
    )
    return target


def _sections(
    run: RunFolder,
    chosen: list[int] | None,
    num_groups: int,
    seed: int,
    verbose: bool,
) -> list[Section]:
    """Returns the sections that the files of the run allow."""
    probes = probes_section(run)
    sections = [
        data_section(run),
        training_section(run),
        *([] if probes is None else [probes]),
    ]
    problem = features_problem(run)
    if problem:
        return [with_alert(sections[0], problem), *sections[1:]]
    if verbose:
        print("Looking for near-duplicates and outliers.")
    assert run.features is not None  # Else there is a problem.
    view = view_features(run.features)
    odd = [duplicates_section(run, view), outliers_section(run, view)]
    if len(view.kept) < FEWEST:
        return [
            with_alert(
                sections[0],
                f"Without near-duplicates and outliers only {len(view.kept)} "
                f"images are left. With fewer than {FEWEST}, nothing can be "
                "said of groups or of rare images.",
            ),
            *sections[1:],
            *odd,
        ]
    if verbose:
        print("Looking for rare-looking images and groups.")
    found = diagnose(view, num_groups, seed)
    labels = labels_section(run, view, found, seed)
    return [
        *sections,
        tail_section(run, view, found),
        groups_section(run, view, num_groups, seed),
        neighbors_section(run, view, found, chosen),
        *odd,
        *([labels] if labels is not None else []),
    ]


def _check_names(names: Any) -> None:
    """Raises unless these are paths of images, or none are given."""
    if names is not None and (
        isinstance(names, str)
        or not isinstance(names, Sequence)
        or not names
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError(
            "`neighbors_of` must be a sequence of paths, at least one, or "
            f"None. Received: neighbors_of={names!r}"
        )


def _chosen(run: RunFolder, names: Sequence[str] | None) -> list[int] | None:
    """Returns the ids of images that are given by their paths."""
    if names is None:
        return None
    ids = {path: row for row, path in enumerate(run.paths)}
    unknown = [name for name in names if name not in ids]
    if unknown:
        raise ValueError(
            "`neighbors_of` must be paths of images.csv. Received: "
            f"{unknown[0]!r}, which is not there"
        )
    return [ids[name] for name in names]


def _plain(value: Any) -> Any:
    """Returns what JSON can hold: no NaN and no number of NumPy."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write(path: Path, text: str) -> None:
    """Writes a whole file or leaves the old one."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
