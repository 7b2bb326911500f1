"""`benchmarks/gpu.py`, in small on a processor, and its loop by hand."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

if keras.backend.backend() != "torch":
    pytest.skip("The loop by hand is PyTorch's", allow_module_level=True)

import torch
from counting import count_kernels

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def plain_torch():
    sys.path.insert(0, str(BENCHMARKS))
    import plain_torch

    yield plain_torch
    sys.path.remove(str(BENCHMARKS))


def gpu(*arguments):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_it_measures_beside_the_loop_by_hand_and_prints_tables(tmp_path):
    output = f"--output={tmp_path}"
    gpu(
        output,
        "--small",
        "--seconds=10000",
        "--parts=losses,views,resnet18,feed",
        "--dtypes=bfloat16",
        "--batch_sizes=16",
        "--repeats=1",
    )
    stored = json.loads((tmp_path / "gpu-torch.json").read_text())

    assert stored["failed"] == {}
    assert stored["left_out"] == []
    rows = stored["resnet18"]["bfloat16"]
    loop = rows["loop by hand"]
    for name in ("fit, our encoder", "step, torch module"):
        assert rows["times the loop"][name] == pytest.approx(
            rows[name] / loop, abs=0.006
        )
    assert {"three products", "NT-Xent", "BCL", "TASE", "COLT", "GH"} <= set(
        stored["losses"]["16"]
    )
    assert all(row["ms"] > 0 for row in stored["losses"]["16"].values())
    assert len(stored["views"]) == 2
    lines = gpu(f"--table={tmp_path}").splitlines()
    times = rows["times the loop"]["fit, our encoder"]
    assert any(
        line.startswith("| fit, our encoder | ")
        and line.endswith(f", {times:.2f} times |")
        for line in lines
    )
    assert any(line.startswith("| GH | ") for line in lines)
    fed = stored["feed"]
    assert all(fed[name] > 0 for name in ("read", "read in turn", "array"))
    # Measured in hundredths of milliseconds.
    assert fed["read, times at hand"] == pytest.approx(
        fed["read"] / fed["at hand"], abs=0.001
    )
    assert any(line.startswith("| read in turn | ") for line in lines)


def test_what_begins_too_late_is_left_out_and_listed(tmp_path):
    gpu(f"--output={tmp_path}", "--seconds=0", "--parts=views,losses")
    stored = json.loads((tmp_path / "gpu-torch.json").read_text())
    assert stored["left_out"] == ["views", "losses"]
    assert "views" not in stored


@pytest.mark.parametrize(
    ("name", "features", "parameters"),
    [("resnet18", 512, 11_176_512), ("resnet50", 2048, 23_508_032)],
)
def test_the_nets_by_hand_have_the_size_of_torchvisions(
    plain_torch, name, features, parameters
):
    # As in torchvision without the last layer, with a stem of 7 x 7.
    net = getattr(plain_torch, name)(is_small=False)
    assert net.width == features
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, features)


def test_the_net_by_hand_starts_few_kernels(plain_torch):
    net = plain_torch.resnet18()
    images = torch.randn(4, 3, 32, 32)
    images = images.to(memory_format=torch.channels_last)
    assert count_kernels(lambda: net(images).sum().backward()) < 240


def test_the_loss_by_hand_is_nt_xent(plain_torch):
    import keras_ltssl as lt

    z = keras.random.normal((6, 2, 8))
    loss = lt.losses.NTXentLoss(0.2)(keras.ops.arange(6), z)
    assert float(plain_torch.nt_xent(z)) == pytest.approx(float(loss), rel=1e-5)
