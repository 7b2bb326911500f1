"""What every test needs: a named backend and repeatable randomness."""

import os
import shutil

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# For a GPU, which several processes of tests share; on a processor nothing
# changes. Float32 products are not rounded to TF32, and a sum has one order.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import keras
import on_gpu  # noqa: F401
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
