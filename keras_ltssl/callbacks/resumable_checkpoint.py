"""Checkpoints that stay valid if the process is killed."""

import os
import uuid
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_ltssl.backend import processes
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
from keras_ltssl.callbacks.logged_rows import drop_lost_rows
from keras_ltssl.callbacks.training_state import (
    describe_state,
    find_not_finite,
    read_state,
    restore_state,
)
from keras_ltssl.datasets.epoch_batches import EpochBatches
from keras_ltssl.validation import (
    check_boolean,
    check_instance,
    check_integer,
    check_path,
)


class ResumableCheckpoint(keras.callbacks.Callback):
    """Saves everything that a run needs, and continues a run that was killed.

    A checkpoint holds the weights, the optimizer, the state of the loss, and
    the state of every random number generator of the model. It is a folder that
    gets its name in one step once it is complete. If the process is killed, the
    newest checkpoint is therefore whole. A run with a weight that is not finite
    stops, and its last good checkpoint stays.

    To continue a run, start the same script again:

    ```python
    model.fit(batches, epochs=200, callbacks=[ResumableCheckpoint(folder)])
    ```

    If the folder holds a run, `ContrastiveModel.fit` restores it and goes on
    with the next epoch. It says so in a line, unless `verbose=0`. Data whose
    order is a function of seed and epoch, such as `datasets.ImageBatches`, goes
    on with its own next epoch. The result is then that of an uninterrupted run,
    bit for bit. Rows that `keras.callbacks.CSVLogger(append=True)` wrote for
    epochs that are lost are removed from its file. If all epochs are done,
    `fit` restores the model, trains nothing and returns an empty history.

    A folder is for one run and one process at a time. A run of another model,
    loss or optimizer is refused, and files of other runs are never removed.
    With `resume=False`, and in the `fit` of any other Keras model, which cannot
    set the epoch of the data, a folder that holds a run is refused unless
    `restore(model)` was called, or this object trained that model there before.
    A second `fit` with the same object and model trains on, as in Keras.

    Args:
        folder: Folder for the checkpoints. It is created if missing.
        interval: Epochs from one checkpoint to the next, integer >= 1. Defaults
            to `1`.
        callbacks: Other callbacks whose state is saved and restored with the
            model. They must have `get_state()` and `set_state(arrays)`, as
            `OODSampler` has. Pass them to `fit`, too. Defaults to `()`.
        keep: Number of checkpoints to keep, integer >= 1. With two, a damaged
            newest one costs `interval` epochs. Defaults to `2`.
        resume: Boolean, whether `ContrastiveModel.fit` continues the run that
            the folder holds. Defaults to `True`.

    Raises:
        ValueError: If an argument is out of range, or one of `callbacks` has no
            state. When training begins, if the run in the folder is damaged,
            is of another training, or may not be continued, if
            `fit(initial_epoch=...)` is not its next epoch, if another training
            uses the folder, or a foreign file has the name of a checkpoint.
            When an epoch ends, if a weight is not finite.
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
    >>> folder = tempfile.mkdtemp()
    >>> def train(epochs):
    ...     checkpoint = lt.callbacks.ResumableCheckpoint(folder)
    ...     return model.fit(
    ...         views.astype("float32"),
    ...         epochs=epochs,
    ...         callbacks=[checkpoint],
    ...         verbose=0,
    ...     )
    >>> train(epochs=3).epoch
    [0, 1, 2]
    >>> train(epochs=5).epoch
    [3, 4]
    >>> train(epochs=5).epoch
    []
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        interval: int = 1,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        keep: int = 2,
        resume: bool = True,
    ) -> None:
        super().__init__()
        check_path("folder", folder)
        check_instance(
            "callbacks", callbacks, (list, tuple), "a list or a tuple"
        )
        for callback in callbacks:
            if not _has_state(callback):
                raise ValueError(
                    "`callbacks` must have `get_state()` and `set_state()`. "
                    f"Received: {callback!r}"
                )
        self.folder = Path(folder)
        self.interval = check_integer("interval", interval, minimum=1)
        self.callbacks = tuple(callbacks)
        self.keep = check_integer("keep", keep, minimum=1)
        self.resume = check_boolean("resume", resume)
        self._lock = FolderLock(self.folder)
        # The model, run and epoch that this object has restored or trained.
        self._trained: weakref.ref[keras.Model] | None = None
        self._run: str | None = None
        self._epoch = 0
        self._begins_at: int | None = None
        self._data_epoch: int | None = None
        self._sets_data = False
        self._is_training = False

    def restore(self, model: keras.Model) -> int:
        """Loads the newest checkpoint into a built and compiled model.

        Before the model changes, all files are checked, and the weights, loss,
        optimizer and callbacks of the checkpoint are compared with those of the
        model. A learning rate that is a number may differ: it is part of the
        state and is restored. Where several processes train, all must call it.

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
        found = find_checkpoints(self.folder)
        if not processes.copies_from_first():
            newest = epoch_of(found[-1]) if found else None
            self._check_same_start(model, newest)
        if not found:
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
        self._data_epoch = checkpoint.data_epoch
        self._sets_data = self._is_training = False
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

    def prepare_fit(
        self,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
        epochs: int,
        initial_epoch: int | None = None,
        verbose: Any = "auto",
    ) -> int | None:
        """Restores the run in the folder, before `fit` begins.

        `ContrastiveModel.fit` calls this.

        Args:
            model: The model, built and compiled.
            callbacks: All callbacks of `fit`.
            epochs: Argument of `fit`.
            initial_epoch: Argument of `fit`, or `None` if it was not given.
                Defaults to `None`.
            verbose: Argument of `fit`. Defaults to `"auto"`.

        Returns:
            The epoch to begin with, or `None` to begin as `fit` was asked.
        """
        for callback in callbacks:
            if _has_state(callback) and callback not in self.callbacks:
                warnings.warn(
                    f"The checkpoints in {self.folder} do not hold the state "
                    f"of {type(callback).__name__}, which the run needs to "
                    "continue. To save it, pass that callback to "
                    "`ResumableCheckpoint(callbacks=[...])`, too.",
                    stacklevel=3,
                )
        self._on_first_process(model, lambda: self._lock_folder(callbacks))
        try:
            start, restores = self._planned_start(model, initial_epoch)
            # Before anything is loaded: on JAX, all processes load together.
            self._check_same_start(model, start)
            if restores:
                start = self.restore(model)
            self._on_first_process(
                model, lambda: self._drop_rows(model, callbacks)
            )
        except BaseException:
            self._lock.release()
            raise
        if start is None:
            return None
        self._sets_data = True
        if verbose != 0 and processes.process(model)[0] == 0:
            print(self._resumes(start, epochs), flush=True)
        if start >= epochs:
            self._lock.release()
        return start

    def _lock_folder(self, training: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(training)

    def _planned_start(
        self, model: keras.Model, initial_epoch: int | None
    ) -> tuple[int | None, bool]:
        """Returns the epoch to begin with, and whether to restore it."""
        found = find_checkpoints(self.folder)
        if not found:
            self._begins_at = None
            return None, False
        if self._is_own(model, found[-1]) and not self._is_training:
            return self._begins_at if initial_epoch is None else None, False
        if not self.resume:
            return None, False  # `on_train_begin` refuses it if need be.
        newest = epoch_of(found[-1])
        if initial_epoch not in (None, newest):
            raise _another_epoch(
                f"{self.folder} holds a run of {newest} epochs",
                newest,
                initial_epoch,
            )
        return newest, True

    def _drop_rows(
        self,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        found = find_checkpoints(self.folder)
        if not found:
            drop_lost_rows(self.folder, callbacks, 0)
        elif self._is_own(model, found[-1]):
            drop_lost_rows(self.folder, callbacks, self._begins_at)

    def _resumes(self, start: int, epochs: int) -> str:
        if start < epochs:
            return (
                f"Continuing the run in {self.folder}: {start} of {epochs} "
                "epochs are done."
            )
        done = f"all {epochs}" if start == epochs else f"{start}"
        return (
            f"The run in {self.folder} has {done} epochs already, so there is "
            f"nothing left to train with epochs={epochs}. The model is "
            "restored. To train anew, use another folder."
        )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        if self._trained is None or self._trained() is not model:
            self._begins_at = None
        self._on_first_process(model, lambda: self._claim(model))
        self._is_training = True
        data = _data_of(model)
        if self._sets_data and data is not None:
            # Only now has Keras read the batches that tell it their shapes.
            known = self._data_epoch
            data.epoch = self._epoch if known is None else known
        self._sets_data = False

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        expected, self._begins_at = self._begins_at, None
        if expected not in (None, epoch):
            raise _another_epoch(
                f"`restore` went back to the end of epoch {expected}",
                expected,
                epoch,
            )

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        done = epoch + 1
        if done % self.interval and done != self.params.get("epochs"):
            return
        model = self.model  # On JAX, reading it updates its variables.
        self._on_first_process(model, lambda: self._save(model, done))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._is_training = False
        self._lock.release()

    def _check_same_start(self, model: keras.Model, start: int | None) -> None:
        """Raises if the first process goes on from another epoch."""
        if start != processes.of_first(start, model):
            raise ValueError(
                "Every process must see the checkpoints of the first one: use "
                "a folder that all hosts share, or copy it to each of them. "
                f"Received: {self.folder}, in which this process finds "
                f"{'none' if start is None else f'epoch {start}'}"
            )

    def _on_first_process(
        self, model: keras.Model, act: Callable[[], None]
    ) -> None:
        """Calls a function on the first process; all raise if it fails."""
        error: Exception | None = None
        if processes.process(model)[0] == 0:
            try:
                act()
            except Exception as raised:
                error = raised
                self._lock.release()  # Keras will not call `on_train_end`.
        # The others must know, as the first does, which run they train.
        told, self._run, self._epoch, is_trained = processes.of_first(
            (
                None if error is None else str(error),
                self._run,
                self._epoch,
                self._trained is not None and self._trained() is model,
            ),
            model,
        )
        if is_trained:
            self._trained = weakref.ref(model)
        if error is not None:
            raise error
        if told is not None:
            raise ValueError(f"The first process has stopped: {told}")

    def _claim(self, model: keras.Model) -> None:
        """Locks the folder; raises if it holds another run."""
        self._lock_folder(self.params)
        check_foreign(self.folder, (self.params or {}).get("epochs") or 0)
        found = find_checkpoints(self.folder)
        if not found:
            self._run = uuid.uuid4().hex
        elif not self._is_own(model, found[-1]):
            raise ValueError(
                f"{self.folder} holds a run of {epoch_of(found[-1])} epochs: "
                "call `restore(model)` first to continue it, or use another "
                "folder."
            )
        self._trained = weakref.ref(model)

    def _is_own(self, model: keras.Model, newest: Path) -> bool:
        """Whether this object restored or wrote a checkpoint of a model."""
        return (
            self._trained is not None
            and self._trained() is model
            and epoch_of(newest) == self._epoch
            and run_of(newest) == self._run
        )

    def _save(self, model: keras.Model, epoch: int) -> None:
        if not self._lock.is_held:
            self._claim(model)
        assert self._run is not None
        description = describe_state(model, self.callbacks)
        arrays = read_state(model, self.callbacks)
        not_finite = find_not_finite(description, arrays)
        if not_finite is not None:
            raise ValueError(self._diverged(not_finite, epoch))
        data = _data_of(model)
        checkpoint = Checkpoint(
            epoch,
            self._run,
            description,
            arrays,
            data_epoch=None if data is None else data.epoch,
        )
        write_checkpoint(self.folder, checkpoint)
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


def _has_state(callback: Any) -> bool:
    return all(
        callable(getattr(callback, name, None))
        for name in ("get_state", "set_state")
    )


def _data_of(model: keras.Model) -> EpochBatches | None:
    """Returns what a model trains on, if its order depends on its epoch."""
    data = getattr(model, "training_data", None)
    return data if isinstance(data, EpochBatches) else None


def _another_epoch(why: str, expected: Any, received: Any) -> ValueError:
    return ValueError(
        f"{why}, so `fit` must go on there: pass `initial_epoch={expected}`. "
        f"Received: initial_epoch={received}"
    )


def _advice(newest: Path, older: Sequence[Path]) -> str:
    for path in reversed(older):
        try:
            read_checkpoint(path)
        except DamagedCheckpointError:
            continue
        return f"{path.name} is whole: remove {newest.name} to go on from it."
    return "There is no older one that is whole: use another folder."
