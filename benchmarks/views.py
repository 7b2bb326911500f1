"""Views per second, beside pipelines of Keras' own layers and torchvision's.

    KERAS_BACKEND=jax python benchmarks/views.py --image_size 96 --blur 0.5

All pipelines make two views of each image, compiled as Keras compiles them in
training: on TensorFlow a graph (with XLA where there is a GPU), PyTorch eager,
JAX jitted. Of Keras' layers, three pipelines:

- `crop per sample`: RandomFlip, RandomZoom (height and width apart) and
  RandomTranslation, RandomColorJitter, RandomGrayscale. All of these draw for
  every image, so this is the one that compares with `simclr_views`.
- `one crop a batch`: RandomCrop, which draws one window for the whole batch,
  and Resizing, in place of zoom and translation.
- `no crop`: neither. It does less than any SimCLR pipeline.

RandomZoom, RandomTranslation and RandomCrop keep Keras from jitting the model
that holds them. `--jit_compile` jits everything all the same, on TensorFlow by
XLA. Where torchvision is installed, its usual pipelines (PIL images, tensors)
run one image at a time in one thread, as in the workers of a data loader. What
does not run is listed with its error.

Interleaved in one process so that a noisy machine hurts all alike; medians.
Prints JSON and stores it in `--output`.
"""

import json
import os
import statistics
import time
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_integer("batch_size", 256, "Images in a batch.", lower_bound=1)
flags.DEFINE_integer("image_size", 32, "Height and width of the images.")
flags.DEFINE_float("blur", 0.0, "Probability of Gaussian blur.")
flags.DEFINE_bool("jit_compile", False, "Jit also what Keras would not.")
flags.DEFINE_integer("repeats", 20, "Timed rounds.", lower_bound=3)
flags.DEFINE_integer(
    "slow_repeats", 3, "Timed rounds of what takes over a second."
)
flags.DEFINE_string("output", "runs/bench", "Folder for the JSON files.")
FLAGS = flags.FLAGS

OURS = "simclr_views"
KERAS = "Keras, "
TORCHVISION = "torchvision, "


def keras_pipelines():
    """Returns lists of Keras' own layers by name."""
    layers = keras.layers
    size, blur = FLAGS.image_size, FLAGS.blur

    def pipeline(*crop):
        colors = [
            layers.RandomColorJitter(
                brightness_factor=0.4,
                contrast_factor=0.4,
                saturation_factor=(0.3, 0.7),
                hue_factor=0.1,
            ),
            layers.RandomGrayscale(0.2),
        ]
        pixel = size / 224
        blurred = [
            layers.RandomGaussianBlur(
                factor=(blur, blur),
                # As far as three of the largest standard deviations.
                kernel_size=2 * round(6 * pixel) + 1,
                sigma=(0.1 * pixel, 2 * pixel),
            )
        ]
        flip = layers.RandomFlip("horizontal")
        return [flip, *crop, *colors, *(blurred if blur else [])]

    window = round(0.74 * size)  # The mean area of a crop is 0.55.
    zoom = (0.1**0.5 - 1, 0.0)
    return {
        KERAS + "crop per sample": pipeline(
            layers.RandomZoom(zoom, zoom), layers.RandomTranslation(0.25, 0.25)
        ),
        KERAS + "one crop a batch": pipeline(
            layers.RandomCrop(window, window), layers.Resizing(size, size)
        ),
        KERAS + "no crop": pipeline(),
    }


def compiled(views, images):
    """Returns a call that draws views as Keras compiles it in training."""
    if FLAGS.jit_compile:
        for layer in views.pipeline:
            layer.supports_jit = True
    inputs = keras.Input(images.shape[1:])
    model = keras.Model(inputs, views(inputs))
    if FLAGS.jit_compile:
        model.jit_compile = True
    # Arrays that come back are computed: nothing is left in a queue.
    return lambda: model.predict_on_batch(images)


def torchvision_calls(images):
    """Returns calls of torchvision's pipelines by name."""
    import torch
    from torchvision.transforms import v2

    size, pixel = FLAGS.image_size, FLAGS.image_size / 224

    def pipeline(*conversion):
        blur = v2.GaussianBlur(2 * round(6 * pixel) + 1, (0.1, 2 * pixel))
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.1, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
                v2.RandomGrayscale(0.2),
                *([v2.RandomApply([blur], FLAGS.blur)] if FLAGS.blur else []),
                *conversion,
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def call(transform, samples):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for sample in samples:
            transform(sample)
            transform(sample)
        torch.set_num_threads(threads)

    pixels = images.astype("uint8")
    pictures = [v2.functional.to_pil_image(image) for image in pixels]
    tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in pixels]
    from_picture, from_tensor = pipeline(v2.ToImage()), pipeline()
    return {
        TORCHVISION + "PIL": lambda: call(from_picture, pictures),
        TORCHVISION + "tensors": lambda: call(from_tensor, tensors),
    }


def main(_):
    random = np.random.default_rng(0)
    size = FLAGS.image_size
    images = random.uniform(0, 255, (FLAGS.batch_size, size, size, 3))
    images = images.astype("float32")
    views = {OURS: lt.layers.simclr_views(size, blur=FLAGS.blur)}
    for name, pipeline in keras_pipelines().items():
        views[name] = lt.layers.TwoViews(pipeline)
    calls, failed, is_slow = {}, {}, {}
    for name, layer in views.items():
        try:
            call = compiled(layer, images)
            call()
        except Exception as error:  # Of which type depends on the backend.
            failed[name] = f"{type(error).__name__}: {error}"[:300]
        else:
            calls[name] = call
    try:
        calls |= torchvision_calls(images)
    # Not there, or its wheel does not fit that of PyTorch.
    except (ImportError, RuntimeError) as error:
        failed["torchvision"] = f"{type(error).__name__}: {error}"
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        is_slow[name] = time.perf_counter() - start > 1
    times = {name: [] for name in calls}
    for round_ in range(FLAGS.repeats):
        for name, call in calls.items():
            if is_slow[name] and round_ >= FLAGS.slow_repeats:
                continue
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(value) for name, value in times.items()}
    cores = len(os.sched_getaffinity(0))
    rates = {name: 2 * len(images) / value for name, value in medians.items()}
    result = {
        "backend": keras.backend.backend(),
        "keras": keras.version(),
        "batch_size": FLAGS.batch_size,
        "image_size": size,
        "blur": FLAGS.blur,
        "jit_compile": FLAGS.jit_compile,
        "repeats": FLAGS.repeats,
        "cores": cores,
        "milliseconds": {
            name: round(1000 * value, 1) for name, value in medians.items()
        },
        "views_per_second": {name: round(rate) for name, rate in rates.items()},
        "views_per_second_and_core": {
            name: round(rate / (1 if TORCHVISION in name else cores))
            for name, rate in rates.items()
        },
        "times_simclr_views": {
            name: round(value / medians[OURS], 2)
            for name, value in medians.items()
        },
        "failed": failed,
    }
    text = json.dumps(result, indent=2)
    print(text)
    output = Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    kind = f"{size}{'-jit' if FLAGS.jit_compile else ''}"
    (output / f"views-{result['backend']}-{kind}.json").write_text(text + "\n")


if __name__ == "__main__":
    app.run(main)
