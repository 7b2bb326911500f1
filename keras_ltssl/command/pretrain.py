"""Trains an encoder on a folder of photos."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import flags

from keras_ltssl.callbacks import FeatureMonitor, ResumableCheckpoint
from keras_ltssl.command.disk_space import check_disk
from keras_ltssl.command.image_labels import (
    folder_labels,
    labels_of,
    read_labels,
)
from keras_ltssl.command.image_lists import ImageList, check_lists, read_lists
from keras_ltssl.command.model_of_run import model_of
from keras_ltssl.command.probes import EMBEDDED, embed_photos, write_probes
from keras_ltssl.command.run_folder import (
    RunFolder,
    check_output,
)
from keras_ltssl.command.run_settings import check_same, settings_of
from keras_ltssl.command.stopping import stopping_in_words
from keras_ltssl.command.training_progress import TrainingProgress, in_words
from keras_ltssl.datasets import DirectoryBatches, image_batches_from_directory
from keras_ltssl.datasets.directory_messages import LEFT_OUT
from keras_ltssl.models import ContrastiveModel
from keras_ltssl.report import write_report

# Images whose features are watched while it trains.
_MONITORED = 500


def pretrain(directory: str, values: flags.FlagValues) -> None:
    """Trains on a folder of photos, or goes on, and writes what came of it.

    Args:
        directory: The folder of the photos.
        values: The flags.

    Raises:
        ValueError: If a flag, a file or the output folder is not valid. All of
            that is checked before training.
        OSError: If a file cannot be written.
    """
    settings = settings_of(directory, values)
    _check_photos(directory)
    labels = (
        read_labels(values.labels, directory)
        if values.labels is not None
        else {}
    )
    lists = read_lists(values)
    folder = check_output(values.output, directory)
    lock = folder.lock()
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(values.precision)
        _pretrain(directory, values, settings, labels, lists, folder)
    finally:
        keras.config.set_dtype_policy(policy)
        folder.remove_if_unused()
        lock.release()


def _pretrain(
    directory: str,
    values: flags.FlagValues,
    settings: dict[str, Any],
    labels: dict[str, str],
    lists: dict[str, ImageList],
    folder: RunFolder,
) -> None:
    earlier = folder.read_settings()
    if earlier is not None:
        check_same(earlier, settings, folder)
    photos = _read_photos(
        directory, values, settings, folder, lists.get("train")
    )
    if earlier is not None:
        _check_same_files(photos, folder)
        settings["seconds"] = earlier.get("seconds")
    names = photos.names
    skipped = _reasons(photos)
    left_out = [each["path"] for each in skipped]
    known = _labels(values, names, labels, left_out, folder)
    sets = {"train": photos}
    for name in lists:
        if lists[name].is_same(lists["train"]):
            sets[name] = photos
            continue
        sets[name] = _read_photos(
            directory, values, settings, folder, lists[name]
        )
        settings[f"{name}_skipped"] = _reasons(sets[name])
    truth = {name: one.labels_of(sets[name]) for name, one in lists.items()}
    if "train" in truth:
        known = list(map(str, truth["train"].tolist()))
    if "test" in truth:
        check_lists(truth, values)
    model, callbacks = model_of(settings, photos)
    check_disk(model, folder, sum(len(one.names) for one in sets.values()))
    settings.update(
        num_files=len(names) + len(skipped),
        num_images=len(names),
        skipped=skipped,
    )
    photos.write_list(folder.files)
    folder.write_images(names, known)
    folder.write_settings(settings)

    _train(model, photos, callbacks, settings, folder)
    folder.write_encoder(model.encoder)
    features = embed_photos(model.encoder, photos, folder.features)
    print(
        f"Written: {folder.path / 'encoder.keras'}, features.npy, images.csv",
        flush=True,
    )
    if "test" in sets:
        write_probes(model.encoder, features, sets, truth, values, folder)
    print(f"To open in a browser: {write_report(folder.path)}")


def _read_photos(
    directory: str,
    values: flags.FlagValues,
    settings: dict[str, Any],
    folder: RunFolder,
    listed: ImageList | None,
) -> DirectoryBatches:
    """Returns the photos; says where those are listed that are left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photos = image_batches_from_directory(
            directory,
            names=None if listed is None else listed.names,
            color_mode=values.color_mode,
            batch_size=values.batch_size,
            image_size=tuple(settings["image_size"]),
            seed=values.seed,
            on_error=values.on_error,
            workers=values.workers,
        )
    for warning in caught:
        left_out = f"They are left out. {folder.path / 'run.json'} lists them."
        text = str(warning.message).replace(LEFT_OUT, left_out)
        print(text, file=sys.stderr, flush=True)
    return photos


