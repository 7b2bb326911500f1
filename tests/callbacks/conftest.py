"""A folder of checkpoints, for tests that look at files."""

import shutil

import pytest
from checkpoints import pretend, small_model

import keras_ltssl as lt


@pytest.fixture(scope="session")
def three_epochs(tmp_path_factory):
    """A folder with a run of three epochs, not to be written to."""
    folder = tmp_path_factory.mktemp("run")
    pretend(small_model(), lt.callbacks.ResumableCheckpoint(folder), 3)
    return folder


@pytest.fixture
def folder(three_epochs, tmp_path):
    """A copy of that folder, to do with as a test likes."""
    return shutil.copytree(three_epochs, tmp_path / "copy")
