"""What it costs that a training step logs whether it learns.

    KERAS_BACKEND=torch python benchmarks/monitoring.py

The loss of a batch with its gradient and state, with and without the signs of
learning, in turns; then whole training steps of SimCLR, of which the difference
is a share. In seconds of the processor, since others may use the machine. On
JAX, MoCo's queue is left out. Prints JSON and stores it in `--output`.
"""

import statistics
import time

import keras
import measuring
import numpy as np
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_integer("batch_size", 256, "Samples in a batch.", lower_bound=2)
flags.DEFINE_integer("repeats", 200, "Timed rounds of the loss.")
flags.DEFINE_integer("steps", 5, "Timed training steps.")
flags.DEFINE_list("backbones", ["small_convnet", "resnet18"], "Encoders.")
FLAGS = flags.FLAGS


def processor_ms(calls, repeats, warm_up=3):
    """Returns the milliseconds of each call by name, taken in turns."""
    times = {name: [] for name in calls}
    for round_ in range(repeats + warm_up):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if round_ >= warm_up:
                times[name].append(1000 * (time.process_time() - start))
    return times


def added_ms(loss, z, make_queue=None):
    """Returns the median of what the signs add to the loss."""
    calls = {}
    for monitor in (True, False):
        queue = None
        if make_queue is not None:
            queue = make_queue(z)
        calls[monitor] = measuring.training_step(
            loss(), np.arange(len(z)), z, monitor=monitor, queue=queue
        )
    times = processor_ms(calls, FLAGS.repeats)
    pairs = zip(times[True], times[False], strict=True)
    return statistics.median(own - without for own, without in pairs)


def full_queue(z):
    queue = lt.layers.KeyQueue(4096)
    queue.build((None, z.shape[-1]))
    keys = np.random.default_rng(1).normal(size=(4096, z.shape[-1]))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queue.enqueue(keys.astype("float32"), np.zeros(4096, bool))
    return queue


def step_ms(backbone, views):
    encoder = getattr(lt.models, backbone)(views.shape[2:])
    model = lt.models.ContrastiveModel(encoder)
    model.compile(
        keras.optimizers.SGD(0.01),
        loss=lt.losses.NTXentLoss(),
        monitor_learning=False,
    )

    def step():
        return float(model.train_on_batch(views, np.arange(len(views)))[0])

    times = processor_ms({"step": step}, FLAGS.steps, warm_up=1)
    return statistics.median(times["step"])


def main(_):
    random = np.random.default_rng(0)
    z = random.normal(size=(FLAGS.batch_size, 2, 128)).astype("float32")
    targets = random.normal(size=(FLAGS.batch_size, 4, 128)).astype("float32")
    added = {
        "simclr": added_ms(lt.losses.NTXentLoss, z),
        "byol": added_ms(lt.losses.BYOLLoss, targets),
    }
    if keras.backend.backend() != "jax":
        added["moco"] = added_ms(lt.losses.NTXentLoss, z, full_queue)
    shape = (FLAGS.batch_size, 2, 32, 32, 3)
    views = random.integers(0, 256, shape).astype("uint8")
    steps = {name: step_ms(name, views) for name in FLAGS.backbones}
    measuring.store(
        "monitoring",
        batch_size=FLAGS.batch_size,
        added_ms={name: round(value, 2) for name, value in added.items()},
        step_ms={name: round(value, 1) for name, value in steps.items()},
        percent={
            backbone: {
                name: round(100 * value / step, 2)
                for name, value in added.items()
            }
            for backbone, step in steps.items()
        },
    )


if __name__ == "__main__":
    app.run(main)
