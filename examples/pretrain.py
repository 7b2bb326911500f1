r"""Pretrains an encoder on a long-tailed image set and reports how fair it is.

    python examples/pretrain.py --method tase --dataset mnist --epochs 60
    python examples/pretrain.py --method ts --dataset my_images.npz --output run
    python examples/pretrain.py --method ts --dataset my_images.npz \
        --output run --resume
    python examples/pretrain.py --method ts+gh+colt --dataset my_images.npz \
        --ood more_images.npz
    python examples/pretrain.py --framework moco --method ts --dataset mnist

A method is plain (a fixed temperature), focal or tase, on its own or joined by
+ with any of ts (Temperature Schedules), gh (Geometric Harmonization), colt
(COLT) and bcl (boosted memory); plain goes without saying where something is
added to it. The framework that it plugs into is SimCLR, or with `--framework`
MoCo v2, BYOL or SDCLR. BYOL has no negatives: plain, gh and bcl apply.

`KERAS_BACKEND` picks the backend. The output folder gets `encoder.keras`,
`history.csv`, `report.json`, the flags and pictures. A run that is killed, or
stopped by SIGTERM or Ctrl-C, goes on from its last whole epoch with `--resume`.
"""

import keras
import training
from absl import app, flags

import keras_ltssl as lt
from keras_ltssl.command.recipe import part_of

flags.DEFINE_enum(
    "framework",
    "simclr",
    list(training.FRAMEWORKS),
    "What the method plugs into.",
)
flags.DEFINE_string(
    "method",
    "plain",
    f"One of {', '.join(training.BASES)}, or parts joined by +, with any of "
    f"{', '.join(training.ADDITIONS)}.",
)
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
flags.DEFINE_integer("gh_targets", 100, "Targets of gh.", lower_bound=2)
flags.DEFINE_integer(
    "gh_warmup", None, "Epochs before gh begins. Default: half of them."
)
flags.DEFINE_integer(
    "gh_ramp", None, "Epochs until gh has all its weight. Default: a hundredth."
)
flags.DEFINE_integer(
    "gh_interval", None, "Epochs between two priors. Default: a fiftieth."
)
flags.DEFINE_string(
    "ood", None, "For colt: an .npz file with images `x` to choose from."
)
flags.DEFINE_integer(
    "ood_budget",
    None,
    "Images that colt chooses. Default: a quarter of them, at most 10000.",
)
flags.DEFINE_integer(
    "ood_start", None, "Epoch of colt's first choice. Default: a twentieth."
)
flags.DEFINE_integer(
    "ood_interval",
    None,
    "Epochs between two choices. Default: an eightieth, at least 5.",
)
flags.DEFINE_integer("ood_clusters", 10, "Clusters of colt.", lower_bound=1)
flags.DEFINE_float("momentum", None, "Momentum of moco and byol.")
flags.DEFINE_integer("queue_size", None, "Keys in the queue of moco.")
flags.DEFINE_float(
    "pruned_share", None, "Share of weights that sdclr's second branch lacks."
)
flags.DEFINE_integer("num_prototypes", 50, "Prototypes of tase.")
flags.DEFINE_integer("seed", 0, "Seed of everything random.")
flags.DEFINE_string("output", "runs/pretrain", "Folder of the run.")
flags.DEFINE_bool("resume", False, "Go on with the run in --output.")
FLAGS = flags.FLAGS


def or_else(value, default):
    """Returns a flag's value, or the default where it was not given."""
    return default if value is None else value


