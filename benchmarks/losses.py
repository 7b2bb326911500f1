"""Time of each loss beside the three matrix products that it cannot avoid.

    KERAS_BACKEND=jax python benchmarks/losses.py --batch_size 512

Forward and backward, compiled where Keras compiles, interleaved in one process
so that a noisy machine hurts all alike; medians, and ratios to the products.
Prints JSON and stores it in `--output`.
"""

import json
import statistics
import time
from pathlib import Path

import keras
import numpy as np
from absl import app, flags
from keras import ops

import keras_ltssl as lt

flags.DEFINE_integer("batch_size", 512, "Samples in a batch.", lower_bound=2)
flags.DEFINE_integer("dim", 128, "Width of the projections.", lower_bound=1)
flags.DEFINE_integer("repeats", 30, "Timed rounds.", lower_bound=3)
flags.DEFINE_string("output", "runs/bench", "Folder for the JSON files.")
FLAGS = flags.FLAGS


def compiled_gradient(function, z):
    """Returns a call that computes value and gradient and waits for both."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        z = tf.constant(z)

        @tf.function(jit_compile=True)
        def run():
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = function(z)
            return value, tape.gradient(value, z)

        return lambda: run()[1].numpy()
    if backend == "jax":
        import jax

        run = jax.jit(jax.value_and_grad(function))
        return lambda: jax.block_until_ready(run(z))
    import torch

    def run():
        leaf = torch.tensor(z, requires_grad=True)
        function(leaf).backward()
        return leaf.grad

    return run


def compiled(function, z):
    """Returns a call that computes `function(z)` and waits for it."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        run = tf.function(function, jit_compile=True)
        z = tf.constant(z)
        return lambda: run(z).numpy()
    if backend == "jax":
        import jax

        run = jax.jit(function)
        return lambda: jax.block_until_ready(run(z))
    import torch

    return lambda: function(torch.tensor(z))


def main(_):
    random = np.random.default_rng(0)
    shape = (FLAGS.batch_size, 2, FLAGS.dim)
    z = random.normal(size=shape).astype("float32")

    def three_products(z):
        units = ops.reshape(z, (-1, FLAGS.dim))
        cosines = ops.matmul(units, ops.transpose(units))
        once = ops.matmul(cosines, units)
        return once + ops.matmul(ops.transpose(cosines), units)

    tase = lt.losses.TASELoss(warmup_steps=0)
    state = lt.layers.LossState(tase)
    state(z, training=False)
    calls = {
        "three products": compiled(three_products, z),
        "nt_xent": compiled_gradient(
            lambda z: ops.mean(lt.losses.nt_xent(z)), z
        ),
        "nt_xent, chunk_size=128": compiled_gradient(
            lambda z: ops.mean(lt.losses.nt_xent(z, chunk_size=128)), z
        ),
        "focal_nt_xent": compiled_gradient(
            lambda z: ops.mean(lt.losses.focal_nt_xent(z)), z
        ),
        "tase, without its updates": compiled_gradient(
            lambda z: ops.mean(
                lt.losses.nt_xent(z, tase.assess(z, 0.2)[0])
                * tase.assess(z, 0.2)[1]
            ),
            z,
        ),
    }
    times = {name: [] for name in calls}
    for round_ in range(FLAGS.repeats + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_ >= 3:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(value) for name, value in times.items()}
    bound = medians["three products"]
    result = {
        "backend": keras.backend.backend(),
        "keras": keras.version(),
        "batch_size": FLAGS.batch_size,
        "dim": FLAGS.dim,
        "repeats": FLAGS.repeats,
        "three_products_ms": round(1000 * bound, 3),
        "times_the_three_products": {
            name: round(value / bound, 2) for name, value in medians.items()
        },
    }
    text = json.dumps(result, indent=2)
    print(text)
    output = Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"losses-{result['backend']}.json").write_text(text + "\n")


if __name__ == "__main__":
    app.run(main)
