"""Decodes every image file once, to find those that cannot be read."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import keras

from keras_ltssl.datasets.image_files import read_image

# Files of one task. A task for each file would take memory for millions.
_CHUNK = 16

# More threads than this compete for Python's global lock.
_MOST_THREADS = 16


def find_faults(
    paths: Sequence[str],
    image_size: tuple[int, int],
    workers: int,
    verbose: bool,
) -> dict[int, str]:
    """Returns the reasons of the files that cannot be read.

    Each file is decoded in full, as in training, since many damaged files can
    be opened.

    Args:
        paths: Paths of image files.
        image_size: Tuple of integers `(height, width)`, in pixels.
        workers: Smallest number of threads. There are as many as processors,
            up to 16.
        verbose: Whether to show the progress.

    Returns:
        Reasons by the row of their file.
    """
    starts = range(0, len(paths), _CHUNK)

    def faults_from(start: int) -> dict[int, str]:
        found = {}
        for row, path in enumerate(paths[start : start + _CHUNK], start):
            try:
                read_image(path, image_size, "rgb", True)
            except ValueError as error:
                found[row] = str(error)
        return found

    progress = keras.utils.Progbar(
        len(paths), verbose=int(verbose), interval=0.2, unit_name="image"
    )
    faults: dict[int, str] = {}
    threads = ThreadPoolExecutor(
        max(workers, min(os.cpu_count() or 1, _MOST_THREADS)),
        thread_name_prefix="image_check",
    )
    try:
        tasks = [threads.submit(faults_from, start) for start in starts]
        for start, task in zip(starts, tasks, strict=True):
            faults.update(task.result())
            progress.add(min(_CHUNK, len(paths) - start))
    finally:
        # On Ctrl-C, do not decode the rest first.
        threads.shutdown(cancel_futures=True)
    return faults
