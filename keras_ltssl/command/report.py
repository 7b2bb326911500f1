"""Writes the report of a run."""

from absl import flags

from keras_ltssl.command.image_labels import labels_of, read_labels
from keras_ltssl.command.run_folder import RunFolder, open_run
from keras_ltssl.report import write_report


def report(path: str, values: flags.FlagValues) -> None:
    """Writes `report.html`, after adding labels if a file of them is given.

    Args:
        path: The folder of the run, which need not be finished.
        values: The flags.

    Raises:
        ValueError: If it is no folder of a run, or labels are not valid.
    """
    folder = open_run(path)
    if values.labels is not None:
        add_labels(folder, values.labels)
    page = write_report(folder.path)
    print(f"Written: {page}, report.json")


def add_labels(folder: RunFolder, file: str) -> None:
    """Adds labels to `images.csv`; those known before stay, unless renewed.

    Args:
        folder: The folder of the run.
        file: A file that `read_labels` reads.

    Raises:
        ValueError: If the file is not valid.
    """
    settings = folder.read_settings() or {}
    directory = str(settings.get("directory"))
    names, before = folder.read_images()
    skipped = [each["path"] for each in settings.get("skipped") or []]
    given = labels_of(names, read_labels(file, directory), skipped)
    folder.write_images(
        names,
        [new or old for new, old in zip(given, before, strict=True)],
    )
