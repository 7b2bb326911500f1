"""Chooses the images of a run to label next."""

from pathlib import Path

import numpy as np
from absl import flags

from keras_ltssl.command.report import add_labels
from keras_ltssl.command.run_folder import (
    RunFolder,
    features_of,
    open_run,
)
from keras_ltssl.datasets import read_images
from keras_ltssl.report import contact_sheet
from keras_ltssl.samplers import choose_to_label, write_to_label

# Pixels of an image on the contact sheet, and images on it at most.
_SIDE = 128
_MOST = 1000


def suggest(path: str, values: flags.FlagValues) -> None:
    """Writes `to_label.csv` and `to_label.jpg` to the folder of a run.

    Labels that were filled in an earlier `to_label.csv` are added to the run
    before that file is replaced.

    Args:
        path: The folder of a finished run.
        values: The flags.

    Raises:
        ValueError: If it is no folder of a finished run, or fewer images than
            the budget have no label.
    """
    folder = open_run(path)
    features = features_of(folder)
    table = folder.path / "to_label.csv"
    if table.exists():
        add_labels(folder, str(table))
    names, labels = folder.read_images()
    labeled = np.array([bool(label) for label in labels])
    free = len(names) - int(labeled.sum())
    if values.budget > free:
        raise ValueError(
            "`--budget` must not exceed the images without a label. Received: "
            f"--budget={values.budget}, with {free} of {len(names)} images"
        )
    print(
        f"Choosing {values.budget} of {free} images without a label.",
        flush=True,
    )
    chosen = choose_to_label(
        features, values.budget, labeled=labeled, seed=values.seed
    )
    write_to_label(table, chosen, names)
    _draw(folder, [names[row] for row in chosen[:_MOST]])
    print(
        f"Written: {table}, to_label.jpg. Fill in the column label, then: "
        f"keras-ltssl report {folder.path} --labels {table}"
    )


def _draw(folder: RunFolder, names: list[str]) -> None:
    settings = folder.read_settings() or {}
    directory = Path(str(settings.get("directory")))
    images = read_images(
        [directory / name for name in names],
        (_SIDE, _SIDE),
        color_mode=settings.get("color_mode", "rgb"),
    )
    captions = [
        f"{rank} {Path(name).name}" for rank, name in enumerate(names, start=1)
    ]
    folder.write(
        "to_label.jpg",
        lambda path: contact_sheet(path, list(images), captions, size=_SIDE),
    )
