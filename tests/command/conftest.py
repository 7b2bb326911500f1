"""Photos to call the command on, in this process."""

import contextlib
import io
import shutil

import numpy as np
import pytest

import keras_ltssl_command

FLAGS = ["--image_size=16", "--batch_size=16", "--epochs=2"]


def make_photos(folder):
    """Makes 24 photos, a third of them in each subfolder."""
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    for number in range(24):
        path = folder / ("fox", "owl", "élan")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20, 30, 3), "uint8")
        image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path):
    """A folder of photos."""
    make_photos(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    """A folder with photos and a run on them, not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    make_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with contextlib.redirect_stdout(io.StringIO()):
            assert keras_ltssl_command.run(["pretrain", "photos", *FLAGS]) == 0
    return folder


@pytest.fixture
def finished(finished_once, tmp_path):
    """A folder with `photos` and a finished `run`, to do with as one likes."""
    return shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Calls the command in this process; returns exit code and words."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capfd.readouterr()
        code = keras_ltssl_command.run([str(each) for each in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def pretrain(run):
    """Calls `pretrain photos` with small settings, and with further flags."""

    def call(*arguments):
        return run("pretrain", "photos", *FLAGS, *arguments)

    return call
