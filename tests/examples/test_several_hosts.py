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
SECONDS = 10  # After which a host that sends nothing is given up.
PORT = 2345
# What the last host says when the other one is gone.
SAYS = {
    "torch": "Connection closed by peer|Connection reset|[Tt]imed out",
    "jax": "another task died|Connection closed by peer|[Tt]imed out",
    "tensorflow": "unhealthy|Connection reset|failed to connect|timeout",
}
WHY_NOT = hosts.why_not()
pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"No hosts here: {WHY_NOT}"),
]

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


def script(folder, epochs, **replaced):
    """Writes the example with few epochs, and what is to be replaced."""
    code = SCRIPT.read_text(encoding="utf-8")
    replaced = {
        "epochs=30": f"epochs={epochs}",
        "seconds=60": f"seconds={SECONDS}",
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


def wait_for(path):
    end = time.monotonic() + 400
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def state_after(folder):
    """All that the last checkpoint holds, by name."""
    checkpoint = read_checkpoint(folder / f"epoch-{EPOCHS:06d}")
    return {
        f"{group}/{name}": array
        for group, arrays in checkpoint.arrays.items()
        for name, array in arrays.items()
    }


def test_the_script_has_at_most_60_lines():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 60


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
    wait_for(folder / "epoch-000002")
    return first


def check_that_it_ends(first, folder):
    begin = time.monotonic()
    assert first.wait(timeout=100) != 0
    print(f"{BACKEND}: ended after {time.monotonic() - begin:.1f} s")
    assert re.search(SAYS[BACKEND], said(folder, 0)), said(folder, 0)
    assert not (folder / f"epoch-{EPOCHS:06d}").exists()


def test_a_killed_host_ends_the_run_which_then_goes_on(tmp_path):
    code, folder = script(tmp_path, EPOCHS), tmp_path / "killed"
    with hosts.two_hosts() as both:
        train(code, tmp_path / "whole", both)
        first = run_until_two_epochs(code, folder, both)
        both[1].kill()
        check_that_it_ends(first, folder)
    with hosts.two_hosts(delay=0.02) as both:  # Slow, with the same result.
        train(code, folder, both)
    whole, resumed = state_after(tmp_path / "whole"), state_after(folder)
    assert whole.keys() == resumed.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], name)


def test_a_host_that_falls_silent_ends_the_run(tmp_path):
    code, folder = script(tmp_path, EPOCHS), tmp_path / "silent"
    with hosts.two_hosts() as both:
        first = run_until_two_epochs(code, folder, both)
        both[1].unplug()
        check_that_it_ends(first, folder)
