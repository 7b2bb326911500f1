"""float64 as Keras' default float: every loss and framework trains."""

import keras
import numpy as np
import pytest

import keras_ltssl as lt
from keras_ltssl import losses

pytestmark = [
    pytest.mark.every_backend,
    # JAX has float64 only where its user switches it on.
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype.*float64"),
]


@pytest.fixture(autouse=True)
def _float64_as_default():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def _harmonized(base_loss):
    return losses.GeometricHarmonizationLoss(
        base_loss,
        5,
        warmup_epochs=0,
        ramp_epochs=0,
        sinkhorn={"iterations": 5},
    )


LOSSES = {
    "NT-Xent, scheduled": lambda: losses.NTXentLoss(
        lt.schedules.LinearTemperature(0.5, 0.1, 3)
    ),
    "focal": losses.FocalNTXentLoss,
    "MACL": losses.MACLLoss,
    "DySTreSS": losses.DySTreSSLoss,
    "TASE": lambda: losses.TASELoss(num_prototypes=3, warmup_steps=0),
    "GH of COLT": lambda: _harmonized(losses.COLTLoss(num_samples=6)),
    "BCL": lambda: losses.BoostedLoss(losses.NTXentLoss(), 8),
    "ConMix": lambda: losses.ConMixLoss(losses.NTXentLoss(), 4, 0.5),
    "SogCLR": lambda: losses.SogCLRLoss(8),
    "iSogCLR": lambda: losses.ISogCLRLoss(8, chunk_size=3),
    "BYOL": losses.BYOLLoss,
    "GH of BYOL": lambda: _harmonized(losses.BYOLLoss()),
}

TRAINED = [
    *(("ContrastiveModel", name) for name in LOSSES if "BYOL" not in name),
    ("MomentumContrast", "TASE"),
    ("MomentumContrast", "iSogCLR"),
    ("MomentumContrast", "GH of COLT"),
    ("SelfDamagingContrast", "GH of COLT"),
    ("BYOL", "BYOL"),
    ("BYOL", "GH of BYOL"),
]


@pytest.mark.parametrize(("framework", "name"), TRAINED)
def test_every_loss_and_framework_trains_a_step(framework, name):
    encoder = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    views = None
    if name == "BCL":
        views = lt.layers.BoostedViews(lt.layers.simclr_views(4))
    model = getattr(lt.models, framework)(encoder, augmenter=views)
    model.compile("sgd", loss=LOSSES[name]())
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3))
    ids = np.array([0, 1, 2, 3, 4, 5, -1, -1])
    callbacks = [lt.callbacks.PriorEstimation()] if "GH" in name else []
    before = encoder.get_weights()[0]
    history = model.fit(
        images.astype("uint8"),
        ids,
        batch_size=4,  # MoCo has nothing to compare its first batch with.
        callbacks=callbacks,
        verbose=0,
    ).history
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(encoder.get_weights()[0]).all()
    assert (encoder.get_weights()[0] != before).any()


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX makes float32 of float64."
)
def test_float64_projections_reach_the_loss_with_all_their_digits():
    loss = losses.NTXentLoss(0.05)
    z = np.random.default_rng(0).normal(size=(6, 2, 8))
    given = lt.layers.LossState(loss)(keras.ops.convert_to_tensor(z))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(given), z)
    value = keras.ops.convert_to_numpy(loss(np.arange(6), given))
    assert value.dtype == "float64"
