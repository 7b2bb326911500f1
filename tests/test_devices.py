"""Several devices train as one: the same losses, gradients and weights.

Real devices of this computer's processor: two and four of JAX, as many replicas
of TensorFlow and processes of PyTorch. Those with four run on JAX and
TensorFlow in `make test-all` alone.
"""

import fcntl
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from gradients import value_and_gradient

every_backend = pytest.mark.every_backend
BACKEND = keras.backend.backend()
PROGRAM = Path(__file__).parent / "train_on_devices.py"
NAMES = [
    "nt_xent",
    "nt_xent_in_chunks",
    "scheduled",
    "focal",
    "macl",
    "dystress",
    "dystress_in_chunks",
    "tase",
    "harmonization",
    "colt",
    "colt_in_chunks",
    "con_mix",
    "boosted",
    "sogclr",
    "isogclr",
    "byol",
    "sdclr",
    "moco",
    "moco_colt",
    "moco_isogclr",
]
COUNTS = [pytest.param(2, marks=every_backend), 4]
SECONDS = 1800
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
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def results(process, path):
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return dict(np.load(path))


def run_processes(folder, count):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    paths = [folder / f"{count}-{rank}.npz" for rank in range(count)]
    processes = [
        start(
            path,
            RANK=str(rank),
            WORLD_SIZE=str(count),
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


class Runs:
    """What a number of devices computed, by process, once asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.arrays = {}

    def __getitem__(self, count):
        if count not in self.arrays:
            # One worker computes, the other one waits.
            with open(self.folder / "devices.lock", "w") as lock:
                fcntl.lockf(lock, fcntl.LOCK_EX)
                done = self.folder / f"done-{count}"
                if not done.exists():
                    self.compute([1, 2] if count < 4 else [count])
            self.arrays[count] = [
                dict(np.load(path))
                for path in sorted(self.folder.glob(f"{count}-*"))
            ]
        return self.arrays[count]

    def compute(self, counts):
        """Writes what each process of each number of devices computed."""
        with ThreadPoolExecutor(len(counts)) as pool:
            for each in [pool.submit(self.run, count) for count in counts]:
                each.result()
        for count in counts:
            (self.folder / f"done-{count}").touch()

    def run(self, count):
        if BACKEND == "torch" and count > 1:
            run_processes(self.folder, count)
        else:
            path = self.folder / f"{count}-0.npz"
            results(start(path, DEVICES=str(count)), path)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    # The folder of all workers of this run.
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return Runs(folder)


compares_logs = pytest.mark.skipif(
    BACKEND == "tensorflow" and keras.version().startswith("3.8."),
    reason="Keras 3.8 logs another mean of replicas; gradients are right.",
)


@compares_logs
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", COUNTS)
def test_losses_are_those_of_one_device(runs, name, count):
    # Each process reports the mean over its own samples.
    losses = np.mean([run[f"{count}/{name}/losses"] for run in runs[count]], 0)
    (one,) = runs[1]
    np.testing.assert_allclose(
        losses, one[f"1/{name}/losses"], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    "what",
    [
        *("gradients", "weights", "memories"),
        pytest.param("logged", marks=compares_logs),
    ],
)
def test_what_training_changes_and_logs_is_that_of_one_device(
    runs, name, count, what
):
    (one,) = runs[1]
    expected = one[f"1/{name}/{what}"]
    assert np.isfinite(expected).all()
    for run in runs[count]:
        np.testing.assert_allclose(
            run[f"{count}/{name}/{what}"], expected, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ["embed", "embed_rows"])
def test_features_are_those_of_one_device(runs, name, count):
    (one,) = runs[1]
    for run in runs[count]:
        np.testing.assert_allclose(
            run[f"{count}/features/{name}"],
            one[f"1/features/{name}"],
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.skipif(BACKEND == "torch", reason="It has a process a device.")
@pytest.mark.parametrize("count", COUNTS)
def test_devices_share_what_is_embedded(runs, count):
    # Ten images; twelve with those that fill them up.
    rows = {2: [5, 5], 4: [3, 3, 3, 3]}[count]
    assert runs[count][0][f"{count}/features/rows"].tolist() == rows


@only_torch
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("name", "function"),
    {
        "nt_xent": lt.losses.nt_xent,
        "nt_xent_in_chunks": lt.losses.nt_xent,
        "dystress": lt.losses.dystress,
        "macl": lt.losses.macl,
    }.items(),
)
def test_parts_may_have_different_sizes(runs, name, function, count):
    samples = sum(range(2, 2 + count))
    views = np.random.default_rng(0).normal(size=(32, 2, 8))
    z = views[:samples].astype("float32")
    _, gradient = value_and_gradient(lambda z: keras.ops.sum(function(z)), z)
    for what, expected in {
        "losses": keras.ops.convert_to_numpy(function(z)),
        "gradients": gradient,
    }.items():
        received = [run[f"uneven/{name}/{what}"] for run in runs[count]]
        np.testing.assert_allclose(
            np.concatenate(received), expected, rtol=0, atol=1e-5
        )


@every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="PyTorch's are tested above.")
def test_processes_of_jax_train_as_one_device(runs, tmp_path):
    (one,) = runs[1]
    for run in run_processes(tmp_path, 2):
        names = {name.split("/")[1] for name in run}
        assert names == {"tase", "colt", "features"}
        for name, array in run.items():
            expected = one[f"1/{name.removeprefix('2/')}"]
            np.testing.assert_allclose(array, expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="A rule of JAX's runtime.")
@pytest.mark.parametrize("count", COUNTS)
def test_batches_that_devices_cannot_share_are_refused(runs, count):
    message = str(runs[count][0]["uneven"])
    assert f"multiple of {count} samples" in message
    assert "batches of [3] samples" in message


@only_torch
def test_processes_with_the_same_data_are_refused(runs):
    for run in runs[2]:
        for name in ("same data", "no part"):
            assert "the same data in several processes" in str(run[name])


@only_torch
def test_processes_with_other_numbers_of_steps_are_refused(runs):
    for run in runs[2]:
        assert "[1, 2]" in str(run["other steps"])


@only_torch
def test_each_process_reads_its_part(runs):
    first, second = (set(run["ids"].tolist()) for run in runs[2])
    assert len(first) == len(second) == 16
    assert first | second == set(range(32))


@only_torch
def test_processes_draw_other_views_and_share_prototypes(runs):
    first, second = runs[2]
    assert np.abs(first["view"] - second["view"]).max() > 1
    np.testing.assert_array_equal(first["prototypes"], second["prototypes"])


@every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="There, they are of the batch.")
def test_batch_statistics_of_a_part_are_pointed_out(runs):
    for run in runs[2]:
        assert "batch normalization uses the statistics" in str(run["warnings"])


@only_torch
def test_the_first_process_writes_checkpoints(runs):
    assert [bool(run["wrote"]) for run in runs[2]] == [True, False]


@only_torch
def test_all_processes_continue_the_run_of_the_first(runs):
    first, second = runs[2]
    for run in (first, second):
        assert run["resumed_epochs"].tolist() == [1]
    np.testing.assert_array_equal(first["resumed"], second["resumed"])
