"""Decodes image files with several threads or processes."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import (
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ltssl.datasets.image_files import (
    CHANNELS,
    check_pillow,
    read_into,
)
from keras_ltssl.datasets.random_crops import VIEWS, RandomCrops
from keras_ltssl.validation import check_boolean


class ImageReader:
    """Distributes the files of each call to threads or processes.

    The workers start at the first call that needs them, and end with this
    object or with the interpreter.

    Args:
        workers: Integer, number of threads or processes. With 0 or 1, the
            calling thread decodes.
        use_multiprocessing: Boolean, whether the workers are processes.
    """

    def __init__(self, workers: int, use_multiprocessing: bool = False):
        self._workers = workers
        self._use_multiprocessing = check_boolean(
            "use_multiprocessing", use_multiprocessing
        )
        self._executor: Executor | None = None
        self._lock = threading.Lock()

    def read(
        self,
        paths: Sequence[str],
        image_size: tuple[int, int],
        color_mode: str = "rgb",
        crop_to_aspect_ratio: bool = True,
        crops: RandomCrops | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Decodes image files as `read_images` does.

        Args:
            paths: Paths of image files.
            image_size: Tuple of integers `(height, width)`, in pixels.
            color_mode: `"rgb"` or `"grayscale"`.
            crop_to_aspect_ratio: Whether to crop rather than to distort.
            crops: Random crops of each image. Defaults to `None`, the images.

        Returns:
            `uint8` array of shape `(len(paths), height, width, channels)`, or
            `(len(paths), 2, height, width, channels)` with `crops`.
        """
        check_pillow()
        views = () if crops is None else (VIEWS,)
        images = np.empty(
            (len(paths), *views, *image_size, CHANNELS[color_mode]), np.uint8
        )
        form = (color_mode, crop_to_aspect_ratio)
        num_parts = min(self._workers, len(paths))
        if num_parts < 2:
            read_into(images, paths, *form, crops)
            return images
        bounds = itertools.pairwise(
            len(paths) * i // num_parts for i in range(num_parts + 1)
        )
        try:
            executor = self._started()
            tasks = []
            for part in itertools.starmap(slice, bounds):
                arguments = (paths[part], *form, crops and crops[part])
                # Threads write to the batch itself, processes to a copy.
                task = (
                    executor.submit(_read_copy, images[part].shape, *arguments)
                    if self._use_multiprocessing
                    else executor.submit(read_into, images[part], *arguments)
                )
                tasks.append((part, task))
            for part, task in tasks:
                read = task.result()
                if read is not None:
                    images[part] = read
            return images
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A process that reads images has ended too soon. Each process "
                "imports the main script, so with `use_multiprocessing=True` "
                "the script must start its work under "
                '`if __name__ == "__main__":`. '
                f"Received: {error}"
            ) from error

    def _started(self) -> Executor:
        with self._lock:
            if self._executor is None:
                self._executor = self._start()
            return self._executor

    def _start(self) -> Executor:
        if not self._use_multiprocessing:
            return ThreadPoolExecutor(
                self._workers, thread_name_prefix="image_reader"
            )
        return ProcessPoolExecutor(
            self._workers,
            # A fork with a running backend may hang.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
        )


def _start_worker() -> None:
    """Makes this process end with the main process, however that ends."""
    # On Ctrl-C the main process ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One that is killed cannot, and its workers would wait for it forever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _read_copy(
    shape: tuple[int, ...], *arguments: Any
) -> npt.NDArray[np.uint8]:
    """Returns what `read_into` writes to an array of this shape."""
    images = np.empty(shape, np.uint8)
    read_into(images, *arguments)
    return images
