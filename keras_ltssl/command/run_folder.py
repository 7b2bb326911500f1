"""The files of a run: what it is, its images, and what came of them."""

import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from keras_ltssl.callbacks.checkpoint_folder import epoch_of, find_checkpoints
from keras_ltssl.callbacks.folder_lock import FolderLock
from keras_ltssl.report.run_files import read_facts, read_features, read_images

_LOCK = "checkpoint.lock"
# What a run may leave behind that was stopped before its first epoch.
_EARLY = {_LOCK, "files.csv", "images.csv"}


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folder of a run. Each file is complete, or as before, at any time.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of `ResumableCheckpoint`."""
        return self.path / "checkpoints"

    @property
    def history(self) -> Path:
        """The file of `CSVLogger`."""
        return self.path / "history.csv"

    @property
    def features(self) -> Path:
        """The features of each image, by its id."""
        return self.path / "features.npy"

    @property
    def files(self) -> Path:
        """The list of the image files and their sizes."""
        return self.path / "files.csv"

    @property
    def epochs_done(self) -> int:
        """Number of epochs that the newest checkpoint has."""
        found = find_checkpoints(self.checkpoints)
        return epoch_of(found[-1]) if found else 0

    def lock(self) -> FolderLock:
        """Creates the folder and locks it for this process.

        Returns:
            The lock, which holds until `release()`.

        Raises:
            ValueError: If another process trains in the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self.path)
        lock.acquire(None)
        return lock

    def remove_if_unused(self) -> None:
        """Removes a folder in which no run has begun."""
        if self.is_new():
            (self.path / _LOCK).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def is_new(self) -> bool:
        """Whether nothing but a run that never began is in the folder."""
        names = {file.name for file in self.path.iterdir()}
        return not {name for name in names if not _is_unfinished(name)} - _EARLY

    def read_settings(self) -> dict[str, Any] | None:
        """Returns what `run.json` holds, or `None` without that file.

        Raises:
            ValueError: If the file is damaged.
        """
        path = self.path / "run.json"
        return read_facts(path) if path.exists() else None

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Writes `run.json`."""
        # A name may hold bytes that are no text, which are written as escapes.
        content = json.dumps(settings, indent=1) + "\n"
        self.write("run.json", lambda path: path.write_text(content))

    def write_images(self, names: Sequence[str], labels: Sequence[str]) -> None:
        """Writes `images.csv`: path and label of each image, by its id.

        Args:
            names: Paths relative to the folder of the photos.
            labels: Names of classes, empty where unknown.
        """

        def write(path: Path) -> None:
            with open(
                path,
                "w",
                encoding="utf-8",
                errors="surrogateescape",
                newline="",
            ) as file:
                writer = csv.writer(file)
                writer.writerow(["path", "label"])
                writer.writerows(zip(names, labels, strict=True))

        self.write("images.csv", write)

    def read_images(self) -> tuple[list[str], list[str]]:
        """Returns the paths and the labels in `images.csv`, if it is there.

        Raises:
            ValueError: If the file is damaged.
        """
        path = self.path / "images.csv"
        return read_images(path) if path.exists() else ([], [])

    def write_encoder(self, encoder: keras.Model) -> None:
        """Writes `encoder.keras`."""
        # Keras asks for this ending.
        self.write("encoder.keras", encoder.save)

    def write(self, name: str, write: Callable[[Path], Any]) -> None:
        """Writes a file that is complete, or as before, at any time.

        Args:
            name: Name of the file.
            write: Function that writes it to a path.
        """
        # With the ending of the file, which Keras and NumPy look at.
        unfinished = self.path / f"unfinished.{name}"
        write(unfinished)
        os.replace(unfinished, self.path / name)


def check_output(
    output: str | os.PathLike[str], photos: str | os.PathLike[str]
) -> RunFolder:
    """Returns the folder of a run; raises if a run cannot be there.

    Args:
        output: Path of the folder. It need not exist.
        photos: Path of the folder of the photos.

    Raises:
        ValueError: If it is a file, holds something else than a run, or lies
            among the photos.
    """
    folder = RunFolder(Path(output))
    if not os.fspath(output):
        raise ValueError("`--output` must be a folder. Received: --output=")
    inner, outer = (Path(os.path.realpath(path)) for path in (output, photos))
    if inner.is_relative_to(outer):
        raise ValueError(
            "`--output` must lie outside of the photos, since its pictures "
            f"would become images of the next run. Received: --output={output} "
            f"in {photos}"
        )
    if folder.path.exists() and not folder.path.is_dir():
        raise ValueError(
            f"`--output` must be a folder. Received: --output={output}, which "
            "is a file"
        )
    if (
        folder.path.is_dir()
        and not folder.is_new()
        and not (folder.path / "run.json").exists()
    ):
        held = sorted(
            {file.name for file in folder.path.iterdir()} - _EARLY,
        )
        raise ValueError(
            "`--output` must be a new or an empty folder, or that of a run, "
            f"with run.json. Received: --output={output}, which holds "
            f"{', '.join(held[:3])}{', ...' if len(held) > 3 else ''}"
        )
    return folder


def open_run(path: str | os.PathLike[str]) -> RunFolder:
    """Returns the folder of a run.

    Args:
        path: Path of the folder.

    Raises:
        ValueError: If it is none.
    """
    folder = RunFolder(Path(path))
    if not (folder.path / "run.json").is_file():
        raise ValueError(
            "The folder must be one that `keras-ltssl pretrain --output` "
            f"wrote, with run.json. Received: {path}"
        )
    return folder


def features_of(folder: RunFolder) -> npt.NDArray[Any]:
    """Returns the features of each image of a finished run.

    Args:
        folder: The folder of the run.

    Raises:
        ValueError: If there are no features yet, or their file is damaged.
    """
    names, _ = folder.read_images()
    features = read_features(folder.features, len(names))
    if features is None:
        settings = folder.read_settings() or {}
        raise ValueError(
            f"The run in {folder.path} must be finished first. Received: "
            f"{folder.epochs_done} of {settings.get('epochs')} epochs. To go "
            "on, enter the command `keras-ltssl pretrain` of that run again."
        )
    return features


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises if a disk has too little space.

    Args:
        folder: A folder on the disk.
        needed: Number of bytes.
        what: What needs them, for the message.

    Raises:
        ValueError: If fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"`--output` must be on a disk with {_megabytes(needed)} free, for "
            f"{what}. Received: --output={folder}, with {_megabytes(free)} free"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _is_unfinished(name: str) -> bool:
    return name.startswith("unfinished.") or name.endswith(".part")
