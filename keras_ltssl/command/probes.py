"""Embeds the images of a run into files, and runs the probes on them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from absl import flags

from keras_ltssl.command.image_lists import LISTS, split_of
from keras_ltssl.command.run_folder import RunFolder
from keras_ltssl.datasets import DirectoryBatches
from keras_ltssl.evaluation import long_tail_report
from keras_ltssl.evaluation.embedding import embed_anew

# Images that the encoder takes at once after training.
EMBEDDED = 256


def embed_photos(
    encoder: keras.Model, photos: DirectoryBatches, path: Path
) -> npt.NDArray[Any]:
    """Returns the features of photos, in a file; goes on after a kill.

    Args:
        encoder: The encoder.
        photos: The photos.
        path: Path of the file. One of other weights or photos is replaced.
    """
    print(f"Embedding {len(photos.names)} images:", flush=True)
    return embed_anew(encoder, photos.rows, path, EMBEDDED, verbose=1)


def write_probes(
    encoder: keras.Model,
    features: npt.NDArray[Any],
    photos: dict[str, DirectoryBatches],
    labels: dict[str, npt.NDArray[np.int64]],
    values: flags.FlagValues,
    folder: RunFolder,
) -> None:
    """Trains and tests the probes, and writes `probes.json`.

    Args:
        encoder: The encoder.
        features: Those of the training images.
        photos: The photos of each of `LISTS`.
        labels: Their labels.
        values: The flags.
        folder: The folder of the run. Features go to `probe_features.npy` and
            `test_features.npy`.
    """
    all_features = {
        name: features
        if photos[name] is photos["train"]
        else embed_photos(
            encoder, photos[name], folder.path / f"{name}_features.npy"
        )
        for name in LISTS
    }
    report = long_tail_report(
        None,
        split_of(all_features, labels),
        name=f"{values.framework} {values.method}",
        groups=values.groups,
        shots=values.shots,
        draws=values.draws,
        seed=values.seed,
        progress=_say,
        in_minibatches=True,
    )
    folder.write(
        "probes.json",
        lambda path: path.write_text(report.to_json(), encoding="utf-8"),
    )
    print(f"\n{report.to_text()}", flush=True)


def _say(line: str) -> None:
    print(line[0].upper() + line[1:], flush=True)
