"""A lock that keeps a second training out of a folder."""

import errno
import os
import threading
import warnings
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None

_NAME = "checkpoint.lock"
# Locks that this process holds. The system would grant them a second time.
_held: "weakref.WeakValueDictionary[str, FolderLock]" = (
    weakref.WeakValueDictionary()
)


class FolderLock:
    """Locks a folder for one training of one process.

    The system releases the lock when the process ends, for whatever reason.
    On Windows, which has no such locks, only trainings of the same process
    exclude each other. On a file system without locks there is a warning.

    Args:
        folder: The folder. It must exist when `acquire` is called.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._release: weakref.finalize[[int], FolderLock] | None = None
        self._process: int | None = None
        self._training: Any = None
        self._thread: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock, in this process."""
        return (
            self._release is not None
            and self._release.alive
            and self._process == os.getpid()
        )

    def acquire(self, training: Any) -> None:
        """Takes the lock.

        A lock of a training that was interrupted in this process is taken
        over.

        Args:
            training: Object that all callbacks of one training share, or
                `None`.

        Raises:
            ValueError: If another training holds the lock.
        """
        key = os.path.realpath(self.folder)
        holder = _held.get(key)
        if holder is not None and holder is not self and holder.is_held:
            if holder._goes_on_beside(training):
                raise ValueError(self._in_use("this process"))
            # Keras does not tell callbacks of an error that ended `fit`.
            holder.release()
        if not self.is_held:
            self._release = weakref.finalize(self, os.close, self._open())
        self._process = os.getpid()
        self._training = training
        self._thread = threading.current_thread()
        _held[key] = self

    def _goes_on_beside(self, training: Any) -> bool:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            return thread.is_alive()
        # In one thread, a new `fit` means that the earlier one has ended.
        return training is not None and training is self._training

    def _open(self) -> int:
        handle = os.open(self.folder / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                # A forked child would inherit a lock of `flock`.
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                number = os.read(handle, 32).decode(errors="replace").strip()
                os.close(handle)
                who = f"process {number}" if number else "another process"
                raise ValueError(self._in_use(who)) from None
            warnings.warn(
                f"{self.folder} cannot be locked ({error.strerror}). Make sure "
                "that no other process trains in it.",
                stacklevel=2,
            )
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        return handle

    def _in_use(self, who: str) -> str:
        number = f" ({os.getpid()})" if who == "this process" else ""
        return (
            f"{self.folder} is in use: another training of {who}{number} "
            "writes its checkpoints there. Wait until it ends, or use another "
            "folder."
        )

    def release(self) -> None:
        """Releases the lock if this object holds it."""
        if self._release is not None:
            self._release()
        self._release = self._training = self._thread = None
