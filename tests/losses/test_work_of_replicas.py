"""The work of one of four replicas is about a quarter, counted on PyTorch.

Multiplications of the matrix products of a training step of a loss: forward and
backward to the projections, with all that the loss remembers. The other
replicas are made up: what they would send is what this one has.
"""

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl.backend import replicas
from keras_ltssl.losses import contrastive_loss

if keras.backend.backend() != "torch":
    pytest.skip("Products are counted on PyTorch.", allow_module_level=True)

import torch
from torch.utils.flop_counter import FlopCounterMode

BATCH, REPLICAS, DIM, NUM_SAMPLES = 1024, 4, 32, 2000
LOSSES = {
    "nt_xent": lambda: lt.losses.NTXentLoss(),
    "nt_xent_in_chunks": lambda: lt.losses.NTXentLoss(chunk_size=64),
    "scheduled": lambda: lt.losses.NTXentLoss(
        lt.schedules.CosineTemperature(period=4)
    ),
    "focal": lambda: lt.losses.FocalNTXentLoss(),
    "macl": lambda: lt.losses.MACLLoss(),
    "dystress": lambda: lt.losses.DySTreSSLoss(),
    "tase": lambda: lt.losses.TASELoss(warmup_steps=0),
    "harmonization": lambda: lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(), 20, NUM_SAMPLES, warmup_epochs=0, ramp_epochs=0
    ),
    "colt": lambda: lt.losses.COLTLoss(num_samples=NUM_SAMPLES),
    "colt_in_chunks": lambda: lt.losses.COLTLoss(
        num_samples=NUM_SAMPLES, chunk_size=64
    ),
    "boosted": lambda: lt.losses.BoostedLoss(
        lt.losses.NTXentLoss(), NUM_SAMPLES
    ),
    "sogclr": lambda: lt.losses.SogCLRLoss(NUM_SAMPLES),
    "isogclr": lambda: lt.losses.ISogCLRLoss(NUM_SAMPLES),
    "isogclr_in_chunks": lambda: lt.losses.ISogCLRLoss(
        NUM_SAMPLES, chunk_size=64
    ),
}
# Each replica computes the losses of the whole batch.
WHOLE = {
    "con_mix": lambda: lt.losses.ConMixLoss(lt.losses.NTXentLoss(), 100),
}


class OneOf(replicas.Part):
    """The part of the second of some replicas, which have the same samples."""

    is_whole = False

    def __init__(self, own):
        self.first, self.end = len(own), 2 * len(own)

    def own(self, batch):
        return batch[self.first : self.end]

    def gather(self, own):
        return torch.cat([own] * REPLICAS)

    def plus(self, batch, own):
        batch[self.first : self.end] += own
        return batch


def products(make, size, queue=None):
    """Returns what a step of a loss with so many samples multiplies."""
    loss = make()
    state = lt.layers.LossState(loss, steps_per_epoch=10)
    z = np.random.default_rng(0).normal(size=(size, 2, DIM)).astype("float32")
    z = keras.ops.convert_to_tensor(z)
    ids = keras.ops.arange(size, dtype="int32") - size // 4
    counter = FlopCounterMode(display=False)
    leaf = z.detach().requires_grad_()
    state(leaf, training=True, queue=queue)
    with counter:
        loss(ids, leaf).backward()
    return counter.get_total_flops()


def share_of_one(make, monkeypatch, queue=lambda: None):
    """Returns what one of the replicas multiplies, as a share of all."""
    alone = products(make, BATCH, queue())
    monkeypatch.setattr(contrastive_loss.replicas, "part_of", OneOf)
    return products(make, BATCH // REPLICAS, queue()) / alone


@pytest.mark.parametrize("name", LOSSES)
def test_a_replica_of_four_does_a_third_of_the_work_at_most(name, monkeypatch):
    assert share_of_one(LOSSES[name], monkeypatch) < 0.35


@pytest.mark.parametrize("name", ["nt_xent", "colt", "isogclr_in_chunks"])
def test_so_it_is_with_a_queue(name, monkeypatch):
    def queue():
        keys = lt.layers.KeyQueue(512)
        keys.build((None, DIM))
        return keys

    assert share_of_one(LOSSES[name], monkeypatch, queue) < 0.35


@pytest.mark.parametrize("name", WHOLE)
def test_losses_that_stay_whole_are_known(name, monkeypatch):
    assert share_of_one(WHOLE[name], monkeypatch) > 0.9
