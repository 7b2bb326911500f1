r"""Logs the signs of learning beside accuracies, every few epochs of SimCLR.

    python benchmarks/long_tail/signs_during_training.py --protocol mnist

One run for each temperature of the protocol and class order, written as a CSV
(`OUTPUT/PROTOCOL/TEMPERATURE/ORDER.csv`): a row for each measured epoch, with
what training logs, the effective rank of the training set's features, and the
few-shot accuracy on the test set. A run that is written is not run again.
`signs_and_accuracy.py` compares them.
"""

import csv
import gc
import os
from pathlib import Path

import keras
from absl import app, flags
from protocol import load_protocol, load_split, training

import keras_ltssl as lt

flags.DEFINE_string("protocol", "mnist", "Name of a file in protocols/.")
flags.DEFINE_string("data", None, "The .npz file of the images, if any.")
flags.DEFINE_integer("orders", 8, "The first so many class orders.")
flags.DEFINE_list("temperatures", None, "τ, if not those of the protocol.")
flags.DEFINE_integer("interval", 5, "Epochs between measurements.")
flags.DEFINE_string("output", "runs/signs", "Folder of the CSV files.")
FLAGS = flags.FLAGS


class Accuracies(keras.callbacks.Callback):
    """Adds the accuracies of the few-shot probe to the logs, and keeps them."""

    def __init__(self, split, shots, order):
        super().__init__()
        self.split, self.shots, self.order = split, shots, order
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % FLAGS.interval:
            return
        split, model = self.split, self.model
        known, test = (
            model.encoder.predict(images, batch_size=512, verbose=0)
            for images in (split.x_probe, split.x_test)
        )
        result = lt.evaluation.few_shot_probe(
            known,
            split.y_probe,
            test,
            split.y_test,
            shots=self.shots,
            seed=self.order,
        )
        groups = result.group_accuracy(split.class_counts)
        self.rows.append(
            {
                "epoch": epoch + 1,
                **{name: float(value) for name, value in logs.items()},
                "accuracy": result.accuracy,
                "few": groups.few,
            }
        )


def run_one(protocol, temperature, order, path):
    """Trains one run and writes its CSV."""
    split, _ = load_split(protocol, order, FLAGS.data)
    data = lt.datasets.ImageBatches(
        split.x_train, batch_size=protocol.batch_size, seed=order
    )
    model = training.build_model(
        split,
        lt.losses.NTXentLoss(temperature),
        training.build_optimizer(
            protocol.optimizer,
            protocol.learning_rate,
            protocol.epochs * len(data),
            protocol.weight_decay,
        ),
        protocol.backbone,
        order,
    )
    accuracies = Accuracies(split, protocol.shots, order)
    monitor = lt.callbacks.FeatureMonitor(split.x_train, FLAGS.interval)
    model.fit(
        data,
        epochs=protocol.epochs,
        verbose=0,
        callbacks=[monitor, accuracies],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    with open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(accuracies.rows[0]))
        writer.writeheader()
        writer.writerows(accuracies.rows)
    os.replace(unfinished, path)


def main(_):
    protocol = load_protocol(FLAGS.protocol)
    temperatures = FLAGS.temperatures or protocol.temperatures
    for order in range(min(FLAGS.orders, protocol.orders)):
        for temperature in map(float, temperatures):
            path = Path(FLAGS.output) / protocol.name / f"{temperature:g}"
            path = path / f"{order}.csv"
            if path.exists():
                continue
            run_one(protocol, temperature, order, path)
            print(path, flush=True)
            keras.utils.clear_session(free_memory=False)
            gc.collect()


if __name__ == "__main__":
    app.run(main)
