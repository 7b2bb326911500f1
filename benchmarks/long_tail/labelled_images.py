r"""Makes the .npz file of labeled images that some protocols draw from.

    python benchmarks/long_tail/labelled_images.py --dataset=fashion_mnist \
        --output=fashion.npz --most=1500
    python benchmarks/long_tail/labelled_images.py --data=cifar10_lt.npz \
        --output=cifar10_16.npz --factor=2 --most=1050
    python benchmarks/long_tail/labelled_images.py --data=cifar100.npz \
        --output=cifar100_16.npz --factor=2 --most=5000

Of a long-tailed split, `x_train`, `x_probe` and `x_test` with their labels; an
image that is in two of them is taken once. So class orders can be drawn of a
set that is long-tailed already, as far as its rarest class goes. A pool, `x`
alone, stays one.
"""

import numpy as np
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_string("data", None, "The .npz file to read.")
flags.DEFINE_string("dataset", None, "One of `keras.datasets` instead.")
flags.DEFINE_string("output", None, "The .npz file to write.", required=True)
flags.DEFINE_integer("factor", 1, "Height and width are divided by it.")
flags.DEFINE_integer("most", None, "Images of a class at most, by chance.")
FLAGS = flags.FLAGS


def smaller(images, factor):
    """Returns the means of squares of pixels."""
    count, height, width, channels = images.shape
    if height % factor or width % factor:
        raise ValueError(
            "`--factor` must divide the height and the width of the images. "
            f"Received: --factor={factor}, images of {height} x {width}"
        )
    parts = images.reshape(
        count, height // factor, factor, width // factor, factor, channels
    )
    return np.round(parts.mean(axis=(2, 4))).astype("uint8")


def read():
    """Returns images, each once, and their labels, or one label for a pool."""
    if FLAGS.dataset is not None:
        parts = lt.datasets.load_keras_dataset(FLAGS.dataset)
        images, labels = map(np.concatenate, zip(*parts, strict=True))
        return images, labels
    with np.load(FLAGS.data, allow_pickle=False) as file:
        if "x" in file:
            return file["x"], np.zeros(len(file["x"]), "int64")
        parts = ("train", "probe", "test")
        images = np.concatenate([file[f"x_{part}"] for part in parts])
        labels = np.concatenate([file[f"y_{part}"] for part in parts])
    _, first = np.unique(
        images.reshape(len(images), -1), axis=0, return_index=True
    )
    rows = np.sort(first)
    return images[rows], labels[rows]


def main(_):
    images, labels = read()
    random = np.random.default_rng(0)
    rows = np.sort(
        np.concatenate(
            [
                random.permutation(np.flatnonzero(labels == each))[: FLAGS.most]
                for each in np.unique(labels)
            ]
        )
    )
    arrays = {"x": smaller(images[rows], FLAGS.factor)}
    if len(np.unique(labels)) > 1:
        arrays["y"] = labels[rows].astype("int64")
    np.savez_compressed(FLAGS.output, **arrays)


if __name__ == "__main__":
    app.run(main)