def build_data(split, additions):
    """Returns what to train on, and who chooses from the pool, if anyone."""
    batches = {"batch_size": FLAGS.batch_size, "seed": FLAGS.seed}
    if "colt" not in additions:
        return lt.datasets.ImageBatches(split.x_train, **batches), None
    pool = training.load_pool(FLAGS.ood, split.x_train)
    budget = or_else(FLAGS.ood_budget, min(10_000, len(pool) // 4))
    data = lt.datasets.MixedBatches(split.x_train, pool, budget, **batches)
    sampler = lt.callbacks.OODSampler(
        data,
        or_else(FLAGS.ood_start, part_of(FLAGS.epochs, 20)),
        or_else(FLAGS.ood_interval, part_of(FLAGS.epochs, 80, least=5)),
        num_clusters=FLAGS.ood_clusters,
        seed=FLAGS.seed,
        verbose=1,
    )
    return data, sampler


def build_callbacks(additions, sampler):
    """Returns what changes between the epochs."""
    callbacks = [] if sampler is None else [sampler]
    if "gh" in additions:
        interval = or_else(FLAGS.gh_interval, part_of(FLAGS.epochs, 50))
        callbacks.append(lt.callbacks.PriorEstimation(interval=interval))
    if "ts" in additions:
        schedule = lt.schedules.CosineTemperature(
            FLAGS.temperature_min,
            FLAGS.temperature_max,
            or_else(FLAGS.period, FLAGS.epochs),
        )
        callbacks.append(lt.callbacks.TemperatureScheduler(schedule))
    return callbacks


def framework_arguments():
    """Returns the flags given that belong to the framework."""
    belongs = {
        "momentum": ("moco", "byol"),
        "queue_size": ("moco",),
        "pruned_share": ("sdclr",),
    }
    given = {
        name: FLAGS[name].value
        for name in belongs
        if FLAGS[name].value is not None
    }
    for name, value in given.items():
        if FLAGS.framework not in belongs[name]:
            raise ValueError(
                f"`--{name}` goes with --framework={' or '.join(belongs[name])}"
                f". Received: --framework={FLAGS.framework}, --{name}={value}"
            )
    return given


def main(_):
    settings = {
        name: FLAGS[name].value
        for name in (
            *(
                "framework",
                "method",
                "dataset",
                "imbalance",
                "backbone",
                "epochs",
            ),
            *("batch_size", "optimizer", "learning_rate", "weight_decay"),
            "temperature",
            *("temperature_min", "temperature_max", "period"),
            *("gh_targets", "gh_warmup", "gh_ramp", "gh_interval"),
            *("ood", "ood_budget", "ood_start", "ood_interval", "ood_clusters"),
            *("momentum", "queue_size", "pruned_share"),
            *("num_prototypes", "seed"),
        )
    }
    _, additions = training.split_method(FLAGS.method)
    if ("colt" in additions) != (FLAGS.ood is not None):
        raise ValueError(
            "`--ood` is what colt chooses from, and goes with it. "
            f"Received: --method={FLAGS.method}, --ood={FLAGS.ood}"
        )
    arguments = framework_arguments()
    split = training.load_split(FLAGS.dataset, FLAGS.imbalance, FLAGS.seed)
    data, sampler = build_data(split, additions)
    loss = training.build_loss(
        FLAGS.method,
        FLAGS.temperature,
        FLAGS.num_prototypes,
        len(split.x_train),
        FLAGS.framework,
        num_targets=FLAGS.gh_targets,
        warmup_epochs=or_else(FLAGS.gh_warmup, part_of(FLAGS.epochs, 2)),
        ramp_epochs=or_else(FLAGS.gh_ramp, part_of(FLAGS.epochs, 100)),
    )
    optimizer = training.build_optimizer(
        FLAGS.optimizer,
        FLAGS.learning_rate,
        FLAGS.epochs * len(data),
        FLAGS.weight_decay,
    )
    model = training.build_model(
        split,
        loss,
        optimizer,
        FLAGS.backbone,
        FLAGS.seed,
        FLAGS.framework,
        boosts_views="bcl" in additions,
        **arguments,
    )
    # Everything has been checked by now.
    output = training.make_output(FLAGS.output, FLAGS.resume, settings)
    training.say_how_to_resume(output)
    name = f"{FLAGS.framework} {FLAGS.method}"
    print(
        f"{name} on {len(split.x_train)} images of "
        f"{len(split.class_counts)} classes, {keras.backend.backend()} backend"
    )
    history = training.train(
        model, data, FLAGS.epochs, output, build_callbacks(additions, sampler)
    )
    report = lt.evaluation.long_tail_report(
        model.encoder, split, name=name, progress=print
    )
    print(report.to_text())
    if sampler is not None and sampler.choice is not None:
        print(training.describe_choice(sampler, split))
    pictures = training.save_run(
        model, split, [report], history, output, sampler
    )
    print("Pictures:", *pictures, sep="\n  ")


if __name__ == "__main__":
    app.run(main)
