"""The names of checkpoints, and which of them a folder holds."""

import contextlib
import re
from pathlib import Path

MANIFEST = "manifest.json"
_NAME = re.compile(r"epoch-(\d{6,})")
# The files of a checkpoint in the old format, which has no manifest.
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

    A folder of that name that holds only foreign files is not a checkpoint.
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
    """Raises if a foreign file has the name of a checkpoint to be written."""
    remove_checkpoint(folder / "unfinished")  # A killed run left it.
    for path in sorted(folder.iterdir()):
        is_in_the_way = path.name == "unfinished" or (
            _NAME.fullmatch(path.name) and epoch_of(path) <= epochs
        )
        if is_in_the_way and not _is_checkpoint(path):
            raise ValueError(
                f"{path} has the name of a checkpoint but is not one. Move it "
                "away, or use another folder."
            )


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint's files, and its folder if nothing else is left."""
    if not path.is_dir():
        return
    own = [file for file in path.iterdir() if _OWN_FILE.fullmatch(file.name)]
    # The manifest goes last, since it says which run the other files are of.
    for file in sorted(own, key=lambda file: file.name == MANIFEST):
        file.unlink()
    with contextlib.suppress(OSError):
        path.rmdir()
