"""Checkpoints that survive a kill at any moment."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_ltssl import replicas
from keras_ltssl.random_states import random_states

_WEIGHTS = "model.weights.h5"
_SEEDS = "random_states.npz"
_EPOCH = "epoch.json"
_CALLBACK = "callback_{}.npz"


class ResumableCheckpoint(keras.callbacks.Callback):
    """Saves all that a run needs to go on, after every few epochs.

    Weights, optimizer, the state of the loss, and how far every random number
    generator of the model has come. A checkpoint is a folder that appears under
    its name in one step once it is complete, so whatever moment the process is
    killed at, the newest complete one is whole. Older ones are removed.

    With data whose order is a function of seed and epoch, such as
    `datasets.ImageBatches`, a run that is killed and resumed repeats the epoch
    that it lost and ends as an uninterrupted one would have.

    Args:
        folder: Folder for the checkpoints, created when missing.
        every: Epochs between two checkpoints, integer >= 1. Defaults to `1`.
        callbacks: Other callbacks whose state is saved and restored with the
            model: those with `get_state()` and `set_state(arrays)`, such as
            `OODSampler`. Hand them to `fit` as well. Defaults to `()`.

    Raises:
        ValueError: If `every` is not an integer >= 1, or one of `callbacks`
            has no state.

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
        every: int = 1,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        super().__init__()
        if int(every) != every or every < 1:
            raise ValueError(
                f"`every` must be an integer >= 1. Received: every={every!r}"
            )
        for callback in callbacks:
            if not hasattr(callback, "get_state"):
                raise ValueError(
                    "`callbacks` must have `get_state()` and `set_state()`. "
                    f"Received: {callback!r}"
                )
        self.folder = Path(folder)
        self.every = every
        self.callbacks = tuple(callbacks)

    def _complete(self) -> list[Path]:
        """Returns the complete checkpoints, oldest first."""
        return sorted(self.folder.glob("epoch-" + "[0-9]" * 6))

    def restore(self, model: keras.Model) -> int:
        """Loads the newest checkpoint into a built and compiled model.

        Args:
            model: A model made and compiled as the one that was saved, and
                built, so that it has its weights.

        Returns:
            The epoch to go on with, for `fit(initial_epoch=...)`; 0 without
            any checkpoint.

        Raises:
            ValueError: If the model is not built and compiled, or the
                checkpoint does not fit it.
        """
        checkpoints = self._complete()
        if not checkpoints:
            return 0
        if not model.built or not model.compiled:
            raise ValueError(
                "`model` must be built and compiled before its weights can be "
                f"restored. Received: built={model.built}, "
                f"compiled={model.compiled}"
            )
        newest = checkpoints[-1]
        model.optimizer.build(model.trainable_variables)
        model.load_weights(newest / _WEIGHTS)
        with np.load(newest / _SEEDS, allow_pickle=False) as saved:
            states = random_states(model)
            if len(saved.files) != len(states):
                raise ValueError(
                    f"`model` has {len(states)} random number generators, but "
                    f"the checkpoint {newest} has {len(saved.files)}"
                )
            for index, variable in enumerate(states):
                variable.assign(saved[str(index)])
        for index, callback in enumerate(self.callbacks):
            path = newest / _CALLBACK.format(index)
            if not path.exists():
                raise ValueError(
                    f"The checkpoint {newest} holds no state of "
                    f"{type(callback).__name__}, callback number {index}"
                )
            with np.load(path, allow_pickle=False) as saved:
                callback.set_state(dict(saved))
        return int(json.loads((newest / _EPOCH).read_text())["epoch"])

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        done = epoch + 1
        if done % self.every and done != self.params.get("epochs"):
            return
        if replicas.process()[0]:  # The first one writes for all.
            return
        model = self.model  # On JAX, reading it brings its variables up to date
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        model.save_weights(unfinished / _WEIGHTS)
        states = random_states(model)
        np.savez(
            unfinished / _SEEDS,
            **{
                str(index): keras.ops.convert_to_numpy(variable)
                for index, variable in enumerate(states)
            },
        )
        for index, callback in enumerate(self.callbacks):
            path = unfinished / _CALLBACK.format(index)
            np.savez(path, **callback.get_state())
        (unfinished / _EPOCH).write_text(json.dumps({"epoch": done}))
        for path in unfinished.iterdir():
            _flush_to_disk(path)
        before = self._complete()
        finished = self.folder / f"epoch-{done:06d}"
        # An older run's checkpoint of the same epoch gives way.
        shutil.rmtree(finished, ignore_errors=True)
        os.replace(unfinished, finished)
        _flush_to_disk(self.folder)
        for path in before:
            if path != finished:
                shutil.rmtree(path)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
