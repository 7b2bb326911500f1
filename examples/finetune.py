r"""A classifier on few, long-tailed labels, with and without logit adjustment.

    python examples/finetune.py
    python examples/finetune.py --encoder run/encoder.keras --data labels.npz

Without `--encoder`, one is pretrained first, for about a minute. Each of four
classifiers is trained on the same labels: with the encoder frozen or whole, and
with plain or logit-adjusted cross-entropy. Logit adjustment adds the log of a
class's share of the labels to its logit, in training alone:

    loss = -log softmax(logits + log shares)[label]

so that a rare class is not given up (Menon et al., ICLR 2021,
https://arxiv.org/abs/2007.07314). The best classifier, by the mean accuracy of
the classes on labels that were held out, is saved as `classifier.keras`. That
file loads without this package, as `classify.py` shows. `--export=onnx` also
writes `classifier.onnx`, which `classify_onnx.py` uses without Keras.
"""

import dataclasses
import importlib.util
import os

import keras
import numpy as np
import training
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_string("encoder", None, "An encoder.keras, pretrained before.")
flags.DEFINE_string("data", "mnist", "As --dataset of pretrain.py.")
flags.DEFINE_float("imbalance", 50, "Largest over smallest class, >= 1.")
flags.DEFINE_integer("pretrain_epochs", 40, "Without --encoder.", lower_bound=1)
flags.DEFINE_integer("epochs", 60, "Epochs of each classifier.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Labels in a batch.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of everything random.")
flags.DEFINE_string("output", "runs/finetune", "Folder for the classifier.")
flags.DEFINE_enum(
    "export", None, ["saved_model", "onnx"], "Also write it in this form."
)
FLAGS = flags.FLAGS

# What Keras needs to write ONNX.
ONNX_WRITERS = {"tensorflow": "tf2onnx", "torch": "onnx", "jax": "jax2onnx"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a classifier is trained."""

    freezes_encoder: bool
    adjusts_logits: bool

    @property
    def name(self):
        encoder = "frozen" if self.freezes_encoder else "whole"
        loss = "logit-adjusted" if self.adjusts_logits else "plain"
        return f"{encoder}, {loss}"


RECIPES = [Recipe(frozen, adjusts) for frozen in (1, 0) for adjusts in (0, 1)]


def pretrained_encoder(split):
    """Returns the encoder of `--encoder`, or one that SimCLR trains now."""
    if FLAGS.encoder is not None:
        return keras.saving.load_model(FLAGS.encoder, compile=False)
    data = lt.datasets.ImageBatches(split.x_train, batch_size=128)
    model = training.build_model(
        split,
        lt.losses.NTXentLoss(temperature=0.1),
        training.build_optimizer(
            "adamw", 2e-3, FLAGS.pretrain_epochs * len(data)
        ),
        "small_convnet",
        FLAGS.seed,
    )
    print(f"Pretraining on {len(split.x_train)} images without labels")
    model.fit(data, epochs=FLAGS.pretrain_epochs, verbose=2)
    return model.encoder


def train_classifier(recipe, encoder, split):
    """Returns a classifier on a copy of the encoder, trained on the labels."""
    keras.utils.set_random_seed(FLAGS.seed)
    counts = split.class_counts
    copy = keras.models.clone_model(encoder)
    copy.set_weights(encoder.get_weights())
    copy.trainable = not recipe.freezes_encoder
    images = keras.Input(split.x_train.shape[1:], dtype="uint8")
    logits = keras.layers.Dense(len(counts))(copy(images))
    model = keras.Model(images, logits)
    shares = counts / counts.sum()
    model.compile(
        # A pretrained encoder moves in small steps.
        keras.optimizers.Adam(1e-2 if recipe.freezes_encoder else 1e-3),
        training.adjusted_cross_entropy(
            shares if recipe.adjusts_logits else 1 + 0 * shares
        ),
    )
    model.fit(
        split.x_train,
        split.y_train,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.epochs,
        verbose=0,
    )
    return model


def class_accuracies(model, images, labels):
    """Returns the accuracy of each class."""
    hits = model.predict(images, verbose=0).argmax(1) == labels
    return np.array([hits[labels == each].mean() for each in np.unique(labels)])


def check_export():
    """Raises, before anything is trained, if `--export` cannot work."""
    backend = keras.backend.backend()
    if FLAGS.export == "saved_model" and backend == "torch":
        raise ValueError(
            "`--export` must run on TensorFlow or JAX to write a SavedModel, "
            "which Keras does not do on PyTorch. Received: "
            "--export=saved_model, KERAS_BACKEND=torch"
        )
    writer = ONNX_WRITERS[backend]
    if FLAGS.export == "onnx" and importlib.util.find_spec(writer) is None:
        raise ValueError(
            f"`--export` must find the package {writer} to write ONNX. To "
            f"install it: pip install {writer}. Received: --export=onnx, "
            f"KERAS_BACKEND={backend}"
        )


def export(classifier, shape):
    """Writes the classifier in the form of `--export`."""
    classifier(np.zeros((1, *shape), "uint8"))  # Which Keras needs on JAX.
    if FLAGS.export == "onnx":
        path = os.path.join(FLAGS.output, "classifier.onnx")
        classifier.export(path, format="onnx", verbose=False)
    else:
        path = os.path.join(FLAGS.output, "saved_model")
        classifier.export(path, verbose=False)
    print(f"{path}: the same, for use without Keras")


def main(_):
    check_export()
    split = training.load_split(FLAGS.data, FLAGS.imbalance, FLAGS.seed)
    encoder = pretrained_encoder(split)
    counts = split.class_counts
    print(f"Labels of each class: {sorted(counts.tolist(), reverse=True)}")
    print(f"{'test accuracy of':24s}   all  many  medium   few")
    best, best_accuracy = None, -1.0
    for recipe in RECIPES:
        model = train_classifier(recipe, encoder, split)
        accuracies = class_accuracies(model, split.x_test, split.y_test)
        groups = lt.evaluation.group_accuracy(accuracies, counts)
        print(
            f"{recipe.name:24s} {accuracies.mean():5.1%} {groups.many:5.1%} "
            f"{groups.medium:7.1%} {groups.few:5.1%}"
        )
        held_out = class_accuracies(model, split.x_probe, split.y_probe).mean()
        if held_out > best_accuracy:
            best, best_accuracy, name = model, held_out, recipe.name
    os.makedirs(FLAGS.output, exist_ok=True)
    path = os.path.join(FLAGS.output, "classifier.keras")
    best.save(path)
    print(f"{path}: {name}, {best_accuracy:.1%} on images that were held out")
    if FLAGS.export is not None:
        export(best, split.x_train.shape[1:])


if __name__ == "__main__":
    app.run(main)
