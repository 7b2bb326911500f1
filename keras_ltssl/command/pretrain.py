"""Trains an encoder on a folder of photos."""

import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import flags

from keras_ltssl.callbacks import FeatureMonitor, ResumableCheckpoint
from keras_ltssl.command import recipe
from keras_ltssl.command.disk_space import check_disk
from keras_ltssl.command.image_labels import (
    folder_labels,
    labels_of,
    read_labels,
)
from keras_ltssl.command.run_folder import (
    RunFolder,
    check_output,
)
from keras_ltssl.command.run_settings import check_same, settings_of
from keras_ltssl.command.stopping import stopping_in_words
from keras_ltssl.command.training_progress import TrainingProgress, in_words
from keras_ltssl.datasets import DirectoryBatches, image_batches_from_directory
from keras_ltssl.datasets.directory_messages import LEFT_OUT
from keras_ltssl.evaluation.embed_rows import embed_rows
from keras_ltssl.models import ContrastiveModel
from keras_ltssl.report import write_report

# Images that the encoder takes at once after training.
_EMBEDDED = 256
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
    folder = check_output(values.output, directory)
    lock = folder.lock()
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(values.precision)
        _pretrain(directory, values, settings, labels, folder)
    finally:
        keras.config.set_dtype_policy(policy)
        folder.remove_if_unused()
        lock.release()


def _pretrain(
    directory: str,
    values: flags.FlagValues,
    settings: dict[str, Any],
    labels: dict[str, str],
    folder: RunFolder,
) -> None:
    earlier = folder.read_settings()
    if earlier is not None:
        check_same(earlier, settings, folder)
    photos = _read_photos(directory, values, settings, folder)
    if earlier is not None:
        _check_same_files(photos, folder)
        settings["seconds"] = earlier.get("seconds")
    names = photos.names
    skipped = {
        Path(path).relative_to(photos.directory).as_posix(): reason
        for path, reason in photos.skipped
    }
    known = _labels(values, names, labels, skipped, folder)
    model, callbacks = _model_of(settings, photos)
    check_disk(model, folder, len(names))
    settings.update(
        num_files=len(names) + len(skipped),
        num_images=len(names),
        skipped=[
            {"path": name, "reason": reason} for name, reason in skipped.items()
        ],
    )
    photos.write_list(folder.files)
    folder.write_images(names, known)
    folder.write_settings(settings)

    _train(model, photos, callbacks, settings, folder)
    print("Embedding the images:", flush=True)
    features = embed_rows(model.encoder, photos.rows, _EMBEDDED, verbose=1)
    folder.write_features(features.astype(np.float32))
    folder.write_encoder(model.encoder)
    print(
        f"Written: {folder.path / 'encoder.keras'}, features.npy, images.csv",
        flush=True,
    )
    print(f"To open in a browser: {write_report(folder.path)}")


def _read_photos(
    directory: str,
    values: flags.FlagValues,
    settings: dict[str, Any],
    folder: RunFolder,
) -> DirectoryBatches:
    """Returns the photos; says where those are listed that are left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photos = image_batches_from_directory(
            directory,
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
        photos.rows[rows], max(1, epochs // 20), batch_size=_EMBEDDED
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


def _labels(
    values: flags.FlagValues,
    names: list[str],
    labels: dict[str, str],
    skipped: dict[str, str],
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


def _model_of(
    settings: dict[str, Any], photos: DirectoryBatches
) -> tuple[ContrastiveModel, list[keras.callbacks.Callback]]:
    """Returns the model and what changes between its epochs."""
    _, additions = recipe.split_method(settings["method"])
    epochs, temperature = settings["epochs"], settings["temperature"]
    num_images = len(photos.paths)
    loss = recipe.build_loss(
        settings["method"],
        temperature,
        num_samples=num_images,
        framework=settings["framework"],
        **recipe.harmonization_of(epochs),
    )
    optimizer = recipe.build_optimizer(
        settings["optimizer"],
        settings["learning_rate"],
        epochs * len(photos),
        settings["weight_decay"],
    )
    shape = photos.rows.shape
    # More keys than images would be keys of the same images.
    arguments = (
        {"queue_size": min(4096, num_images)}
        if settings["framework"] == "moco"
        else {}
    )
    model = recipe.build_model(
        (shape[0], shape[1], shape[2]),
        loss,
        optimizer,
        settings["backbone"],
        settings["seed"],
        settings["framework"],
        boosts_views="bcl" in additions,
        rand_augment=0.0 if "bcl" in additions else settings["rand_augment"],
        horizontal_flip=0.5 if settings["horizontal_flip"] else 0.0,
        weights=settings["weights"],
        **arguments,
    )
    return model, recipe.build_callbacks(
        additions, epochs, (temperature / 2, temperature * 3 / 2)
    )
