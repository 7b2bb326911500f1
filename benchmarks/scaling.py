"""How cost grows with samples, batch, targets and pool.

    KERAS_BACKEND=jax python benchmarks/scaling.py

For each of them, milliseconds at several sizes, the others held, and the power
of the size by which they grow from the second largest to the largest: 0 where
size does not matter, 1 where twice the size takes twice the time. The sizes of
one thing are taken in turns in one process; medians. Prints JSON and stores it
in `--output`.
"""

import math

import keras
import measuring
import numpy as np
from absl import app, flags
from keras import ops

import keras_ltssl as lt

flags.DEFINE_list("samples", ["10000", "1000000", "10000000"], "Memory rows.")
flags.DEFINE_list("batches", ["256", "512", "1024", "2048"], "Batch sizes.")
flags.DEFINE_list("targets", ["10", "100", "1000"], "Targets K of GH.")
flags.DEFINE_list("pools", ["10000", "100000", "1000000"], "Pool sizes.")
flags.DEFINE_integer("batch_size", 512, "Where another thing grows.")
flags.DEFINE_integer("dim", 128, "Width of projections and features.")
flags.DEFINE_integer("chunk_size", 256, "Anchors at a time, where chunked.")
flags.DEFINE_integer("repeats", 7, "Timed rounds.", lower_bound=3)
FLAGS = flags.FLAGS


class Remembering(keras.Model):
    """The least that a training step with a memory can do."""

    def __init__(self, num_samples):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.memory = lt.layers.SampleMemory(num_samples)
        self.memory.build()

    def call(self, x):
        return self.dense(x)[:, 0]

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        self.memory.update(y, y_pred)
        return ops.mean(ops.square(y_pred))


def training_step(num_samples):
    """Returns a call that trains by one step, with ids from all samples."""
    random = np.random.default_rng(0)
    model = Remembering(num_samples)
    model.compile("sgd")
    x = random.normal(size=(FLAGS.batch_size, 8)).astype("float32")
    ids = random.integers(num_samples, size=FLAGS.batch_size)
    return lambda: float(model.train_on_batch(x, ids.astype("int32")))


def loss_call(function, batch_size):
    """Returns a call that computes a loss and its gradient."""
    random = np.random.default_rng(0)
    z = random.normal(size=(batch_size, 2, FLAGS.dim)).astype("float32")
    return measuring.compiled_gradient(lambda z: ops.mean(function(z)), z)


def harmonization_call(num_targets, batch_size, tolerance=None):
    # Random directions: a simplex has no more than dim + 1.
    random = np.random.default_rng(0)
    targets = random.normal(size=(num_targets, FLAGS.dim))
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    return loss_call(
        lambda z: lt.losses.geometric_harmonization(
            z,
            targets.astype("float32"),
            sinkhorn=lt.losses.SinkhornOptions(tolerance=tolerance),
        ),
        batch_size,
    )


def features(rows):
    random = np.random.default_rng(0)
    array = random.normal(size=(rows, FLAGS.dim)).astype("float32")
    array[:, :10] += (
        5 * np.eye(10, dtype="float32")[random.integers(10, size=rows)]
    )
    return array


def ood_call(pool_rows):
    id_features, pool = features(10_000), features(pool_rows)
    scores = np.arange(len(id_features)) / len(id_features)
    budget = min(10_000, pool_rows)
    return lambda: lt.samplers.choose_colt(
        id_features, pool, scores, budget, engine="sklearn"
    )


def mak_call(pool_rows):
    id_features, pool = features(10_000), features(pool_rows)
    losses = np.random.default_rng(1).random(pool_rows)
    return lambda: lt.samplers.choose_mak(
        id_features, pool, losses, budget=200, engine="sklearn"
    )


def kmeans_call(rows):
    array = features(rows)
    return lambda: lt.samplers.kmeans(array, 10, engine="sklearn")


def measured(make, sizes, repeats):
    """Returns milliseconds by size, and the power that they grow by."""
    calls = {int(size): make(int(size)) for size in sizes}
    times = measuring.rounds(calls, repeats, warm_up=2)
    result = {size: measuring.milliseconds(times, size) for size in times}
    if len(result) > 1:
        (size, time), (larger, longer) = list(result.items())[-2:]
        power = math.log(longer / time) / math.log(larger / size)
        result["power"] = round(power, 2)
    return result


def main(_):
    repeats = FLAGS.repeats
    batch, batches = FLAGS.batch_size, FLAGS.batches
    measuring.store(
        "scaling",
        batch_size=batch,
        dim=FLAGS.dim,
        chunk_size=FLAGS.chunk_size,
        repeats=repeats,
        milliseconds={
            "samples: training step with a memory": measured(
                training_step, FLAGS.samples, 3 * repeats
            ),
            "batch: nt_xent": measured(
                lambda size: loss_call(lt.losses.nt_xent, size),
                batches,
                repeats,
            ),
            "batch: nt_xent in chunks": measured(
                lambda size: loss_call(
                    lambda z: lt.losses.nt_xent(z, chunk_size=FLAGS.chunk_size),
                    size,
                ),
                batches,
                repeats,
            ),
            "batch: geometric_harmonization, K = 100": measured(
                lambda size: harmonization_call(100, size), batches, repeats
            ),
            "targets: geometric_harmonization": measured(
                lambda size: harmonization_call(size, batch),
                FLAGS.targets,
                repeats,
            ),
            "targets: geometric_harmonization, tolerance=1e-5": measured(
                lambda size: harmonization_call(size, batch, 1e-5),
                FLAGS.targets,
                repeats,
            ),
            "pool: choose_colt, 10,000 ID samples": measured(
                ood_call, FLAGS.pools, 3
            ),
            "pool: choose_mak, 10,000 ID samples, budget 200": measured(
                mak_call, FLAGS.pools, 3
            ),
            "samples: kmeans into 10": measured(kmeans_call, FLAGS.pools, 3),
        },
    )


if __name__ == "__main__":
    app.run(main)