def _train(
    model: ContrastiveModel,
    photos: DirectoryBatches,
    callbacks: list[keras.callbacks.Callback],
    settings: dict[str, Any],
    folder: RunFolder,
) -> None:
    epochs = settings["epochs"]
    done = folder.epochs_done
    print(
        f"Training {settings['framework']} {settings['method']} on "
        f"{len(photos.paths)} images, {keras.config.backend()} backend, "
        + (f"after {done} of {epochs} epochs" if done else f"{epochs} epochs"),
        flush=True,
    )
    progress = TrainingProgress(folder, settings, len(photos))
    checkpoint = ResumableCheckpoint(
        folder.checkpoints,
        callbacks=[
            callback for callback in callbacks if hasattr(callback, "get_state")
        ],
    )

    def next_step() -> str:
        return (
            f"{folder.epochs_done} of {epochs} epochs are saved in "
            f"{folder.path}. To go on, enter the same command again."
        )

    with stopping_in_words(next_step):
        model.fit(
            photos,
            epochs=epochs,
            verbose=0,
            callbacks=[
                *callbacks,
                _monitor_of(photos, epochs),
                keras.callbacks.CSVLogger(folder.history, append=True),
                progress,
                checkpoint,
            ],
        )
    if done < epochs:
        settings["seconds"] = round(progress.seconds, 1)
        print(f"Trained for {in_words(progress.seconds)}.", flush=True)
    folder.write_settings(settings)


def _monitor_of(photos: DirectoryBatches, epochs: int) -> FeatureMonitor:
    """Returns what logs the effective rank, twenty times in a run."""
    count = len(photos.paths)
    rows = np.linspace(0, count - 1, min(count, _MONITORED)).astype(int)
    return FeatureMonitor(
        photos.rows[rows], max(1, epochs // 20), batch_size=EMBEDDED
    )


def _check_photos(directory: str) -> None:
    if not Path(directory).is_dir():
        raise ValueError(
            "The photos must be in an existing folder. Received: "
            f"{directory}, which "
            + ("is a file" if Path(directory).exists() else "does not exist")
        )


def _check_same_files(photos: DirectoryBatches, folder: RunFolder) -> None:
    changes = photos.changes_since(folder.files)
    if changes:
        raise ValueError(
            f"The run in {folder.path} must go on with the images it began "
            f"with, or another run needs another --output. Since then, "
            f"{changes}"
        )


def _reasons(photos: DirectoryBatches) -> list[dict[str, str]]:
    """Returns the files that are left out, and why."""
    return [
        {
            "path": Path(path).relative_to(photos.directory).as_posix(),
            "reason": reason,
        }
        for path, reason in photos.skipped
    ]


def _labels(
    values: flags.FlagValues,
    names: Sequence[str],
    labels: dict[str, str],
    skipped: list[str],
    folder: RunFolder,
) -> list[str]:
    """Returns the label of each image; those known before stay."""
    if values.folder_labels:
        return folder_labels(names)
    before = dict(zip(*folder.read_images(), strict=True))
    given = labels_of(names, labels, skipped)
    return [
        label or before.get(name, "")
        for name, label in zip(names, given, strict=True)
    ]
