"""GH's term beside the loop that was published for it.

    KERAS_BACKEND=torch python benchmarks/harmonization.py
    KERAS_BACKEND=torch taskset -c 0 python benchmarks/harmonization.py

Forward and backward of `geometric_harmonization` and of a direct transcription
of the published loop: the whole matrix is scaled, row after column, view after
view. On PyTorch that is written in plain PyTorch; elsewhere in `keras.ops`, and
compiled like the term. Interleaved in one process so that a noisy machine hurts
all alike; medians, and ratios to the loop. Prints JSON and stores it in
`--output`, a file for each number of cores, which `taskset` can limit.
"""

import os

import keras
import measuring
import numpy as np
from absl import app, flags
from keras import ops

import keras_ltssl as lt

flags.DEFINE_integer("batch_size", 512, "Samples in a batch.", lower_bound=2)
flags.DEFINE_integer("dim", 128, "Width of the projections.", lower_bound=2)
flags.DEFINE_integer("num_targets", 100, "Targets K.", lower_bound=2)
flags.DEFINE_integer("iterations", 300, "Of the scaling.", lower_bound=1)
flags.DEFINE_float("regularization", 0.05, "ε of the scaling.")
flags.DEFINE_integer("repeats", 20, "Timed rounds.", lower_bound=3)
FLAGS = flags.FLAGS

GAMMA = 0.1


def published_torch(z, targets):
    """Returns the mean term, each matrix scaled in place, in PyTorch."""
    import torch
    from torch.nn.functional import log_softmax, normalize

    batch, num_targets = len(z), len(targets)
    scores = [
        normalize(normalize(z[:, view], dim=1) @ targets.T, dim=1)
        for view in (0, 1)
    ]
    labels = []
    with torch.no_grad():
        of_rows = torch.full((num_targets,), 1 / num_targets)
        of_columns = torch.full((batch,), 1 / batch)
        for t in scores:
            Q = torch.exp(t / FLAGS.regularization).T
            Q /= Q.sum()
            for _ in range(FLAGS.iterations):
                Q *= (of_rows / Q.sum(dim=1))[:, None]
                Q *= (of_columns / Q.sum(dim=0))[None, :]
            labels.append((Q / Q.sum(dim=0, keepdim=True)).T)
    terms = [
        -(q * log_softmax(t / GAMMA, dim=1)).sum(dim=1)
        for q, t in zip(labels, reversed(scores), strict=True)
    ]
    return (terms[0] + terms[1]).mean()


def published_ops(z, targets):
    """Returns the mean term, each matrix scaled as a whole, in `keras.ops`."""
    batch, num_targets = len(z), len(targets)
    scores = [
        ops.normalize(
            ops.matmul(ops.normalize(z[:, view]), ops.transpose(targets))
        )
        for view in (0, 1)
    ]

    def scaled(_, Q):
        Q = Q * (1 / num_targets / ops.sum(Q, axis=1, keepdims=True))
        return Q * (1 / batch / ops.sum(Q, axis=0, keepdims=True))

    labels = []
    for t in scores:
        t = ops.stop_gradient(t)
        Q = ops.transpose(ops.exp(t / FLAGS.regularization))
        Q = ops.fori_loop(0, FLAGS.iterations, scaled, Q / ops.sum(Q))
        Q = ops.transpose(Q / ops.sum(Q, axis=0, keepdims=True))
        labels.append(ops.stop_gradient(Q))
    terms = [
        -ops.sum(q * ops.log_softmax(t / GAMMA), axis=1)
        for q, t in zip(labels, reversed(scores), strict=True)
    ]
    return ops.mean(terms[0] + terms[1])


def ours(tolerance=None):
    return lambda z, targets: ops.mean(
        lt.losses.geometric_harmonization(
            z,
            targets,
            gamma=GAMMA,
            sinkhorn=lt.losses.SinkhornOptions(
                FLAGS.regularization, FLAGS.iterations, tolerance
            ),
        )
    )


def main(_):
    backend = keras.backend.backend()
    random = np.random.default_rng(0)
    shape = (FLAGS.batch_size, 2, FLAGS.dim)
    z = random.normal(size=shape).astype("float32")
    simplex = lt.initializers.SimplexETF(seed=0)
    targets = ops.convert_to_tensor(
        simplex((FLAGS.num_targets, FLAGS.dim)), "float32"
    )
    published = published_torch if backend == "torch" else published_ops
    loop = "published loop"
    terms = {
        loop: published,
        "term, all iterations": ours(),
        "term, tolerance=1e-5": ours(1e-5),
        "term, tolerance=1e-6": ours(1e-6),
    }
    calls = {
        name: measuring.compiled_gradient(
            lambda z, term=term: term(z, targets), z
        )
        for name, term in terms.items()
    }
    values = {
        name: float(
            ops.convert_to_numpy(term(ops.convert_to_tensor(z), targets))
        )
        for name, term in terms.items()
    }
    times = measuring.rounds(calls, FLAGS.repeats)
    cores = len(os.sched_getaffinity(0))
    ratios = {name: measuring.ratio(times, name, loop) for name in times}
    measuring.store(
        f"harmonization-{cores}",
        cores=cores,
        batch_size=FLAGS.batch_size,
        dim=FLAGS.dim,
        num_targets=FLAGS.num_targets,
        iterations=FLAGS.iterations,
        regularization=FLAGS.regularization,
        repeats=FLAGS.repeats,
        milliseconds={
            name: measuring.milliseconds(times, name) for name in times
        },
        times_the_loop=ratios,
        times_faster={
            name: round(1 / ratio, 2) for name, ratio in ratios.items()
        },
        values=values,
    )


if __name__ == "__main__":
    app.run(main)
