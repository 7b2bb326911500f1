"""Several devices train as one: the same losses, gradients and weights.

Real devices of this computer's processor: four of JAX, two replicas of
TensorFlow, two processes of PyTorch.
"""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.every_backend

BACKEND = keras.backend.backend()
PROGRAM = Path(__file__).parent / "train_on_devices.py"
NAMES = [
    "nt_xent",
    "nt_xent_in_chunks",
    "tase",
    "harmonization",
    "colt",
    "con_mix",
    "isogclr",
    "moco",
]
only_torch = pytest.mark.skipif(
    BACKEND != "torch", reason="Only PyTorch trains with a process a device."
)


def start(path, **settings):
    environment = {
        **os.environ,
        "KERAS_BACKEND": BACKEND,
        "PYTHONPATH": os.pathsep.join(sys.path),
        # Where there is a GPU, too.
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        **settings,
    }
    environment.pop("XLA_FLAGS", None)
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results(process, path):
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    return dict(np.load(path))


def run_processes(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    paths = [folder / f"{rank}.npz" for rank in range(2)]
    processes = [
        start(
            path,
            RANK=str(rank),
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for rank, path in enumerate(paths)
    ]
    try:
        return [
            results(process, path)
            for process, path in zip(processes, paths, strict=True)
        ]
    finally:  # Where one fails, the other waits for it.
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """What "one" and "several" devices computed, the latter by process."""
    # The folder of all workers of this run: one computes, the others wait.
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "devices.lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        one = folder / "one.npz"
        if not one.exists():
            if BACKEND == "torch":
                for rank, run in enumerate(run_processes(folder)):
                    np.savez(folder / f"several-{rank}.npz", **run)
            results(start(folder / "new.npz"), folder / "new.npz")
            (folder / "new.npz").rename(one)
    several = sorted(folder.glob("several-*.npz")) or [one]
    return {
        "one": dict(np.load(one)),
        "several": [dict(np.load(path)) for path in several],
    }


@pytest.mark.skipif(
    BACKEND == "tensorflow" and keras.version().startswith("3.8."),
    reason="Keras 3.8 logs another mean of replicas; gradients are right.",
)
@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_one_device(runs, name):
    # Each process reports the mean over its own samples.
    losses = np.mean(
        [run[f"several/{name}/losses"] for run in runs["several"]], 0
    )
    np.testing.assert_allclose(
        losses, runs["one"][f"one/{name}/losses"], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["gradients", "weights", "memories"])
def test_gradients_weights_and_memories_are_those_of_one_device(
    runs, name, what
):
    expected = runs["one"][f"one/{name}/{what}"]
    assert np.isfinite(expected).all()
    for run in runs["several"]:
        np.testing.assert_allclose(
            run[f"several/{name}/{what}"], expected, rtol=0, atol=1e-5
        )


@pytest.mark.skipif(BACKEND != "jax", reason="PyTorch's are tested above.")
def test_processes_of_jax_train_as_one_device(runs, tmp_path):
    one = runs["one"]
    for run in run_processes(tmp_path):
        assert {name.split("/")[1] for name in run} == {"tase", "colt"}
        for name, array in run.items():
            expected = one[name.replace("several", "one")]
            np.testing.assert_allclose(array, expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="A rule of JAX's runtime.")
def test_batches_that_devices_cannot_share_are_refused(runs):
    message = str(runs["one"]["uneven"])
    assert "multiple of 4 samples" in message
    assert "batches of [2] samples" in message


@only_torch
def test_processes_with_the_same_data_are_refused(runs):
    for run in runs["several"]:
        for name in ("same data", "no part"):
            assert "the same data in several processes" in str(run[name])


@only_torch
def test_processes_with_other_numbers_of_steps_are_refused(runs):
    for run in runs["several"]:
        assert "[1, 2]" in str(run["other steps"])


@only_torch
def test_each_process_reads_its_part(runs):
    first, second = (set(run["ids"].tolist()) for run in runs["several"])
    assert len(first) == len(second) == 16
    assert first | second == set(range(32))


@only_torch
def test_processes_draw_other_views_and_share_prototypes(runs):
    first, second = runs["several"]
    assert np.abs(first["view"] - second["view"]).max() > 1
    np.testing.assert_array_equal(first["prototypes"], second["prototypes"])


@pytest.mark.skipif(BACKEND == "jax", reason="There, they are of the batch.")
def test_batch_statistics_of_a_part_are_pointed_out(runs):
    for run in runs["several"]:
        assert "batch normalization uses the statistics" in str(run["warnings"])


@only_torch
def test_the_first_process_writes_checkpoints(runs):
    assert [bool(run["wrote"]) for run in runs["several"]] == [True, False]


@only_torch
def test_all_processes_continue_the_run_of_the_first(runs):
    first, second = runs["several"]
    for run in (first, second):
        assert run["resumed_epochs"].tolist() == [1]
    np.testing.assert_array_equal(first["resumed"], second["resumed"])
