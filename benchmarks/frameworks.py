"""What a training step of each framework costs beside one of SimCLR.

    KERAS_BACKEND=jax python benchmarks/frameworks.py --batch_size 256

Whole training steps of a small encoder on ready-made views, interleaved in one
process so that a noisy machine hurts all alike; medians over rounds of the
ratio. Peak memory is that of a process of its own for each framework, during
steps after the first ones, beyond what it had before the model was made. Beside
them what the encoder's passes alone let expect: with a backward pass as two
forward ones, both views of SimCLR cost 6. Prints JSON and stores it in
`--output`.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

import keras_ltssl as lt

FRAMEWORKS = {
    "simclr": (lt.models.ContrastiveModel, lt.losses.NTXentLoss),
    "moco": (lt.models.MomentumContrast, lt.losses.NTXentLoss),
    "byol": (lt.models.BYOL, lt.losses.BYOLLoss),
    "sdclr": (lt.models.SelfDamagingContrast, lt.losses.NTXentLoss),
}
# SimCLR: two views forward and backward. MoCo: one, and one forward. BYOL: two,
# and two forward. SDCLR: two, one of them through the pruned encoder.
EXPECTED = {"simclr": 6 / 6, "moco": 4 / 6, "byol": 8 / 6, "sdclr": 6 / 6}

flags.DEFINE_integer("batch_size", 256, "Samples in a batch.", lower_bound=2)
flags.DEFINE_integer("image_size", 32, "Height and width of the images.")
flags.DEFINE_integer("width", 32, "Width of the encoder.", lower_bound=1)
flags.DEFINE_integer("repeats", 20, "Timed rounds.", lower_bound=3)
flags.DEFINE_enum(
    "peak_of", None, list(FRAMEWORKS), "Only print this one's peak, in MiB."
)
flags.DEFINE_string("output", "runs/bench", "Folder for the JSON file.")
FLAGS = flags.FLAGS


def make_views():
    size = (FLAGS.batch_size, 2, FLAGS.image_size, FLAGS.image_size, 3)
    return np.random.default_rng(0).integers(0, 256, size, dtype="uint8")


def step(name, views):
    """Returns a call that trains a model of its own by one step."""
    keras.utils.set_random_seed(0)
    encoder = lt.models.small_convnet(views.shape[2:], FLAGS.width)
    framework, loss = FRAMEWORKS[name]
    model = framework(encoder, lt.layers.ProjectionHead())
    model.compile(keras.optimizers.SGD(0.01), loss=loss())
    model.build((None, *views.shape[1:]))
    if name == "sdclr":
        model.update_masks()
    # Numbers that come back are computed: nothing is left in a queue.
    return lambda: float(model.train_on_batch(views)[0])


def memory_mib(field):
    """Returns a number of Linux's account of this process, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"`{field}` must be in /proc/self/status.")


def peak(name):
    """Returns what steps after the first ones take beyond the start, in MiB."""
    views = make_views()
    before = memory_mib("VmRSS")
    call = step(name, views)
    for _ in range(3):
        call()
    Path("/proc/self/clear_refs").write_text("5")  # Forgets the peak so far.
    for _ in range(3):
        call()
    return memory_mib("VmHWM") - before


def main(_):
    if FLAGS.peak_of:
        print(peak(FLAGS.peak_of))
        return
    views = make_views()
    calls = {name: step(name, views) for name in FRAMEWORKS}
    times = {name: [] for name in FRAMEWORKS}
    for round_ in range(FLAGS.repeats + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_ >= 3:
                times[name].append(time.perf_counter() - start)
    peaks = {}
    for name in FRAMEWORKS:
        child = subprocess.run(
            [sys.executable, *sys.argv, f"--peak_of={name}"],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[name] = float(child.stdout.split()[-1])
    result = {
        "backend": keras.backend.backend(),
        "keras": keras.version(),
        "batch_size": FLAGS.batch_size,
        "repeats": FLAGS.repeats,
    }
    for name in FRAMEWORKS:
        ratios = [
            own / plain
            for own, plain in zip(times[name], times["simclr"], strict=True)
        ]
        result[name] = {
            "step_ms": round(1000 * statistics.median(times[name]), 1),
            "time": round(statistics.median(ratios), 2),
            "expected_time": round(EXPECTED[name], 2),
            "peak_mib": round(peaks[name], 1),
            "memory": round(peaks[name] / peaks["simclr"], 2),
        }
    text = json.dumps(result, indent=2)
    print(text)
    output = Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"frameworks-{result['backend']}.json").write_text(text + "\n")


if __name__ == "__main__":
    app.run(main)
