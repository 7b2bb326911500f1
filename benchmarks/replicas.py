"""What the loss of one replica costs, by the number of replicas.

    KERAS_BACKEND=torch python benchmarks/replicas.py --replicas 1,2,4

The batch of all replicas stays the same, so each of D replicas has 1/D of it.
On PyTorch, D processes of `torch.distributed` (gloo) compute a training step of
a loss together, forward and backward to the projections, with all that the loss
remembers; beside it lightly's NT-Xent with `gather_distributed=True`, where
that is installed. Of the first process: multiplications of its matrix products
(as `torch.utils.flop_counter` counts them), seconds of processor time, median,
and the peak of memory beyond what was there before. On JAX, XLA shares out the
batch, and what is given is its own count and plan for one device. On
TensorFlow, the graph of one replica is counted, to which the others send what
it has itself. Prints JSON and stores it in `--output`.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time

import keras
import measuring
import numpy as np
from absl import app, flags
from keras import ops

import keras_ltssl as lt
from keras_ltssl.backend import replicas

flags.DEFINE_list("replicas", "1,2,4", "Numbers of replicas.")
flags.DEFINE_integer("batch_size", 2048, "Samples of all replicas together.")
flags.DEFINE_integer("dim", 128, "Width of the projections.", lower_bound=1)
flags.DEFINE_integer("chunk_size", 128, "Anchors at a time.", lower_bound=1)
flags.DEFINE_integer("repeats", 5, "Timed steps.", lower_bound=1)
flags.DEFINE_integer("of", None, "Internal: be one of so many replicas.")
FLAGS = flags.FLAGS

SAMPLES = 50_000
LOSSES = {
    "nt_xent": lambda: lt.losses.NTXentLoss(),
    "nt_xent in chunks": lambda: lt.losses.NTXentLoss(
        chunk_size=FLAGS.chunk_size
    ),
    "focal": lambda: lt.losses.FocalNTXentLoss(),
    "tase": lambda: lt.losses.TASELoss(warmup_steps=0),
    "colt": lambda: lt.losses.COLTLoss(num_samples=SAMPLES),
    "isogclr": lambda: lt.losses.ISogCLRLoss(SAMPLES),
    "gh": lambda: lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_samples=SAMPLES,
        warmup_epochs=0,
        ramp_epochs=0,
    ),
    "con_mix": lambda: lt.losses.ConMixLoss(
        lt.losses.NTXentLoss(), FLAGS.batch_size // 5
    ),
}


def batch():
    """Returns projections and sample ids of all replicas."""
    random = np.random.default_rng(0)
    z = random.normal(size=(FLAGS.batch_size, 2, FLAGS.dim))
    ids = np.arange(FLAGS.batch_size, dtype="int32")
    ids[::5] = -1
    return z.astype("float32"), ids


def calls_of_torch(z, ids):
    """Yields names and makers of calls for a process' part of a batch."""
    for name, make in LOSSES.items():
        yield name, lambda make=make: measuring.training_step(make(), ids, z)
    try:
        from lightly.loss import NTXentLoss
    except (ImportError, RuntimeError):  # Of torchvision, without its torch.
        return
    loss = NTXentLoss(temperature=0.2, gather_distributed=FLAGS.of > 1)

    def of_views(z):
        return loss(z[:, 0], z[:, 1])

    yield "lightly", lambda: measuring.compiled_gradient(of_views, z)


def process_of_torch():
    """Measures each loss as one of the processes; the first prints it."""
    import torch.distributed
    from torch.utils.flop_counter import FlopCounterMode

    rank = int(os.environ["RANK"])
    if FLAGS.of > 1:
        torch.distributed.init_process_group("gloo")
    size = FLAGS.batch_size // FLAGS.of
    own = slice(rank * size, rank * size + size)
    z, ids = batch()
    result = {}
    for name, make in calls_of_torch(z[own], ids[own]):
        call = make()
        call()
        before = measuring.memory_mib("VmRSS")
        measuring.forget_peak()
        call()
        peak = measuring.memory_mib("VmHWM") - before
        counter = FlopCounterMode(display=False)
        with counter:
            call()
        seconds = []
        for _ in range(FLAGS.repeats):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
        result[name] = {
            # A multiplication and an addition count as two.
            "gflop": round(counter.get_total_flops() / 1e9, 3),
            "processor_ms": round(1000 * statistics.median(seconds), 1),
            "peak_mib": round(peak, 1),
        }
    if rank == 0:
        print(json.dumps(result))


