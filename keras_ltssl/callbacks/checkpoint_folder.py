"""One checkpoint as a folder of files: written, checked and read as a whole."""

import contextlib
import re
from pathlib import Path

MANIFEST = "manifest.json"
_NAME = re.compile(r"epoch-(\d{6,})")
# Before there were manifests, a checkpoint was these files.
OLD_WEIGHTS = "model.weights.h5"
OLD_EPOCH = "epoch.json"

_OWN_FILE = re.compile(
    r"manifest\.json|(weights|optimizer|random_states|callback_\d+)\.npz"
    r"|model\.weights\.h5|epoch\.json"
)


def checkpoint_name(epoch: int) -> str:
    """Returns the name of the folder of a checkpoint."""
    return f"epoch-{epoch:06d}"


def epoch_of(path: Path) -> int:
    """Returns the epoch in the name of a checkpoint."""
    name = _NAME.fullmatch(path.name)
    assert name is not None
    return int(name[1])


def find_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints in a folder, oldest first, damaged ones too.

    What has such a name and holds only foreign files is none of them.
    """
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _is_checkpoint(path)]
    return sorted(found, key=epoch_of)


def _is_checkpoint(path: Path) -> bool:
    if not _NAME.fullmatch(path.name) or not path.is_dir():
        return False
    try:
        names = [file.name for file in path.iterdir()]
    except FileNotFoundError:  # Another process has just removed it.
        return False
    return not names or any(_OWN_FILE.fullmatch(name) for name in names)


def check_foreign(folder: Path, epochs: int) -> None:
    """Raises if foreign files are in the way of a run's checkpoints."""
    remove_checkpoint(folder / "unfinished")  # Of a run that was killed.
    for path in sorted(folder.iterdir()):
        is_in_the_way = path.name == "unfinished" or (
            _NAME.fullmatch(path.name) and epoch_of(path) <= epochs
        )
        if is_in_the_way and not _is_checkpoint(path):
            raise ValueError(
                f"{path} is no checkpoint, but has the name of one. Move it "
                "away, or use another folder."
            )


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint's files, and the folder unless others are left."""
    if not path.is_dir():
        return
    own = [file for file in path.iterdir() if _OWN_FILE.fullmatch(file.name)]
    # The manifest last: cut short, it still says whose the rest is.
    for file in sorted(own, key=lambda file: file.name == MANIFEST):
        file.unlink()
    with contextlib.suppress(OSError):
        path.rmdir()
