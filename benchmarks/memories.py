"""What remembering a value of every sample adds to a training step.

    KERAS_BACKEND=jax python benchmarks/memories.py --batch_size 512

Whole training steps of a small encoder, the same with and without the memory,
interleaved in one process so that a noisy machine hurts both alike; medians
over rounds of the ratio. Prints JSON and stores it in `--output`.
"""

import json
import statistics
import time
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_integer("batch_size", 512, "Samples in a batch.", lower_bound=2)
flags.DEFINE_integer("num_samples", 12406, "Samples in the memory.")
flags.DEFINE_integer("image_size", 32, "Height and width of the images.")
flags.DEFINE_integer("repeats", 20, "Timed rounds.", lower_bound=3)
flags.DEFINE_string("output", "runs/bench", "Folder for the JSON file.")
FLAGS = flags.FLAGS


def harmonized(num_samples):
    return lt.losses.GeometricHarmonizationLoss(
        lt.losses.NTXentLoss(),
        num_samples=num_samples,
        warmup_epochs=0,
        ramp_epochs=0,
    )


def step(loss, images, ids):
    """Returns a call that trains a model of its own by one step."""
    keras.utils.set_random_seed(0)
    encoder = lt.models.small_convnet(images.shape[1:])
    model = lt.models.ContrastiveModel(encoder)
    model.compile(keras.optimizers.SGD(0.01), loss=loss)
    model.build((None, *images.shape[1:]))
    model.loss_state.set_steps_per_epoch(10)
    # Numbers that come back are computed: nothing is left in a queue.
    return lambda: float(model.train_on_batch(images, ids)[0])


def main(_):
    random = np.random.default_rng(0)
    size = FLAGS.image_size
    images = random.integers(
        0, 256, (FLAGS.batch_size, size, size, 3), dtype="uint8"
    )
    ids = random.permutation(FLAGS.num_samples)[: FLAGS.batch_size]
    ids = ids.astype("int32")
    pairs = {
        "tailness (COLT)": lambda n: lt.losses.COLTLoss(num_samples=n),
        "momentum scores (GH)": harmonized,
    }
    results = {}
    for name, loss in pairs.items():
        calls = {
            n: step(loss(n), images, ids) for n in (None, FLAGS.num_samples)
        }
        times = {n: [] for n in calls}
        for round_ in range(FLAGS.repeats + 2):
            for n, call in calls.items():
                start = time.perf_counter()
                call()
                if round_ >= 2:
                    times[n].append(time.perf_counter() - start)
        without, with_memory = times.values()
        ratios = [b / a for a, b in zip(without, with_memory, strict=True)]
        results[name] = {
            "step_ms": round(1000 * statistics.median(without), 1),
            "memory_adds_percent": round(
                100 * (statistics.median(ratios) - 1), 1
            ),
        }
    result = {
        "backend": keras.backend.backend(),
        "keras": keras.version(),
        "batch_size": FLAGS.batch_size,
        "num_samples": FLAGS.num_samples,
        "repeats": FLAGS.repeats,
        **results,
    }
    text = json.dumps(result, indent=2)
    print(text)
    output = Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"memories-{result['backend']}.json").write_text(text + "\n")


if __name__ == "__main__":
    app.run(main)
