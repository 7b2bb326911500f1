"""Writes, checks and reads the files of one checkpoint."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from keras_ltssl.callbacks.checkpoint_folder import (
    MANIFEST,
    OLD_EPOCH,
    OLD_WEIGHTS,
    checkpoint_name,
    epoch_of,
    find_checkpoints,
    remove_checkpoint,
)

Arrays = dict[str, np.ndarray[Any, Any]]

_FORMAT = 1
_OLD_RUN = "without a manifest"


class DamagedCheckpointError(ValueError):
    """Raised if the files of a checkpoint are missing or have changed."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Args:
        epoch: Number of epochs trained.
        run: Identifier of the run that wrote it.
        description: Shapes, loss, optimizer and callbacks of the training, as
            `describe_state` returns them. `None` in the old format.
        arrays: The arrays of each file, by the name of the file without
            `.npz`.
        data_epoch: The epoch that the data goes on with, or `None` if the data
            has no epochs.
    """

    epoch: int
    run: str
    description: dict[str, Any] | None
    arrays: dict[str, Arrays]
    data_epoch: int | None = None


def run_of(path: Path) -> str | None:
    """Returns the run that wrote a checkpoint, or `None` if unknown."""
    try:
        if _is_old(path):
            return _OLD_RUN
        return str(_read_manifest(path)["run"])
    except (ValueError, KeyError):
        return None


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint and returns its folder.

    The folder gets its name in one step, once all files are complete.

    Raises:
        OSError: If the checkpoint cannot be written, for example on a full
            disk. The files written so far are removed.
    """
    # Serialize in memory first: on a full disk Python's files raise an error,
    # while HDF5 ends the process.
    contents = {
        f"{name}.npz": _to_bytes(arrays)
        for name, arrays in checkpoint.arrays.items()
    }
    manifest = {
        "format": _FORMAT,
        "epoch": checkpoint.epoch,
        "run": checkpoint.run,
        "data_epoch": checkpoint.data_epoch,
        "files": {
            name: {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, content in contents.items()
        },
        "description": checkpoint.description,
    }
    contents[MANIFEST] = json.dumps(manifest, indent=1).encode()
    unfinished = folder / "unfinished"
    finished = folder / checkpoint_name(checkpoint.epoch)
    try:
        remove_checkpoint(unfinished)
        unfinished.mkdir()
        for name, content in contents.items():
            with open(unfinished / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _flush_folder(unfinished)
        replaced = folder / "replaced"
        # The same run may have gone back to an earlier epoch.
        has_replaced = finished.exists()
        if has_replaced:
            remove_checkpoint(replaced)
            os.replace(finished, replaced)
        os.replace(unfinished, finished)
        if has_replaced:
            remove_checkpoint(replaced)
        _flush_folder(folder)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove_checkpoint(unfinished)
        if isinstance(error, OSError):
            needed = sum(map(len, contents.values()))
            raise OSError(
                error.errno, _not_written(error, finished, needed)
            ) from error
        raise
    return finished


def _not_written(error: OSError, path: Path, needed: int) -> str:
    free = ""
    with contextlib.suppress(OSError):
        free = f", and {shutil.disk_usage(path.parent).free} are free"
    before = [p.name for p in find_checkpoints(path.parent)]
    stays = f"The last one, {before[-1]}, stays." if before else ""
    return (
        f"The checkpoint {path} could not be written to this disk: "
        f"{error.strerror}. It needs {needed} bytes{free}. {stays}"
    ).strip()


def read_checkpoint(path: Path) -> Checkpoint:
    """Returns the content of a checkpoint after checking every file.

    Raises:
        DamagedCheckpointError: If a file is missing or has changed.
    """
    if _is_old(path):
        return _read_old(path)
    manifest = _read_manifest(path)
    try:
        epoch, run = manifest["epoch"], str(manifest["run"])
        description = dict(manifest["description"])
        data_epoch = manifest.get("data_epoch")
        data_epoch = None if data_epoch is None else int(data_epoch)
        files = {
            str(name): (int(file["bytes"]), str(file["sha256"]))
            for name, file in manifest["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{MANIFEST} is incomplete ({error!r})") from None
    _check_epoch(path, epoch, MANIFEST)
    needed = {f"{name}.npz" for name in ("weights", "optimizer")}
    needed.add("random_states.npz")
    if not needed <= set(files):
        raise _damaged(path, f"{MANIFEST} does not list all files")
    arrays = {}
    for name, (size, digest) in files.items():
        content = _read_file(path, name)
        if len(content) != size:
            raise _damaged(
                path, f"{name} has {len(content)} bytes instead of {size}"
            )
        if hashlib.sha256(content).hexdigest() != digest:
            raise _damaged(path, f"{name} is not as it was written (SHA-256)")
        arrays[name.removesuffix(".npz")] = _to_arrays(path, name, content)
    return Checkpoint(epoch, run, description, arrays, data_epoch)


def _is_old(path: Path) -> bool:
    is_new = any(
        (path / name).exists()
        for name in (MANIFEST, "weights.npz", "optimizer.npz")
    )
    return not is_new and (
        (path / OLD_WEIGHTS).exists() or (path / OLD_EPOCH).exists()
    )


def _read_old(path: Path) -> Checkpoint:
    try:
        epoch = json.loads(_read_file(path, OLD_EPOCH))["epoch"]
    except DamagedCheckpointError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(
            path, f"{OLD_EPOCH} names no epoch ({error!r})"
        ) from None
    _check_epoch(path, epoch, OLD_EPOCH)
    _read_file(path, OLD_WEIGHTS)
    names = ["random_states.npz"]
    names += sorted(file.name for file in path.glob("callback_*.npz"))
    arrays = {
        name.removesuffix(".npz"): _to_arrays(
            path, name, _read_file(path, name)
        )
        for name in names
    }
    return Checkpoint(epoch, _OLD_RUN, None, arrays)


def _read_manifest(path: Path) -> dict[str, Any]:
    content = _read_file(path, MANIFEST)
    try:
        manifest = json.loads(content)
    except ValueError:
        raise _damaged(path, f"{MANIFEST} is not JSON") from None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise _damaged(path, f"{MANIFEST} names no format")
    if manifest["format"] != _FORMAT:
        raise _damaged(
            path,
            f"its format is {manifest['format']!r}, and this version of "
            f"keras_ltssl reads format {_FORMAT}",
        )
    return manifest


def _check_epoch(path: Path, epoch: Any, name: str) -> None:
    is_integer = isinstance(epoch, int) and not isinstance(epoch, bool)
    if not is_integer or epoch < 1 or epoch != epoch_of(path):
        raise _damaged(path, f"{name} says epoch {epoch!r}")


def _read_file(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except FileNotFoundError:
        raise _damaged(path, f"{name} is missing") from None
    except OSError as error:
        raise _damaged(
            path, f"{name} cannot be read ({error.strerror})"
        ) from error


def _to_bytes(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _to_arrays(path: Path, name: str, content: bytes) -> Arrays:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            return dict(saved)
    # A damaged archive may raise anything.
    except Exception as error:
        raise _damaged(path, f"{name} cannot be read ({error!r})") from error


def _damaged(path: Path, what: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"The checkpoint {path} is damaged: {what}.")


def _flush_folder(path: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
