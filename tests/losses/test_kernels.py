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

BATCH = 64  # At least as many as TASE has prototypes.
NUM_SAMPLES = 100
LOSSES = {
    "nt_xent": (45, lambda: lt.losses.NTXentLoss()),
    "scheduled": (
        54,
        lambda: lt.losses.NTXentLoss(lt.schedules.CosineTemperature(period=4)),
    ),
    "focal": (60, lambda: lt.losses.FocalNTXentLoss()),
    "macl": (58, lambda: lt.losses.MACLLoss()),
    "bcl": (
        84,
        lambda: lt.losses.BoostedLoss(lt.losses.NTXentLoss(), NUM_SAMPLES),
    ),
    "sogclr": (95, lambda: lt.losses.SogCLRLoss(NUM_SAMPLES)),
    "isogclr": (109, lambda: lt.losses.ISogCLRLoss(NUM_SAMPLES)),
    "colt": (104, lambda: lt.losses.COLTLoss(num_samples=NUM_SAMPLES)),
    "tase": (115, lambda: lt.losses.TASELoss(warmup_steps=0)),
}
# A step logs whether it learns; so many kernels more.
SIGNS = 25


def projections():
    random = np.random.default_rng(0)
    z = random.normal(size=(BATCH, 2, 16)).astype("float32")
    return keras.ops.convert_to_tensor(z)


def sample_ids():
    ids = np.arange(BATCH)
    ids[::5] = -1  # Some are out of distribution.
    return keras.ops.convert_to_tensor(ids, "int32")


def training_step(loss, monitor=False):
    """Returns a call that computes a loss as a training step does."""
    state = lt.layers.LossState(loss, steps_per_epoch=10)
    state.monitor_learning(monitor)
    z, ids = projections(), sample_ids()

    def step():
        leaf = z.detach().requires_grad_()
        state(leaf, training=True)
        loss(ids, leaf).backward()

    step()
    return step


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_of_a_loss_starts_few_kernels(name):
    most, make = LOSSES[name]

    assert count_kernels(training_step(make())) <= most


def test_the_function_nt_xent_starts_hardly_more_than_a_plain_cross_entropy():
    z = projections()

    def run():
        leaf = z.detach().requires_grad_()
        lt.losses.nt_xent(leaf).mean().backward()

    assert count_kernels(run) <= 42  # A plain cross-entropy form has 37.


def test_the_signs_of_learning_add_few_kernels():
    step = training_step(lt.losses.NTXentLoss(), monitor=True)

    assert count_kernels(step) <= LOSSES["nt_xent"][0] + SIGNS


@pytest.mark.parametrize("monitor", [False, True])
@pytest.mark.parametrize(
    "name", [name for name in LOSSES if "sogclr" not in name]
)
def test_a_step_copies_no_number_to_the_device(name, monitor, monkeypatch):
    # A GPU would wait for each of them.
    _, make = LOSSES[name]
    step = training_step(make(), monitor)
    copied, as_tensor = [], torch.as_tensor

    def count(data, *args, **arguments):
        if not torch.is_tensor(data):
            copied.append(data)
        return as_tensor(data, *args, **arguments)

    monkeypatch.setattr(torch, "as_tensor", count)
    step()

    assert copied == []


@pytest.mark.parametrize("num_samples", [None, 256])
def test_harmonization_does_not_start_a_kernel_for_each_iteration(num_samples):
    loss = lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_samples=num_samples,
        warmup_epochs=0,
        ramp_epochs=0,
    )
    state = lt.layers.LossState(loss, steps_per_epoch=10)
    random = np.random.default_rng(0)
    z = random.normal(size=(256, 2, 128)).astype("float32")
    z, ids = keras.ops.convert_to_tensor(z), keras.ops.arange(256)

    def step():
        leaf = z.detach().requires_grad_()
        state(leaf, training=True)
        loss(ids, leaf).backward()

    step()
    # The 300 iterations alone would be 1,200.
    assert count_kernels(step) <= 200
