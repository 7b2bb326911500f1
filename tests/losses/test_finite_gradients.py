"""Values and gradients are finite for every batch that can come."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_ltssl as lt
from keras_ltssl.losses.distribution_supcon import domains_of, supcon_of
from keras_ltssl.losses.kernels.queue import QueueContrast
from tests import reference
from tests.gradients import compiled

pytestmark = pytest.mark.every_backend

DIM = 8
QUEUE = 12

_numbers = np.random.default_rng(0)
_ROWS = _numbers.normal(size=(6, 4, DIM)).astype("float32")
_KEYS = reference.unit(_numbers.normal(size=(QUEUE, DIM))).astype("float32")
_TARGETS = np.eye(5, DIM, dtype="float32")


def _as_bfloat16(rows):
    """Rounds to the 8 leading bits; the gradient has float32's range."""
    return (rows.astype("float32").view("uint32") & 0xFFFF0000).view("float32")


# Rows of four views (BYOL's losses take four, the others the first two), and
# the dtype in which they reach the loss.
BATCHES = {
    "batch of 1": (_ROWS[:1], "float32"),
    "batch of 2": (_ROWS[:2], "float32"),
    "float16 at 1e-3": (1e-3 * _ROWS, "float16"),
    "float16 at 1e-4": (1e-4 * _ROWS, "float16"),
    "float16 at 1e4": (1e4 * _ROWS, "float16"),
    "bfloat16 at 1e-3": (_as_bfloat16(1e-3 * _ROWS), "float32"),
    "bfloat16 at 1e-4": (_as_bfloat16(1e-4 * _ROWS), "float32"),
    "float32 at 1e-18": (1e-18 * _ROWS, "float32"),
    "zero rows": (
        np.where(np.arange(6)[:, None, None] < 2, 0, _ROWS),
        "float32",
    ),
    "only zero rows": (0 * _ROWS, "float32"),
    "identical rows": (np.ones_like(_ROWS), "float32"),
    "identical rows, float16": (1e-3 * np.ones_like(_ROWS), "float16"),
    "opposite views": (
        _ROWS * np.array([1, -1, 1, -1], "float32")[:, None],
        "float32",
    ),
}


def _is_ood(z, kind):
    is_odd = np.arange(z.shape[0]) % 2 == 1
    return {"none": is_odd & False, "some": is_odd, "all": is_odd | True}[kind]


def _con_mix(tags):
    return lambda z: lt.losses.con_mix(
        z, np.arange(z.shape[0]) % tags, tags + 1, 0.05
    )


def _supcon(kind):
    return lambda z: lt.losses.distribution_supcon(z, _is_ood(z, kind), 0.1)


def _queue_supcon(filled, kind):
    queue = lt.layers.KeyQueue(QUEUE)
    queue.build((None, DIM))
    if filled:
        queue.enqueue(_KEYS[:filled], np.arange(filled) % 2 == 1)

    def loss(z):
        contrast = QueueContrast(z, queue, 0.1, None)
        return contrast.losses[:, 0] + supcon_of(
            contrast, domains_of(_is_ood(z, kind), "float32")
        )

    return loss


def _queue(filled, chunk_size=None):
    is_filled = np.arange(QUEUE) < filled
    return lambda z: lt.losses.queue_nt_xent(
        z, _KEYS, is_filled, 0.1, chunk_size
    )


def _in_state(loss, training=False):
    state = lt.layers.LossState(loss, steps_per_epoch=1)
    state(np.zeros((2, 2, DIM), "float32"))

    def losses(z):
        ids = np.where(_is_ood(z, "some"), -1, np.arange(z.shape[0]))
        # Else JAX's tracers outlive the call.
        known = [(each, each.value) for each in state.variables]
        with keras.StatelessScope(known):
            z = state(z, training=training)
            return loss.call(ids.astype("int32"), z)

    return losses


def _harmonized(base_loss):
    return lt.losses.GeometricHarmonizationLoss(
        base_loss,
        5,
        warmup_epochs=0,
        ramp_epochs=0,
        sinkhorn={"iterations": 20},
    )


def _harmonization():
    return lambda z: lt.losses.geometric_harmonization(
        z, _TARGETS, sinkhorn={"iterations": 50, "tolerance": 1e-4}
    )


LOSSES = {
    "NT-Xent": lambda: functools.partial(lt.losses.nt_xent, temperature=0.1),
    "NT-Xent in chunks": lambda: functools.partial(
        lt.losses.nt_xent, chunk_size=3
    ),
    "NT-Xent, τ per sample": lambda: (
        lambda z: lt.losses.nt_xent(z, 0.1 + 0.01 * np.arange(z.shape[0]))
    ),
    "focal": lambda: lt.losses.focal_nt_xent,
    "focal, γ < 1": lambda: functools.partial(
        lt.losses.focal_nt_xent, gamma=0.5
    ),
    "MACL": lambda: lt.losses.macl,
    "DySTreSS": lambda: lt.losses.dystress,
    "supcon, none OOD": lambda: _supcon("none"),
    "supcon, some OOD": lambda: _supcon("some"),
    "supcon, all OOD": lambda: _supcon("all"),
    "harmonization that stops early": _harmonization,
    "queue, empty": lambda: _queue(0),
    "queue, one key": lambda: _queue(1),
    "queue, full": lambda: _queue(QUEUE),
    "queue in chunks, empty": lambda: _queue(0, chunk_size=3),
    **{
        f"supcon, queue of {filled}, {kind} OOD": functools.partial(
            _queue_supcon, filled, kind
        )
        for filled, kind in (
            (0, "none"),
            (0, "some"),
            (1, "some"),
            (QUEUE, "all"),
        )
    },
    "con_mix": lambda: _con_mix(2),
    "con_mix, single samples": lambda: _con_mix(6),
    "TASELoss": lambda: _in_state(
        lt.losses.TASELoss(num_prototypes=3, warmup_steps=0)
    ),
    "COLTLoss": lambda: _in_state(lt.losses.COLTLoss()),
    "GH": lambda: _in_state(_harmonized(lt.losses.NTXentLoss())),
    "BCL": lambda: _in_state(lt.losses.BoostedLoss(lt.losses.NTXentLoss(), 8)),
    "SogCLR": lambda: _in_state(lt.losses.SogCLRLoss(8), training=True),
    "iSogCLR in chunks": lambda: _in_state(
        lt.losses.ISogCLRLoss(8, chunk_size=3), training=True
    ),
    "BYOL": lambda: _in_state(lt.losses.BYOLLoss()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_finite(name):
    loss = LOSSES[name]()
    views = 4 if "BYOL" in name else 2

    def mean_in(dtype):
        return lambda z: ops.mean(loss(ops.cast(z, dtype)[:, :views]))

    functions = {
        dtype: compiled(mean_in(dtype)) for dtype in ("float32", "float16")
    }
    not_finite = []
    for batch, (rows, dtype) in BATCHES.items():
        value, gradient = functions[dtype](rows.astype("float32"))
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            not_finite.append((batch, value, gradient))
    assert not not_finite
    # What float16 cannot hold becomes infinite, and never NaN.
    value, gradient = functions["float16"](1e-6 * _ROWS)
    assert np.isfinite(value)
    assert not np.isnan(gradient).any()
