r"""Pretrains an encoder on a long-tailed image set and reports how fair it is.

    python examples/pretrain.py --method tase --dataset mnist --epochs 60
    python examples/pretrain.py --method ts --dataset my_images.npz --output run
    python examples/pretrain.py --method ts --dataset my_images.npz \
        --output run --resume

`KERAS_BACKEND` picks the backend. The output folder gets `encoder.keras`,
`history.csv`, `report.json`, the flags and three pictures. A run that is killed
goes on from its last whole epoch with `--resume`.
"""

import keras
import training
from absl import app, flags

import keras_ltssl as lt

flags.DEFINE_enum("method", "tase", training.METHODS, "What to train with.")
flags.DEFINE_string(
    "dataset",
    "mnist",
    f"One of {', '.join(training.NAMED_DATASETS)}, made long-tailed here, or "
    "the path of an .npz file that is: x_train, y_train, x_probe, y_probe, "
    "x_test, y_test.",
)
flags.DEFINE_float("imbalance", 50, "Largest over smallest class, >= 1.")
flags.DEFINE_enum(
    "backbone", "small_convnet", ["small_convnet", "resnet18"], "The encoder."
)
flags.DEFINE_integer("epochs", 60, "Epochs of training.", lower_bound=1)
flags.DEFINE_integer("batch_size", 256, "Images in a batch.", lower_bound=2)
flags.DEFINE_enum("optimizer", "sgd", ["sgd", "adamw"], "The optimizer.")
flags.DEFINE_float("learning_rate", 0.25, "Peak learning rate.")
flags.DEFINE_float("weight_decay", 1e-4, "Weight decay.")
flags.DEFINE_float(
    "temperature", 0.2, "Temperature; of tase and focal, too.", lower_bound=0
)
flags.DEFINE_float("temperature_min", 0.1, "Smallest temperature of ts.")
flags.DEFINE_float("temperature_max", 1.0, "Largest temperature of ts.")
flags.DEFINE_float(
    "period", None, "Epochs in a cycle of ts. Default: the whole training."
)
flags.DEFINE_integer("num_prototypes", 50, "Prototypes of tase.")
flags.DEFINE_integer("seed", 0, "Seed of everything random.")
flags.DEFINE_string("output", "runs/pretrain", "Folder of the run.")
flags.DEFINE_bool("resume", False, "Go on with the run in --output.")
FLAGS = flags.FLAGS


def main(_):
    settings = {
        name: FLAGS[name].value
        for name in (
            *("method", "dataset", "imbalance", "backbone", "epochs"),
            *("batch_size", "optimizer", "learning_rate", "weight_decay"),
            "temperature",
            *("temperature_min", "temperature_max", "period"),
            *("num_prototypes", "seed"),
        )
    }
    callbacks = []
    if FLAGS.method == "ts":
        schedule = lt.schedules.CosineTemperature(
            FLAGS.temperature_min,
            FLAGS.temperature_max,
            FLAGS.epochs if FLAGS.period is None else FLAGS.period,
        )
        callbacks.append(lt.callbacks.TemperatureScheduler(schedule))
    loss = training.build_loss(
        FLAGS.method, FLAGS.temperature, FLAGS.num_prototypes
    )
    split = training.load_split(FLAGS.dataset, FLAGS.imbalance, FLAGS.seed)
    output = training.make_output(FLAGS.output, FLAGS.resume, settings)
    data = lt.datasets.ImageBatches(
        split.x_train, batch_size=FLAGS.batch_size, seed=FLAGS.seed
    )
    optimizer = training.build_optimizer(
        FLAGS.optimizer,
        FLAGS.learning_rate,
        FLAGS.epochs * len(data),
        FLAGS.weight_decay,
    )
    model = training.build_model(
        split, loss, optimizer, FLAGS.backbone, FLAGS.seed
    )
    print(
        f"{FLAGS.method} on {len(split.x_train)} images of "
        f"{len(split.class_counts)} classes, {keras.backend.backend()} backend"
    )
    history = training.train(model, data, FLAGS.epochs, output, callbacks)
    report = lt.evaluation.long_tail_report(
        model.encoder, split, name=FLAGS.method, progress=print
    )
    print(report.to_text())
    pictures = training.save_run(model, split, [report], history, output)
    print("Pictures:", *pictures, sep="\n  ")


if __name__ == "__main__":
    app.run(main)
