"""What the examples share: methods joined by +, pools, a run's log."""

import itertools
import os
import signal
import zipfile

import numpy as np
import pytest

import keras_ltssl as lt
from examples import training


@pytest.mark.parametrize(
    ("method", "base", "additions"),
    [
        ("plain", "plain", set()),
        ("ts", "plain", {"ts"}),
        ("gh+tase", "tase", {"gh"}),
        ("bcl+colt+gh+focal+ts", "focal", {"ts", "gh", "colt", "bcl"}),
    ],
)
def test_a_method_has_a_base_and_additions(method, base, additions):
    assert training.split_method(method) == (base, additions)


@pytest.mark.parametrize(
    "method", ["", "moco", "tase+focal", "gh+gh", "plain+tase", "ts+"]
)
def test_an_impossible_method_is_refused_with_the_possible_ones(method):
    with pytest.raises(ValueError, match="focal, tase, or parts joined") as e:
        training.split_method(method)
    assert str(e.value).endswith(f"Received: --method={method}")


def test_every_method_can_be_built():
    for base, count in itertools.product(training.BASES, range(5)):
        for additions in itertools.combinations(training.ADDITIONS, count):
            method = "+".join((base, *additions))
            loss = training.build_loss(method, 0.3, num_samples=9)
            assert loss.temperature == 0.3
            needs_ids = bool(set(additions) & {"gh", "colt", "bcl"})
            assert loss.requirements.ids == needs_ids


def test_byol_gets_its_own_loss_which_colt_refuses():
    loss = training.build_loss("gh+bcl", num_samples=9, framework="byol")
    assert not loss.has_temperature
    with pytest.raises(ValueError, match="choice of data"):
        training.build_loss("colt", num_samples=9, framework="byol")


def test_a_pool_must_hold_images_like_those_it_joins(tmp_path):
    images, _ = lt.datasets.load_digits()
    path = tmp_path / "pool.npz"
    np.savez(path, x=images[:20])
    assert training.load_pool(path, images).shape == (20, 8, 8, 1)
    for arrays, message in (
        ({"y": images}, "an array `x` of images. Received: .* with y"),
        ({"x": images[:, :4]}, r"shape=\(8, 8, 1\).*shape=\(4, 8, 1\)"),
        ({"x": images.astype("float32")}, "dtype=uint8.*dtype=float32"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message):
            training.load_pool(path, images)


def test_pool_that_claims_more_than_memory_is_named(tmp_path):
    images, _ = lt.datasets.load_digits()
    path = tmp_path / "huge.npz"
    header = {
        "descr": "|u1",
        "fortran_order": False,
        "shape": (10**15, 8, 8, 1),
    }
    with (
        zipfile.ZipFile(path, "w") as archive,
        archive.open("x.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match=r"`--ood`.*`x`.*memory.*huge\.npz"):
        training.load_pool(path, images)


def test_a_log_is_read_without_the_columns_that_keras_reserves(tmp_path):
    log = tmp_path / "history.csv"
    log.write_text("epoch,loss,val_loss\n0,2.5,NA\n1,2.0,NA\n")
    assert training.read_history(log) == {
        "epoch": [0.0, 1.0],
        "loss": [2.5, 2.0],
    }


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_run_that_is_stopped_says_how_to_resume(
    tmp_path, monkeypatch, capfd, name
):
    number = getattr(signal, name)
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}

    def exit_code(code):
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", exit_code)
    try:
        training.say_how_to_resume(tmp_path)
        with pytest.raises(SystemExit) as e:
            signal.raise_signal(number)
        assert e.value.code == 128 + number
        assert (
            f"Stopped by {name}. Last checkpoint: none yet. Go on with the"
            in (capfd.readouterr().err)
        )
        for epoch in (9, 10):
            path = tmp_path / "checkpoints" / f"epoch-{epoch:06d}"
            path.mkdir(parents=True)
            os.utime(path, (epoch, epoch))
        with pytest.raises(SystemExit):
            signal.raise_signal(number)
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert f"Last checkpoint: {path}. " in capfd.readouterr().err
