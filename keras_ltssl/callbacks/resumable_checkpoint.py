"""Checkpoints that stay valid if the process is killed."""

import os
import uuid
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_ltssl.backend import replicas
from keras_ltssl.callbacks.checkpoint_files import (
    Checkpoint,
    DamagedCheckpointError,
    read_checkpoint,
    run_of,
    write_checkpoint,
)
from keras_ltssl.callbacks.checkpoint_folder import (
    check_foreign,
    epoch_of,
    find_checkpoints,
    remove_checkpoint,
)
from keras_ltssl.callbacks.folder_lock import FolderLock
from keras_ltssl.callbacks.training_state import (
    describe_state,
    find_not_finite,
    read_state,
    restore_state,
)
from keras_ltssl.validation import check_instance, check_integer, check_path


class ResumableCheckpoint(keras.callbacks.Callback):
    """Saves everything that a run needs to continue, every few epochs.

    A checkpoint holds the weights, the optimizer, the state of the loss, and
    the state of every random number generator of the model. It is a folder that
    gets its name in one step once it is complete. If the process is killed, the
    newest checkpoint is therefore whole. A run with a weight that is not finite
    stops, and its last good checkpoint stays.

    With data whose order is a function of seed and epoch, such as
    `datasets.ImageBatches`, a run that is killed and resumed repeats the
    unfinished epoch, and gives the result of an uninterrupted run.

    A folder is for one run and one process at a time. If it already holds a
    run, training is refused unless `restore(model)` was called or this object
    trained that model there before. Files of other runs are never removed.

    Args:
        folder: Folder for the checkpoints. It is created if missing.
        interval: Epochs from one checkpoint to the next, integer >= 1. Defaults
            to `1`.
        callbacks: Other callbacks whose state is saved and restored with the
            model. They must have `get_state()` and `set_state(arrays)`, as
            `OODSampler` has. Pass them to `fit`, too. Defaults to `()`.
        keep: Number of checkpoints to keep, integer >= 1. With two, a damaged
            newest one costs `interval` epochs. Defaults to `2`.

    Raises:
        ValueError: If `interval` or `keep` is not an integer >= 1, or one of
            `callbacks` has no state. When training begins, if the folder holds
            a run that was not restored, another training uses it, or a foreign
            file has the name of a checkpoint. When an epoch ends, if a weight
            is not finite.
        OSError: When an epoch ends, if the checkpoint cannot be written, for
            example on a full disk. Earlier checkpoints stay.

    Example:

    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.ContrastiveModel(encoder)
    >>> model.compile("sgd", loss=lt.losses.NTXentLoss())
    >>> views = np.random.default_rng(0).normal(size=(32, 2, 8))
    >>> checkpoint = lt.callbacks.ResumableCheckpoint(tempfile.mkdtemp())
    >>> checkpoint.restore(model)
    0
    >>> _ = model.fit(
    ...     views.astype("float32"), epochs=3, callbacks=[checkpoint], verbose=0
    ... )
    >>> checkpoint.restore(model)
    3
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        interval: int = 1,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        keep: int = 2,
    ) -> None:
        super().__init__()
        check_path("folder", folder)
        check_instance(
            "callbacks", callbacks, (list, tuple), "a list or a tuple"
        )
        for callback in callbacks:
            if not all(
                callable(getattr(callback, name, None))
                for name in ("get_state", "set_state")
            ):
                raise ValueError(
                    "`callbacks` must have `get_state()` and `set_state()`. "
                    f"Received: {callback!r}"
                )
        self.folder = Path(folder)
        self.interval = check_integer("interval", interval, minimum=1)
        self.callbacks = tuple(callbacks)
        self.keep = check_integer("keep", keep, minimum=1)
        self._lock = FolderLock(self.folder)
        # The model, run and epoch that this object has restored or trained.
        self._trained: weakref.ref[keras.Model] | None = None
        self._run: str | None = None
        self._epoch = 0
        self._begins_at: int | None = None

    def restore(self, model: keras.Model) -> int:
        """Loads the newest checkpoint into a built and compiled model.

        Before the model changes, all files are checked, and the weights, loss,
        optimizer and callbacks of the checkpoint are compared with those of the
        model. A learning rate that is a number may differ: it is part of the
        state and is restored.

        Args:
            model: A built model, made and compiled like the one that was saved.

        Returns:
            The epoch to continue with, for `fit(initial_epoch=...)`. It is 0 if
            there is no checkpoint.

        Raises:
            ValueError: If the model is not built and compiled, or if the
                checkpoint is damaged or does not fit it. The model is then
                unchanged.
        """
        if not find_checkpoints(self.folder):
            return 0
        if not model.built or not model.compiled:
            raise ValueError(
                "`model` must be built and compiled before its weights can be "
                f"restored. Received: built={model.built}, "
                f"compiled={model.compiled}"
            )
        path, checkpoint = self._read_newest()
        self.set_model(model)
        # On JAX, reading `self.model` updates its variables.
        restore_state(self.model, self.callbacks, checkpoint, path)
        self._trained = weakref.ref(model)
        self._run = checkpoint.run
        self._epoch = self._begins_at = checkpoint.epoch
        return checkpoint.epoch

    def _read_newest(self) -> tuple[Path, Checkpoint]:
        *older, newest = find_checkpoints(self.folder)
        try:
            return newest, read_checkpoint(newest)
        except DamagedCheckpointError as error:
            now = find_checkpoints(self.folder)
            if now and now[-1] != newest:
                # A run that is still training has just replaced it.
                return self._read_newest()
            raise ValueError(f"{error} {_advice(newest, older)}") from error

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        if self._trained is None or self._trained() is not model:
            self._begins_at = None
        self._on_first_process(lambda: self._claim(model))

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        expected, self._begins_at = self._begins_at, None
        if expected not in (None, epoch):
            raise ValueError(
                f"`restore` went back to the end of epoch {expected}, so `fit` "
                f"must go on there: pass `initial_epoch={expected}`. Received: "
                f"initial_epoch={epoch}"
            )

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        done = epoch + 1
        if done % self.interval and done != self.params.get("epochs"):
            return
        model = self.model  # On JAX, reading it updates its variables.
        self._on_first_process(lambda: self._save(model, done))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._lock.release()

    def _on_first_process(self, act: Callable[[], None]) -> None:
        """Calls a function on the first process; all raise if it fails."""
        error: Exception | None = None
        if replicas.process()[0] == 0:
            try:
                act()
            except Exception as raised:
                error = raised
                self._lock.release()  # Keras will not call `on_train_end`.
        told = replicas.of_first(None if error is None else str(error))
        if error is not None:
            raise error
        if told is not None:
            raise ValueError(f"The first process has stopped: {told}")

    def _claim(self, model: keras.Model) -> None:
        """Locks the folder; raises if it holds another run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(self.params)
        check_foreign(self.folder, (self.params or {}).get("epochs") or 0)
        found = find_checkpoints(self.folder)
        is_own = self._trained is not None and self._trained() is model
        if not found:
            self._run = uuid.uuid4().hex
        elif (
            not is_own
            or epoch_of(found[-1]) != self._epoch
            or run_of(found[-1]) != self._run
        ):
            raise ValueError(
                f"{self.folder} holds a run of {epoch_of(found[-1])} epochs: "
                "call `restore(model)` first to continue it, or use another "
                "folder."
            )
        self._trained = weakref.ref(model)

    def _save(self, model: keras.Model, epoch: int) -> None:
        if not self._lock.is_held:
            self._claim(model)
        assert self._run is not None
        description = describe_state(model, self.callbacks)
        arrays = read_state(model, self.callbacks)
        not_finite = find_not_finite(description, arrays)
        if not_finite is not None:
            raise ValueError(self._diverged(not_finite, epoch))
        write_checkpoint(
            self.folder, Checkpoint(epoch, self._run, description, arrays)
        )
        self._epoch = epoch
        own = [
            path
            for path in find_checkpoints(self.folder)
            if run_of(path) == self._run
        ]
        kept = [path for path in own if epoch_of(path) <= epoch][-self.keep :]
        for path in own:
            # Later ones, too, if this run went back to an earlier epoch.
            if path not in kept:
                remove_checkpoint(path)

    def _diverged(self, weight: str, epoch: int) -> str:
        found = find_checkpoints(self.folder)
        stays = (
            f"the last good one, {found[-1]}, stays"
            if found
            else "there is none before it"
        )
        return (
            f"The training has diverged: the weight {weight} is not finite "
            f"after epoch {epoch}. No checkpoint was written of it; {stays}."
        )


def _advice(newest: Path, older: Sequence[Path]) -> str:
    for path in reversed(older):
        try:
            read_checkpoint(path)
        except DamagedCheckpointError:
            continue
        return f"{path.name} is whole: remove {newest.name} to go on from it."
    return "There is no older one that is whole: use another folder."
