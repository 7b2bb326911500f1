"""What views that follow the weight of each sample cost beside plain ones.

    KERAS_BACKEND=jax python benchmarks/boosted_views.py --batch_size 256

`simclr_views`, the same within `BoostedViews`, and what is added alone:
`PerSampleRandAugment` on as many images as there are views, and
`keras.layers.RandAugment` with one operation on the same. Inside a model, so
compiled as Keras does in training, interleaved in one process so that a noisy
machine hurts all alike; medians. Prints JSON and stores it in `--output`.
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

flags.DEFINE_integer("batch_size", 256, "Images in a batch.", lower_bound=1)
flags.DEFINE_integer("image_size", 32, "Height and width of the images.")
flags.DEFINE_integer("repeats", 20, "Timed rounds.", lower_bound=3)
flags.DEFINE_integer(
    "keras_repeats", 3, "Timed rounds of Keras' RandAugment, which are long."
)
flags.DEFINE_string("output", "runs/bench", "Folder for the JSON files.")
FLAGS = flags.FLAGS

VIEWS = "simclr_views"
BOOSTED = "BoostedViews"
OURS = "PerSampleRandAugment"
KERAS = "keras.layers.RandAugment"


class InTraining(keras.layers.Layer):
    """Calls a layer as in training; of each image, only the mean comes back."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        out = self.layer(*inputs, training=True)
        return ops.mean(ops.reshape(out, (ops.shape(out)[0], -1)), axis=1)


def compiled(layer, *data):
    """Returns a call that runs the layer as Keras compiles it in training."""
    inputs = [keras.Input(array.shape[1:]) for array in data]
    model = keras.Model(inputs, InTraining(layer)(inputs))
    # Numbers that come back are computed: nothing is left in a queue.
    return lambda: model.predict_on_batch(data)


def main(_):
    random = np.random.default_rng(0)
    size = FLAGS.image_size
    images = random.uniform(0, 255, (FLAGS.batch_size, size, size, 3))
    images = images.astype("float32")
    weights = random.uniform(size=FLAGS.batch_size).astype("float32")
    strength = 10 + 20 * weights
    # As many images as there are views of those above.
    twice = [array.repeat(2, axis=0) for array in (images, weights, strength)]
    layers = lt.layers
    calls = {
        VIEWS: compiled(layers.simclr_views(size), images),
        BOOSTED: compiled(
            layers.BoostedViews(layers.simclr_views(size)), images, weights
        ),
        OURS: compiled(layers.PerSampleRandAugment(), *twice),
        KERAS: compiled(keras.layers.RandAugment(num_ops=1), twice[0]),
    }
    times = {name: [] for name in calls}
    for round_ in range(FLAGS.repeats + 2):
        for name, call in calls.items():
            if name == KERAS and round_ >= FLAGS.keras_repeats + 2:
                continue
            start = time.perf_counter()
            call()
            if round_ >= 2:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(value) for name, value in times.items()}
    result = {
        "backend": keras.backend.backend(),
        "keras": keras.version(),
        "batch_size": FLAGS.batch_size,
        "image_size": size,
        "repeats": FLAGS.repeats,
        "milliseconds": {
            name: round(1000 * value, 1) for name, value in medians.items()
        },
        "images_per_second": {
            name: round(
                len(twice[0] if name in (OURS, KERAS) else images) / value
            )
            for name, value in medians.items()
        },
        "times_the_plain_views": {
            name: round(value / medians[VIEWS], 2)
            for name, value in medians.items()
        },
    }
    text = json.dumps(result, indent=2)
    print(text)
    output = Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"boosted_views-{result['backend']}.json").write_text(text + "\n")


if __name__ == "__main__":
    app.run(main)
