"""What every test needs: a named backend and repeatable randomness."""

import os
import shutil

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

# A script that asks for virtual devices, before anything else uses one.
collect_ignore = ["train_on_devices.py"]


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_test():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def three_epochs(tmp_path_factory):
    """A folder with a run of three epochs, not to be written to."""
    from checkpoints import pretend, small_model

    import keras_ltssl as lt

    folder = tmp_path_factory.mktemp("run")
    pretend(small_model(), lt.callbacks.ResumableCheckpoint(folder), 3)
    return folder


@pytest.fixture
def folder(three_epochs, tmp_path):
    """A copy of that folder, to do with as a test likes."""
    return shutil.copytree(three_epochs, tmp_path / "copy")
