"""The scripts of `examples/` train on two hosts with addresses of their own.

The hosts are network namespaces of this machine; see `tests/hosts.py`.
"""

import json
import re
import sys
import time
from pathlib import Path

import hosts
import keras
import numpy as np
import pytest

from keras_ltssl.callbacks.checkpoint_files import read_checkpoint

BACKEND = keras.backend.backend()
SCRIPT = Path(__file__).parents[2] / "examples" / f"several_hosts_{BACKEND}.py"
EPOCHS = 8
PORT = 2345
# What the last host says when the other one is gone.
SAYS = {
    "torch": "Connection closed by peer|Connection reset|[Tt]imed out",
    "jax": "another task died|Connection closed by peer|[Tt]imed out",
    "tensorflow": "unhealthy|Connection reset|failed to connect|timeout",
}
WHY_NOT = hosts.why_not()
pytestmark = pytest.mark.skipif(
    bool(WHY_NOT), reason=f"No hosts here: {WHY_NOT}"
)

# Two views that no random numbers change, whole batches, and few steps of an
# optimizer that does not enlarge differences of rounding.
FIXED_VIEWS = {
    "= split.x_train": "= split.x_train[:256]",
    "ImageBatches(images": "ImageBatches(fixed_views(images)",
    ", augmenter=views": "",
    '"adam"': "keras.optimizers.SGD(0.1)",
}
HEADER = """
def fixed_views(images):
    import numpy as np
    views = np.stack([images, images[:, ::-1]], 1)
    return (views / 255).astype("float32")

"""
FOOTER = """
import os
import numpy as np
np.save(os.environ["WEIGHTS"], np.concatenate(
    [np.ravel(weight) for weight in model.get_weights()]))
"""


def script(folder, epochs=EPOCHS, seconds=60, **replaced):
    """Writes the example with few epochs, and what is to be replaced.

    A host that sends nothing for so many seconds is given up.
    """
    code = SCRIPT.read_text(encoding="utf-8")
    replaced = {
        "epochs=30": f"epochs={epochs}",
        "seconds=60": f"seconds={seconds}",
        **replaced,
    }
    for old, new in replaced.items():
        assert old in code, old
        code = code.replace(old, new)
    code = code.replace("(start, 30)", f"(start, {epochs})")
    code = code.replace("(None, 8, 8, 1)", "(None, *data.sample_shape)")
    path = folder / "script.py"
    path.write_text(HEADER + code + FOOTER)
    return path


def start(script, folder, host, index, count=2):
    """Starts the script on a host by the command that it documents."""
    settings = {
        "KERAS_BACKEND": BACKEND,
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": ":".join(sys.path),
        "PYTHONUNBUFFERED": "1",
        "WEIGHTS": f"{folder}-{index}.npy",
    }
    flags = []
    runner = [sys.executable]
    if BACKEND == "torch":
        runner = [
            *(sys.executable, "-m", "torch.distributed.run"),
            *(f"--nnodes={count}", f"--node_rank={index}"),
            f"--master_addr={hosts.ADDRESSES[0]}",
            f"--master_port={PORT}",
        ]
    elif BACKEND == "jax":
        flags = [
            f"--address={hosts.ADDRESSES[0]}:{PORT}",
            f"--hosts={count}",
            f"--host={index}",
        ]
    else:
        addresses = [f"{each}:{PORT}" for each in hosts.ADDRESSES[:count]]
        settings["TF_CONFIG"] = json.dumps(
            {
                "task": {"type": "worker", "index": index},
                "cluster": {"worker": addresses},
            }
        )
    return host.start(
        [*runner, str(script), str(folder), *flags],
        f"{folder}-{index}.log",
        **settings,
    )


def train(script, folder, on, count=2):
    """Trains to the end; returns the weights of each host."""
    running = [
        start(script, folder, host, index, count)
        for index, host in enumerate(on[:count])
    ]
    for index, process in enumerate(running):
        assert process.wait(timeout=400) == 0, said(folder, index)
    return [np.load(f"{folder}-{index}.npy") for index in range(count)]


def said(folder, index):
    return Path(f"{folder}-{index}.log").read_text()


