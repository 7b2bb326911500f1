"""Images a second that are decoded, beside tf.data and a torchvision loader.

    python benchmarks/reading.py --sizes 224,64

JPEGs of 500 x 375 pixels, quality 90, are cut from the two photographs of
scikit-learn, or are images of an array, enlarged (`--images FILE.npz`, the
first array of four dimensions). Each reader has two workers. The readers take
turns on the same files, `--rounds` times. The medians are printed, and the
medians of the ratios to tf.data in the same round.

- `ours`: `ImageBatches`. `ours, two crops`: with `crop_scale`.
- `tf.data`: decoded, cropped at the center and resized as Keras does, which
  aliases. `tf.data, antialiased`: as ours.
- `torchvision`: a `DataLoader` of two processes, which resizes with Pillow.
  Left out where torchvision is missing.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

flags.DEFINE_integer("files", 512, "Number of files.")
flags.DEFINE_list("sizes", ["224"], "Heights and widths of the images.")
flags.DEFINE_integer("rounds", 5, "Turns of each reader.")
flags.DEFINE_string("images", None, "File of images to enlarge.")
flags.DEFINE_string("output", "runs/bench/reading.json", "File of the results.")
FLAGS = flags.FLAGS

HEIGHT, WIDTH, BATCH, WORKERS = 375, 500, 64, 2


def make_files(folder):
    """Writes JPEGs, and returns their paths."""
    random = np.random.default_rng(0)
    paths = [os.path.join(folder, f"{i:05d}.jpg") for i in range(FLAGS.files)]
    if FLAGS.images:
        arrays = np.load(FLAGS.images)
        images = next(arrays[k] for k in arrays.files if arrays[k].ndim == 4)
    else:
        from sklearn.datasets import load_sample_images

        images = load_sample_images().images
    for i, path in enumerate(paths):
        image = images[i % len(images)]
        if FLAGS.images:
            file = Image.fromarray(image).resize((WIDTH, HEIGHT), Image.BICUBIC)
        else:
            top = random.integers(image.shape[0] - HEIGHT + 1)
            left = random.integers(image.shape[1] - WIDTH + 1)
            file = Image.fromarray(
                image[top : top + HEIGHT, left : left + WIDTH]
            )
        file.save(path, quality=90)
    return paths


def ours(paths, size, **kwargs):
    import keras_ltssl as lt

    batches = lt.datasets.ImageBatches(
        paths,
        image_size=(size, size),
        batch_size=BATCH,
        workers=WORKERS,
        **kwargs,
    )

    def run():
        for index in range(len(batches)):
            batches[index]

    return run


def tf_data(paths, size, antialias):
    import tensorflow as tf

    def read(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        left = (WIDTH - HEIGHT) // 2
        image = tf.image.resize(
            image[:, left : left + HEIGHT], (size, size), antialias=antialias
        )
        return tf.cast(image, tf.uint8)

    options = tf.data.Options()
    options.threading.private_threadpool_size = WORKERS
    options.threading.max_intra_op_parallelism = 1
    data = tf.data.Dataset.from_tensor_slices(paths)
    data = data.map(read, num_parallel_calls=WORKERS).batch(BATCH).prefetch(2)
    data = data.with_options(options)

    def run():
        for _ in data.as_numpy_iterator():
            pass

    return run


class Files:
    """A data set as PyTorch has them."""

    def __init__(self, paths, size):
        self.paths, self.size = paths, size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        from torchvision.transforms import functional

        with Image.open(self.paths[index]) as file:
            image = functional.resize(file.convert("RGB"), self.size)
        return functional.pil_to_tensor(
            functional.center_crop(image, self.size)
        )


def torchvision(paths, size):
    import torchvision.transforms  # noqa: F401
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Files(paths, size),
        batch_size=BATCH,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context="spawn",
    )

    def run():
        for _ in loader:
            pass

    return run


def readers_of(paths, size):
    readers = {
        "tf.data": tf_data(paths, size, antialias=False),
        "tf.data, antialiased": tf_data(paths, size, antialias=True),
        "ours": ours(paths, size),
        "ours, two crops": ours(paths, size, crop_scale=(0.08, 1.0)),
    }
    try:
        readers["torchvision"] = torchvision(paths, size)
    except (ImportError, RuntimeError) as error:  # Or without its torch.
        print(f"torchvision is left out: {error}")
    return readers


def measure(paths, size):
    """Returns images a second and times tf.data of each reader."""
    readers = readers_of(paths, size)
    rates = {name: [] for name in readers}
    for turn in range(FLAGS.rounds + 1):
        for name, run in readers.items():
            start = time.perf_counter()
            run()
            if turn:  # The first one starts the workers.
                rates[name].append(len(paths) / (time.perf_counter() - start))
    return {
        name: {
            "images a second": round(statistics.median(rates[name])),
            "times tf.data": round(
                statistics.median(
                    np.divide(rates[name], rates["tf.data"]).tolist()
                ),
                2,
            ),
        }
        for name in readers
    }


def main(argv):
    del argv
    import PIL
    from PIL import features

    results = {
        "pillow": PIL.__version__,
        "simd": ".post" in PIL.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "files": FLAGS.files,
    }
    print(results)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_files(folder)
        for size in map(int, FLAGS.sizes):
            results[size] = measure(paths, size)
            print(f"\n| {size} x {size} | images a second | times tf.data |")
            print("|---|---|---|")
            for name, told in results[size].items():
                print(
                    f"| {name} | " + " | ".join(map(str, told.values())) + " |"
                )
    output = Path(FLAGS.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    app.run(main)
