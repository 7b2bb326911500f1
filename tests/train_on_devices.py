"""Trains on one device and on several, in a process made for it.

    KERAS_BACKEND=jax python tests/train_on_devices.py result.npz

The number of devices must be set before a backend starts, which is why the
tests run this file and read what it stored: for each loss and number of
devices, the losses and what else was logged in all epochs, the gradients of
the first step and the final weights and memories. With `RANK` set, this is one
of `WORLD_SIZE` processes, each of which has one device. Else `DEVICES` is the
number of devices.
"""

import os
import sys

BACKEND = os.environ["KERAS_BACKEND"]
DEVICES = int(os.environ.get("DEVICES", "1"))
IS_PROCESS = "RANK" in os.environ
PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))
if BACKEND == "jax":
    # The first two make XLA compile faster.
    os.environ["XLA_FLAGS"] = (
        "--xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true "
        f"--xla_force_host_platform_device_count={DEVICES}"
    )
if BACKEND == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * DEVICES,
    )

import contextlib  # noqa: E402
import warnings  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402

import keras_ltssl as lt  # noqa: E402
from keras_ltssl.backend.replicas import shared_out  # noqa: E402
from keras_ltssl.evaluation.embed_rows import embed_rows  # noqa: E402

SAMPLES, BATCH, DIM = 32, 16, 8
RATE = 0.1
LOSSES = {
    "nt_xent": lambda: lt.losses.NTXentLoss(),
    "nt_xent_in_chunks": lambda: lt.losses.NTXentLoss(chunk_size=5),
    "scheduled": lambda: lt.losses.NTXentLoss(
        lt.schedules.CosineTemperature(period=4)
    ),
    "focal": lambda: lt.losses.FocalNTXentLoss(),
    "macl": lambda: lt.losses.MACLLoss(),
    "dystress": lambda: lt.losses.DySTreSSLoss(),
    "dystress_in_chunks": lambda: lt.losses.DySTreSSLoss(chunk_size=5),
    "tase": lambda: lt.losses.TASELoss(
        num_prototypes=5, warmup_steps=2, scale_by_reliability=True
    ),
    "harmonization": lambda: lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_targets=5,
        num_samples=SAMPLES,
        warmup_epochs=0,
        ramp_epochs=0,
        sinkhorn={"iterations": 20},
    ),
    "colt": lambda: lt.losses.COLTLoss(num_samples=SAMPLES, top_k=3),
    "colt_in_chunks": lambda: lt.losses.COLTLoss(
        num_samples=SAMPLES, top_k=3, chunk_size=5
    ),
    "con_mix": lambda: lt.losses.ConMixLoss(
        lt.losses.NTXentLoss(), 5, base_weight=1.0
    ),
    "boosted": lambda: lt.losses.BoostedLoss(lt.losses.NTXentLoss(), SAMPLES),
    "sogclr": lambda: lt.losses.SogCLRLoss(SAMPLES, 0.2),
    "isogclr": lambda: lt.losses.ISogCLRLoss(SAMPLES, 0.2, chunk_size=5),
    "byol": lambda: lt.losses.BYOLLoss(),
    "sdclr": lambda: lt.losses.NTXentLoss(),
    "moco": lambda: lt.losses.NTXentLoss(),
    "moco_colt": lambda: lt.losses.COLTLoss(num_samples=SAMPLES, top_k=3),
    "moco_isogclr": lambda: lt.losses.ISogCLRLoss(SAMPLES, 0.2, chunk_size=5),
}

# Of these, replicas also compute parts of different sizes.
UNEVEN = ["nt_xent", "nt_xent_in_chunks", "dystress", "macl"]


class ReadyViews(keras.layers.Layer):
    """Views that are there already, for a loss that asks for boosted ones."""

    def attach(self, loss):
        """Does nothing with the loss."""

    def call(self, views):
        return views


def make_model(name, rate):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((DIM,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(8),
        ]
    )
    projector = keras.layers.Dense(6)
    if name.startswith("moco"):
        model = lt.models.MomentumContrast(
            encoder, projector, queue_size=40, momentum=0.9
        )
    elif name == "byol":
        model = lt.models.BYOL(
            encoder,
            projector,
            predictor=keras.layers.Dense(6),
            momentum=0.9,
        )
    elif name == "sdclr":
        model = lt.models.SelfDamagingContrast(encoder, projector)
    elif name == "boosted":
        model = lt.models.ContrastiveModel(
            encoder, projector, augmenter=ReadyViews()
        )
    else:
        model = lt.models.ContrastiveModel(encoder, projector)
    model.compile(keras.optimizers.SGD(rate), loss=LOSSES[name]())
    return model