def device_of_jax():
    """Measures each loss on one of the devices that XLA shares it out to."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(jax.devices(), ("batch",))
    shared = NamedSharding(mesh, PartitionSpec("batch"))
    z, _ = batch()
    # XLA counts a loop once, so there is no count in chunks.
    losses = {"nt_xent": lt.losses.nt_xent, "focal": lt.losses.focal_nt_xent}
    result = {}
    for name, function in losses.items():
        run = jax.jit(
            jax.value_and_grad(lambda z, f=function: ops.mean(f(z))),
            in_shardings=shared,
            out_shardings=(None, shared),
        )
        plan = run.lower(jax.device_put(z, shared)).compile()
        memory = plan.memory_analysis().temp_size_in_bytes
        result[name] = {
            "gflop": round(plan.cost_analysis()["flops"] / 1e9, 3),
            "planned_mib": round(memory / 2**20, 1),
        }
    print(json.dumps(result))


class OneOf(replicas.Part):
    """The part of the first of several replicas, whose samples are the same."""

    is_whole = False

    def own(self, batch):
        return batch[: FLAGS.batch_size // FLAGS.of]

    def gather(self, own):
        return ops.concatenate([own] * FLAGS.of)

    def plus(self, batch, own):
        others = FLAGS.batch_size - FLAGS.batch_size // FLAGS.of
        return batch + ops.pad(own, [[0, others], [0, 0], [0, 0]])


def graph_of_tensorflow():
    """Counts the operations of each loss in the graph of one replica."""
    import tensorflow as tf

    if FLAGS.of > 1:
        replicas.part_of = lambda own: OneOf()
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(
        profiler.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    z, ids = (part[: FLAGS.batch_size // FLAGS.of] for part in batch())
    result = {}
    # The profiler counts a loop once, so there is no count in chunks.
    for name in ("nt_xent", "focal", "tase", "colt", "isogclr"):
        loss = LOSSES[name]()
        state = lt.layers.LossState(loss, steps_per_epoch=10)
        state(z, training=True)

        @tf.function
        def step(z, loss=loss, state=state):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = loss(ids, state(z, training=True))
            return tape.gradient(value, z)

        graph = step.get_concrete_function(tf.constant(z)).graph
        profile = profiler.profile(graph, options=options.build())
        result[name] = {"gflop": round(profile.total_float_ops / 1e9, 3)}
    print(json.dumps(result))


def of_replicas(count):
    """Returns what one of so many replicas measured."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
        # So that what is freed is given back, and shows in the next peak.
        "MALLOC_MMAP_THRESHOLD_": str(2**20),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
        "JAX_PLATFORMS": "cpu",
    }
    ranks = range(count if keras.backend.backend() == "torch" else 1)
    command = [sys.executable, *sys.argv, f"--of={count}"]
    processes = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ranks
    ]
    printed = [process.communicate()[0] for process in processes]
    return json.loads(printed[0].splitlines()[-1])


def main(_):
    if FLAGS.of:
        {
            "torch": process_of_torch,
            "jax": device_of_jax,
            "tensorflow": graph_of_tensorflow,
        }[keras.backend.backend()]()
        return
    by_count = {count: of_replicas(int(count)) for count in FLAGS.replicas}
    measuring.store(
        "replicas",
        batch_size=FLAGS.batch_size,
        dim=FLAGS.dim,
        chunk_size=FLAGS.chunk_size,
        repeats=FLAGS.repeats,
        of_one_replica=by_count,
    )


if __name__ == "__main__":
    app.run(main)
