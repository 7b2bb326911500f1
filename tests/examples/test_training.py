"""What the examples share: methods joined by +, pools, a run's log."""

import numpy as np
import pytest

import keras_ltssl as lt
from examples import training


@pytest.mark.parametrize(
    ("method", "base", "additions"),
    [
        ("simclr", "simclr", set()),
        ("ts", "simclr", {"ts"}),
        ("gh+tase", "tase", {"gh"}),
        ("colt+gh+focal+ts", "focal", {"ts", "gh", "colt"}),
    ],
)
def test_a_method_has_a_base_and_additions(method, base, additions):
    assert training.split_method(method) == (base, additions)


@pytest.mark.parametrize(
    "method", ["", "moco", "tase+focal", "gh+gh", "simclr+tase", "ts+"]
)
def test_an_impossible_method_is_refused_with_the_possible_ones(method):
    with pytest.raises(ValueError, match="parts in any order") as refused:
        training.split_method(method)
    assert str(refused.value).endswith(f"Received: --method={method}")
    for possible in ("ts+gh+colt", "tase+gh+colt", "focal+ts"):
        assert possible in str(refused.value)


def test_every_method_named_can_be_built():
    names = training.method_names()
    assert len(names) == len(set(names)) == 24
    for name in names:
        loss = training.build_loss(name, 0.3, num_samples=9)
        assert loss.temperature == 0.3
        _, additions = training.split_method(name)
        assert loss.needs_ids == bool(additions & {"gh", "colt"})


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


def test_what_a_killed_run_logged_in_vain_is_dropped(tmp_path):
    log = tmp_path / "history.csv"
    log.write_text("epoch,loss,val_loss\n0,2.5,NA\n1,2.0,NA\n2,1.5,NA\n")
    training.keep_rows(log, 2)
    assert training.read_history(log) == {
        "epoch": [0.0, 1.0],
        "loss": [2.5, 2.0],
    }
    training.keep_rows(log, 0)
    assert log.read_text() == ""
