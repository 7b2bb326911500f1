"""Makes the files of this folder: `python tests/saved/make.py FOLDER`.

Those here were made with the code of commit 750f33a, on TensorFlow: Keras
saves an optimizer of PyTorch in a way that only PyTorch loads. They stay as
they are: later versions of the package must load them.
"""

import pathlib
import sys

import keras
import numpy as np
from keras import ops

import keras_ltssl as lt

SAMPLES = 16
IDS = np.arange(SAMPLES)
MIXED_IDS = np.append(np.arange(12), [-1] * 4)


def views():
    z = np.random.default_rng(0).normal(size=(SAMPLES, 2, 6))
    return z.astype("float32")


def images():
    x = np.random.default_rng(0).integers(0, 256, (SAMPLES, 6, 6, 3))
    return x.astype("uint8")


def dense():
    layers = [keras.Input((6,)), keras.layers.Dense(5, activation="relu")]
    return keras.Sequential(layers), keras.layers.Dense(4)


def harmonized(base_loss, **arguments):
    return lt.losses.GeometricHarmonizationLoss(
        base_loss, 5, warmup_epochs=0, ramp_epochs=0, seed=3, **arguments
    )


def tase():
    loss = lt.losses.TASELoss(
        lt.schedules.CosineTemperature(0.1, 0.5, period=4),
        num_prototypes=3,
        warmup_steps=1,
    )
    return lt.models.ContrastiveModel(*dense()), loss, IDS


def moco():
    loss = harmonized(
        lt.losses.NTXentLoss(0.3),
        num_samples=SAMPLES,
        sinkhorn={
            "regularization": 0.1,
            "iterations": 20,
            "tolerance": 1e-4,
        },
    )
    model = lt.models.MomentumContrast(*dense(), queue_size=12)
    return model, loss, IDS


def byol():
    encoder, projector = dense()
    predictor = lt.layers.ProjectionHead(None, 4)
    model = lt.models.BYOL(encoder, projector, predictor=predictor)
    return model, lt.losses.BYOLLoss(), None


def sdclr():
    model = lt.models.SelfDamagingContrast(*dense(), pruned_share=0.5)
    return model, lt.losses.FocalNTXentLoss(0.4, gamma=1.5), None


def bcl():
    encoder = keras.Sequential(
        [keras.Input((6, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    two = lt.layers.TwoViews(lt.layers.RandomResizedCrop(6, 6, seed=0))
    model = lt.models.ContrastiveModel(
        encoder,
        lt.layers.ProjectionHead(4, 4),
        lt.layers.BoostedViews(two, seed=0),
    )
    loss = lt.losses.BoostedLoss(lt.losses.NTXentLoss(0.3), SAMPLES)
    return model, loss, IDS


def colt():
    loss = lt.losses.COLTLoss(
        num_samples=SAMPLES,
        top_k=3,
        base_loss=lt.losses.TASELoss(num_prototypes=3, warmup_steps=1),
    )
    return lt.models.ContrastiveModel(*dense()), loss, MIXED_IDS


MODELS = {
    "simclr_tase": tase,
    "moco_harmonization": moco,
    "byol": byol,
    "sdclr_focal": sdclr,
    "bcl": bcl,
    "colt_tase": colt,
}


def data_of(model):
    """Returns the samples that such a model trains on."""
    is_of_images = len(model.encoder.input_shape) == 4
    return images() if is_of_images else views()


def train(model, ids, epochs=1):
    """Trains for two steps an epoch and returns what was logged."""
    callbacks = []
    if "harmonization" in model.loss.name:
        callbacks = [lt.callbacks.PriorEstimation(interval=1)]
    return model.fit(
        data_of(model),
        ids,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    ).history


def contents(model):
    """Returns what a loaded file must bring back, as arrays by name."""
    x = data_of(model)
    samples = x if x.ndim == 4 else x[:, 0]
    found = {
        "encoded": model.encoder(ops.convert_to_tensor(samples, "float32")),
        "step": model.loss_state.step,
        "temperature": model.loss_state.temperature,
    }
    for name, part in model.loss_state.parts.items():
        for weight in part.weights:
            found[f"{name}/{weight.name}"] = weight
    queue = getattr(model, "queue", None)
    if queue is not None:
        found["queue/keys"] = queue.keys
    return {
        name: np.array(ops.convert_to_numpy(value))
        for name, value in found.items()
    }


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        keras.utils.set_random_seed(0)
        model, loss, ids = make()
        # With momentum, the files of networks with a copy would be large.
        momentum = 0.9 if name == "simclr_tase" else 0.0
        model.compile(keras.optimizers.SGD(0.1, momentum), loss=loss)
        train(model, ids)
        model.save(folder / f"{name}.keras")
        np.savez_compressed(folder / f"{name}.npz", **contents(model))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
