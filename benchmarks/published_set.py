r"""Makes up a set like ImageNet-LT: 20,000 small JPEGs of 1,000 classes, lists.

    python benchmarks/published_set.py --folder /tmp/set
    cd /tmp/set
    keras-ltssl pretrain images --protocol=imagenet_lt --output=run \
        --train=train.txt --probe=probe.txt --test=test.txt \
        --backbone=small_convnet --image_size=32 --epochs=2 \
        --warmup_epochs=0 --learning_rate=0.1 --shots=3 --draws=2 --workers=2

Training images are 12,000, from 250 in the largest class to 2. Four more of
each class are for the probes, and four for their test. A class is a coarse
pattern, which each image changes.
"""

import random
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

flags.DEFINE_string("folder", "runs/set", "Folder of images and lists.")
FLAGS = flags.FLAGS

CLASSES, TRAINING = 1000, 12_000


def training_counts(rng):
    """Returns the images of each class, falling, about as in ImageNet-LT."""
    shares = 125 ** -(np.linspace(0, 1, CLASSES) ** 0.5)
    counts = np.maximum(2, np.round(250 * shares)).astype(int)
    while counts.sum() > TRAINING:
        counts[rng.choice(6 + np.flatnonzero(counts[6:] > 2))] -= 1
    while counts.sum() < TRAINING:
        counts[rng.integers(100)] += 1
    return counts


def image_of(pattern, rng):
    """Returns an image of 64 x 48 pixels."""
    cells = pattern + 0.6 * rng.normal(size=pattern.shape)
    pixels = 128 + 45 * np.kron(cells, np.ones((16, 16, 1)))
    pixels += 12 * rng.normal(size=pixels.shape)
    return Image.fromarray(np.uint8(np.clip(pixels, 0, 255)))


def main(_):
    rng = np.random.default_rng(0)
    folder = Path(FLAGS.folder)
    few = np.full(CLASSES, 4)
    counts = {"train": training_counts(rng), "probe": few, "test": few}
    patterns = rng.normal(size=(CLASSES, 3, 4, 3))
    labels = rng.permutation(CLASSES)
    for part, of_class in counts.items():
        lines = []
        for pattern, label, count in zip(
            patterns, labels, of_class, strict=True
        ):
            inner = folder / "images" / part / f"n{label:08}"
            inner.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                path = inner / f"{number}.JPEG"
                image_of(pattern, rng).save(path, quality=85)
                name = path.relative_to(folder / "images").as_posix()
                lines.append(f"{name} {label}\n")
        random.Random(1).shuffle(lines)
        (folder / f"{part}.txt").write_text("".join(lines))


if __name__ == "__main__":
    app.run(main)