def train(name, scope, part):
    """Returns what is logged by epoch, first gradients and final weights."""
    random = np.random.default_rng(0)
    views = random.normal(size=(SAMPLES, 2, DIM)).astype("float32")
    ids = np.arange(SAMPLES)
    ids[::4] = -1
    index, count = part
    # This process's part of each batch.
    rows = np.arange(SAMPLES).reshape(-1, count, BATCH // count)[:, index]
    views, ids = views[rows.ravel()], ids[rows.ravel()]

    def fit(model, epochs, samples=None):
        harmonizes = isinstance(
            model.loss, lt.losses.GeometricHarmonizationLoss
        )
        return model.fit(
            views[:samples],
            ids[:samples],
            batch_size=BATCH // count,
            epochs=epochs,
            shuffle=False,
            callbacks=[lt.callbacks.PriorEstimation(1)] * harmonizes,
            verbose=0,
        ).history

    def flat(weights):
        arrays = [keras.ops.convert_to_numpy(weight) for weight in weights]
        return np.concatenate([np.ravel(array) for array in arrays])

    with scope():
        model = make_model(name, RATE)
        model.build((None, 2, DIM))
    before = flat(model.trainable_weights)
    fit(model, epochs=1, samples=BATCH // count)
    gradients = (before - flat(model.trainable_weights)) / RATE
    history = fit(model, epochs=3)
    losses = history.pop("loss")
    return {
        "losses": np.array(losses),
        "logged": np.array([history[name] for name in sorted(history)]),
        "gradients": gradients,
        "weights": flat(model.trainable_weights),
        "memories": flat(model.non_trainable_weights),
    }


def spread_by_jax(devices):
    """Returns a scope that lasts: `fit` asks for the distribution, too."""

    def scope():
        # Each process reads its own part of a batch.
        spread = keras.distribution.DataParallel(
            devices=devices, auto_shard_dataset=False
        )
        keras.distribution.set_distribution(spread)
        return contextlib.nullcontext()

    return scope


def distribution_of_processes():
    """Joins the other processes; returns the scope to train in."""
    if BACKEND == "torch":
        import torch.distributed

        torch.distributed.init_process_group("gloo")
        return contextlib.nullcontext
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    keras.distribution.initialize(address, PROCESSES, int(os.environ["RANK"]))
    return spread_by_jax(keras.distribution.list_devices())


def distribution():
    """Returns the scope to train in."""
    if IS_PROCESS:
        return distribution_of_processes()
    if BACKEND == "jax":
        return spread_by_jax([f"cpu:{index}" for index in range(DEVICES)])
    if BACKEND == "torch" or DEVICES == 1:
        return contextlib.nullcontext
    devices = [f"CPU:{index}" for index in range(DEVICES)]
    return tf.distribute.MirroredStrategy(devices).scope


def losses_of_uneven_parts(rank):
    """Returns losses and gradients of parts of different sizes."""
    size, first = 2 + rank, sum(range(2, 2 + rank))
    views = np.random.default_rng(0).normal(size=(SAMPLES, 2, DIM))
    arrays = {}
    for name in UNEVEN:
        z = keras.ops.convert_to_tensor(
            views[first : first + size].astype("float32")
        ).requires_grad_()
        ids = keras.ops.arange(first, first + size, dtype="int32") - 3
        losses = LOSSES[name]().call(ids, z)
        losses.sum().backward()
        arrays[f"uneven/{name}/losses"] = losses.detach().numpy()
        arrays[f"uneven/{name}/gradients"] = z.grad.numpy()
    return arrays


def features(scope):
    """Returns the features of ten images, four at a time."""
    keras.utils.set_random_seed(0)
    with scope():
        encoder = keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(3)])
    images = np.random.default_rng(0).normal(size=(10, DIM)).astype("float32")
    arrays = {
        "embed": lt.evaluation.embed(encoder, images, batch_size=4),
        "embed_rows": embed_rows(encoder, images, batch_size=4),
    }
    if not IS_PROCESS and DEVICES > 1:
        shared = shared_out(encoder, images)
        arrays["rows"] = [
            len(part)
            for part in (
                [shard.data for shard in shared.addressable_shards]
                if BACKEND == "jax"
                else shared.values
            )
        ]
    return arrays


