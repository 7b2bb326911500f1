"""How many kernels a loss starts on PyTorch, which sets its time on a GPU.

Forward and backward to the projections, in a training step, with all that the
loss remembers and logs. Fewer is fine: lower the number here.
"""

import keras
import numpy as np
import pytest

import keras_ltssl as lt

if keras.backend.backend() != "torch":
    pytest.skip("Kernels are counted on PyTorch.", allow_module_level=True)

import torch

from counting import count_kernels

BATCH = 32
LOSSES = {
    "nt_xent": (46, lambda: lt.losses.NTXentLoss()),
}


def projections(views=2):
    random = np.random.default_rng(0)
    z = random.normal(size=(BATCH, views, 16)).astype("float32")
    return keras.ops.convert_to_tensor(z)


def sample_ids():
    ids = np.arange(BATCH)
    ids[::5] = -1  # Some are out of distribution.
    return keras.ops.convert_to_tensor(ids, "int32")


def training_step(loss, monitor=False, views=2):
    """Returns a call that computes a loss as a training step does."""
    state = lt.layers.LossState(loss, steps_per_epoch=10)
    state.monitor_learning(monitor)
    z, ids = projections(views), sample_ids()

    def step():
        leaf = z.detach().requires_grad_()
        state(leaf, training=True)
        loss(ids, leaf).backward()

    step()
    return step


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_of_a_loss_starts_no_more_kernels_than_it_did(name):
    most, make = LOSSES[name]

    assert count_kernels(training_step(make())) <= most


def test_nt_xent_of_projections_starts_no_more_kernels_than_it_did():
    z = projections()

    def run():
        leaf = z.detach().requires_grad_()
        lt.losses.nt_xent(leaf).mean().backward()

    assert count_kernels(run) <= 42


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_copies_no_number_to_the_device(name, monkeypatch):
    # A GPU would wait for each of them.
    _, make = LOSSES[name]
    step = training_step(make())
    made, as_tensor = [], torch.as_tensor

    def count(data, *args, **arguments):
        if not torch.is_tensor(data):
            made.append(data)
        return as_tensor(data, *args, **arguments)

    monkeypatch.setattr(torch, "as_tensor", count)
    step()

    assert made == []