def state_after(folder):
    """All that the last checkpoint holds, by name."""
    checkpoint = read_checkpoint(folder / f"epoch-{EPOCHS:06d}")
    return {
        f"{group}/{name}": array
        for group, arrays in checkpoint.arrays.items()
        for name, array in arrays.items()
    }


@pytest.mark.every_backend
def test_the_script_has_at_most_60_lines():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.every_backend
def test_two_hosts_train_as_one(tmp_path):
    code = script(tmp_path, 2, **FIXED_VIEWS)
    with hosts.two_hosts() as both:
        (one,) = train(code, tmp_path / "one", both, count=1)
        first, second = train(code, tmp_path / "two", both)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, one, rtol=0, atol=1e-5)


def run_until_two_epochs(script, folder, both):
    """Returns the program of the first host, in its third epoch."""
    first, _ = (
        start(script, folder, host, index) for index, host in enumerate(both)
    )
    while not (folder / "epoch-000002").exists():
        assert first.poll() is None, said(folder, 0)
        time.sleep(0.01)
    return first


def check_that_it_ends(first, folder, since):
    assert first.wait(timeout=100) != 0
    print(f"{BACKEND}: ended after {time.monotonic() - since:.1f} s")
    assert re.search(SAYS[BACKEND], said(folder, 0)), said(folder, 0)
    assert not (folder / f"epoch-{EPOCHS:06d}").exists()
    # The run that goes on has a log of its own.
    Path(f"{folder}-0.log").rename(f"{folder}-ended.log")


def test_a_killed_host_ends_the_run_which_then_goes_on(tmp_path):
    code, folder = script(tmp_path), tmp_path / "killed"
    with hosts.two_hosts() as both:
        train(code, tmp_path / "whole", both)
        first = run_until_two_epochs(code, folder, both)
        since = time.monotonic()
        both[1].kill()
        check_that_it_ends(first, folder, since)
    with hosts.two_hosts(delay=0.02) as both:  # Slow, with the same result.
        train(code, folder, both)
    whole, resumed = state_after(tmp_path / "whole"), state_after(folder)
    assert whole.keys() == resumed.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], name)


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    """A run whose second host has lost its cable, and its script."""
    folder = tmp_path_factory.mktemp("silent")
    code, folder = script(folder, seconds=20), folder / "run"
    with hosts.two_hosts() as both:
        first = run_until_two_epochs(code, folder, both)
        since = time.monotonic()
        both[1].unplug()
        yield code, folder, first, since


def test_a_host_that_falls_silent_ends_the_run(silent):
    _, folder, first, since = silent
    check_that_it_ends(first, folder, since)


def test_a_host_that_does_not_see_the_checkpoints_is_refused(silent, tmp_path):
    code, folder, first, _ = silent
    first.wait(timeout=100)
    before = sorted(path.name for path in folder.glob("epoch-*"))
    with hosts.two_hosts() as both:
        start(code, folder, both[0], 0)
        second = start(code, tmp_path / "other", both[1], 1)
        assert second.wait(timeout=200) != 0
    told = said(tmp_path / "other", 1)
    assert "must see the checkpoints of the first one" in told, told
    assert sorted(path.name for path in folder.glob("epoch-*")) == before


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "tensorflow", reason="It has a loop by hand.")
def test_hosts_with_the_same_part_are_refused(tmp_path):
    own = {
        "torch": "part=(rank, processes)",
        "jax": "part = (flags.host, flags.hosts)",
    }[BACKEND]
    same = re.sub(r"\(.*, ", "(0, ", own)
    code, folder = script(tmp_path, **{own: same}), tmp_path / "same"
    with hosts.two_hosts() as both:
        running = [
            start(code, folder, host, index) for index, host in enumerate(both)
        ]
        assert all(process.wait(timeout=200) for process in running)
    assert "the same data in several processes" in said(folder, 0)
    assert not folder.exists()


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="`fit` trains there.")
def test_fit_on_several_hosts_is_refused(tmp_path):
    code = script(tmp_path, **{"callbacks.on_train_begin()": "model.fit(data)"})
    with hosts.two_hosts() as both:
        running = [
            start(code, tmp_path / "fit", host, index)
            for index, host in enumerate(both)
        ]
        assert all(process.wait(timeout=200) for process in running)
    assert "cannot train under" in said(tmp_path / "fit", 0)
