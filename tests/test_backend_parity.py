"""The same weights and views give the same losses on every backend.

`golden/backend_parity.json` holds what the TensorFlow backend printed;
`KERAS_BACKEND=tensorflow python tests/test_backend_parity.py` writes it anew.
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_ltssl as lt

pytestmark = pytest.mark.every_backend

GOLDEN = Path(__file__).parent / "golden" / "backend_parity.json"
LOSSES = {
    "nt_xent": lambda: lt.losses.NTXentLoss(0.1),
    "scheduled": lambda: lt.losses.NTXentLoss(
        lt.schedules.CosineTemperature(0.1, 0.5, period=1)
    ),
    "focal": lambda: lt.losses.FocalNTXentLoss(0.2, chunk_size=5),
    "tase": lambda: lt.losses.TASELoss(num_prototypes=6, warmup_steps=2),
    "harmonized colt": lambda: lt.losses.GeometricHarmonizationLoss(
        lt.losses.COLTLoss(num_samples=80),
        num_targets=6,
        num_samples=80,
        warmup_epochs=0,
        ramp_epochs=0,
    ),
}
# Every fourth sample is out of distribution, for the losses that care.
IDS = np.where(np.arange(80) % 4 == 3, -1, np.arange(80))


def five_steps(loss):
    """Returns the loss of each of five SGD steps of a convolutional net."""
    random = np.random.default_rng(0)
    views = random.uniform(0, 255, (80, 2, 12, 12, 1)).astype("float32")
    model = lt.models.ContrastiveModel(
        lt.models.small_convnet((12, 12, 1), width=4),
        projector=lt.layers.ProjectionHead(8),
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss=loss)
    model.build((None, 2, 12, 12, 1))
    for part in (model.encoder, model.projector):
        part.set_weights(
            [
                np.abs(weight)
                if "variance" in variable.path
                else random.normal(0, 0.2, weight.shape) + (weight == 1)
                for variable, weight in zip(
                    part.weights, part.get_weights(), strict=True
                )
            ]
        )
    callbacks = []
    if isinstance(loss, lt.losses.GeometricHarmonizationLoss):
        callbacks.append(lt.callbacks.PriorEstimation(interval=1))
    return [
        float(
            model.fit(
                views[start : start + 16],
                IDS[start : start + 16],
                batch_size=16,
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            ).history["loss"][0]
        )
        for epoch, start in enumerate(range(0, 80, 16))
    ]


@pytest.mark.parametrize("name", LOSSES)
def test_five_steps_give_the_same_losses(name):
    expected = json.loads(GOLDEN.read_text())[name]
    np.testing.assert_allclose(five_steps(LOSSES[name]()), expected, rtol=1e-4)


if __name__ == "__main__":
    values = {name: five_steps(make()) for name, make in LOSSES.items()}
    GOLDEN.write_text(json.dumps(values, indent=2) + "\n")
