import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from keras_ltssl.datasets import ImageBatches, read_images
from keras_ltssl.datasets.image_reader import ImageReader


@pytest.fixture
def paths(tmp_path):
    paths = [str(tmp_path / f"{row}.png") for row in range(11)]
    for row, path in enumerate(paths):
        Image.new("RGB", (9, 12), (row, 20 * row, 0)).save(path)
    return paths


@pytest.mark.parametrize("workers", [0, 1, 2, 3, 20])
@pytest.mark.parametrize("num_paths", [0, 1, 2, 11])
def test_images_come_in_the_order_of_their_paths(paths, workers, num_paths):
    images = ImageReader(workers).read(paths[:num_paths], (6, 4))
    np.testing.assert_array_equal(
        images, read_images(paths[:num_paths], (6, 4))
    )


def test_broken_file_is_named(paths):
    with open(paths[7], "wb") as file:
        file.write(b"no image")
    with pytest.raises(ValueError, match=r"Cannot read the image .*7\.png"):
        ImageReader(3).read(paths, (6, 4))


def test_threads_end_with_their_reader(paths):
    before = set(threading.enumerate())
    reader = ImageReader(3)
    assert set(threading.enumerate()) == before
    reader.read(paths, (6, 4))
    started = set(threading.enumerate()) - before
    assert started
    del reader
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def test_end_of_a_process_is_reported_with_its_likely_cause(paths):
    before = set(multiprocessing.active_children())
    batches = ImageBatches(
        paths, image_size=(6, 4), workers=2, use_multiprocessing=True
    )
    # Both processes wait for them: else one alone may read all files in time.
    for path in paths:
        os.remove(path)
        os.mkfifo(path)
    with ThreadPoolExecutor(1) as thread:
        batch = thread.submit(batches.__getitem__, 0)
        children = set()
        # Both: CPython leaves a process running that it starts in the moment
        # in which another one is found dead.
        while len(children) < 2 and not batch.done():
            children = set(multiprocessing.active_children()) - before
            time.sleep(0.01)
        os.kill(children.pop().pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match='if __name__ == "__main__":'):
            batch.result(60)
    with pytest.raises(RuntimeError, match="has ended too soon"):
        batches[0]
    for child in set(multiprocessing.active_children()) - before:
        # Not `join`, which the executor's own thread waits in: of two that
        # wait for a process, one may come back before it is known to be over.
        deadline = time.monotonic() + 60
        while child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not child.is_alive()


def test_processes_end_with_a_main_process_that_is_killed(paths):
    code = (
        "import multiprocessing, sys\n"
        "from keras_ltssl.datasets.image_reader import ImageReader\n"
        "if __name__ == '__main__':\n"
        "    reader = ImageReader(2, use_multiprocessing=True)\n"
        "    reader.read(sys.argv[1:], (6, 4))\n"
        "    children = multiprocessing.active_children()\n"
        "    print(*[child.pid for child in children], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    script = os.path.join(os.path.dirname(paths[0]), "read.py")
    with open(script, "w") as file:
        file.write(code)
    with subprocess.Popen(
        [sys.executable, script, *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as main:
        children = [int(number) for number in main.stdout.readline().split()]
        main.kill()
    assert children
    deadline = time.monotonic() + 60
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_running, children))


def is_running(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # Over, but not yet asked about.