def refusals(rank):
    """Returns what processes are told that cannot train together."""
    views = np.random.default_rng(0).normal(size=(SAMPLES, 2, DIM))
    model = make_model("nt_xent", rate=0.1)
    told = {}
    for name, data in (
        ("same data", views.astype("float32")),
        ("other steps", views[: BATCH * (rank + 1)].astype("float32") + rank),
        ("no part", lt.datasets.ImageBatches(views, batch_size=BATCH)),
    ):
        size = BATCH if isinstance(data, np.ndarray) else None
        try:
            model.fit(data, batch_size=size, verbose=0)
        except ValueError as error:
            told[name] = str(error)
    return told


def warnings_of_batch_statistics(scope):
    """Returns what replicas are told whose encoder normalizes by the batch."""
    with scope():
        model = lt.models.ContrastiveModel(
            keras.Sequential(
                [keras.Input((DIM,)), keras.layers.BatchNormalization()]
            ),
            keras.layers.Dense(6),
        )
        model.compile("sgd", loss=lt.losses.NTXentLoss())
    views = np.random.default_rng(0).normal(size=(BATCH, 2, DIM))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(views.astype("float32"), verbose=0)
    return " ".join(str(warning.message) for warning in told)


def refusal_of_uneven_batches(scope):
    """Returns what `fit` says of a last batch of three samples."""
    scope()
    model = make_model("nt_xent", rate=0.1)
    views = np.zeros((BATCH + 3, 2, DIM), "float32")
    try:
        model.fit(views, batch_size=BATCH, verbose=0)
    except ValueError as error:
        return str(error)
    return "none"


def views_of_processes(rank, folder):
    """Returns what this process drew, after a fit that all took part in.

    Each reads its part of the images; the first alone writes checkpoints.
    """
    images = np.random.default_rng(0).integers(0, 256, (SAMPLES, 8, 8, 3))
    data = lt.datasets.ImageBatches(
        images.astype("uint8"), batch_size=BATCH, part=(rank, PROCESSES)
    )
    model = lt.models.ContrastiveModel(
        lt.models.small_convnet((8, 8, 3), width=4),
        augmenter=lt.layers.simclr_views(8, seed=0),
    )
    model.compile("sgd", loss=lt.losses.TASELoss(num_prototypes=4))
    own = f"{folder}/checkpoint-{rank}"
    checkpoint = lt.callbacks.ResumableCheckpoint(own)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(data, verbose=0, callbacks=[checkpoint])
    again = lt.models.ContrastiveModel(
        lt.models.small_convnet((8, 8, 3), width=4),
        augmenter=lt.layers.simclr_views(8, seed=0),
    )
    again.compile("sgd", loss=lt.losses.TASELoss(num_prototypes=4))
    shared = lt.callbacks.ResumableCheckpoint(f"{folder}/checkpoint-0")
    resumed = again.fit(data, epochs=2, verbose=0, callbacks=[shared])
    return {
        "resumed_epochs": np.array(resumed.epoch),
        "resumed": keras.ops.convert_to_numpy(again.encoder.weights[0]),
        "ids": np.concatenate([ids for _, ids in data]),
        "view": keras.ops.convert_to_numpy(model.augmenter(images[:1])),
        "prototypes": keras.ops.convert_to_numpy(
            model.loss_state.parts["prototypes"].vectors
        ),
        "warnings": " ".join(str(warning.message) for warning in told),
        "wrote": os.path.exists(own),
    }


def main(path):
    scope = distribution()
    count = PROCESSES if IS_PROCESS else DEVICES
    part = int(os.environ.get("RANK", "0")), PROCESSES
    # Compiling takes long on JAX, whose processes are like its devices.
    names = ["tase", "colt"] if IS_PROCESS and BACKEND == "jax" else LOSSES
    names = os.environ.get("LOSSES", " ".join(names)).split()
    arrays = {}
    for name in names:
        for what, array in train(name, scope, part).items():
            arrays[f"{count}/{name}/{what}"] = array
    for name, array in features(scope).items():
        arrays[f"{count}/features/{name}"] = array
    if BACKEND == "tensorflow" and DEVICES == 2:
        arrays["warnings"] = warnings_of_batch_statistics(scope)
    if BACKEND == "jax" and not IS_PROCESS:
        arrays["uneven"] = refusal_of_uneven_batches(scope)
    if BACKEND == "torch" and IS_PROCESS:
        arrays.update(losses_of_uneven_parts(part[0]))
    if BACKEND == "torch" and PROCESSES == 2:
        arrays.update(refusals(part[0]))
        arrays.update(views_of_processes(part[0], os.path.dirname(path)))
    np.savez(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
