r"""Trains every arm of a long-tail benchmark and stores each run as JSON.

    python benchmarks/long_tail/run.py --protocol mnist
    python benchmarks/long_tail/run.py --protocol cifar10 \
        --data cifar10_lt.npz --pool cifar100.npz
    python benchmarks/long_tail/run.py --protocol mnist --arms ablation
    KERAS_BACKEND=jax python benchmarks/long_tail/run.py \
        --protocol cifar10_lt_500 --data cifar10_lt.npz \
        --arms tuning,bcl,gh --orders 1 --dtype_policy mixed_bfloat16

The last is for a GPU.

First SimCLR at every temperature and view strength of the protocol, then the
arms at the pair that did best on the validation set. All arms share class
orders, splits, initial weights and the order of batches, so that they are
compared in pairs. A run that is stored is not run again; one that was killed
goes on from its last checkpoint. `--workers 4` trains four runs at a time.
`pack.py` then merges the runs into the table of the repository,
`results.jsonl`, and `table.py` prints what it holds. A run that is packed
counts as stored.
"""

import dataclasses
import datetime
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import arms
import keras
import numpy as np
import tail_estimates
from absl import app, flags
from protocol import (
    as_protocol,
    load_pool,
    load_protocol,
    load_split,
    training,
)
from stored import PACKED, best_setting, read_runs

import keras_ltssl as lt

GROUPS = (
    "tuning",
    "methods",
    "combined",
    "newer",
    "weights",
    "global",
    "plain",
    "why",
    "ablation",
    "tail",
)
CHECKPOINT_INTERVAL = 20  # Epochs.

flags.DEFINE_string(
    "protocol", "mnist", "Name of a file in protocols/, or a path of one."
)
flags.DEFINE_list(
    "arms",
    ["tuning", "methods"],
    f"Arms, or groups of them: {', '.join(GROUPS)}.",
)
flags.DEFINE_integer("orders", None, "The first so many class orders alone.")
flags.DEFINE_string(
    "data", None, "The .npz file of the images, if not a package's."
)
flags.DEFINE_string("pool", None, "The .npz file that COLT chooses from.")
flags.DEFINE_string(
    "results", "runs/long_tail/results", "Folder of the raw runs."
)
flags.DEFINE_string("packed", str(PACKED), "Table of runs that are packed.")
flags.DEFINE_string("work", "runs/long_tail", "Folder for what is unfinished.")
flags.DEFINE_string(
    "features", None, "Folder to keep the encoders' features in, float16."
)
flags.DEFINE_string(
    "dtype_policy",
    "float32",
    "Such as mixed_bfloat16, for a GPU; stored with each run.",
)
flags.DEFINE_integer("workers", 1, "Runs at a time.", lower_bound=1)
flags.DEFINE_integer("worker", None, "Which of the workers this one is.")
FLAGS = flags.FLAGS


def chosen_arms(protocol):
    """Returns the arms that `--arms` names, those of `tuning` first."""
    everything = {**arms.tuning_arms(protocol), **arms.ARMS}
    chosen = {
        name: arm
        for name, arm in everything.items()
        if name in FLAGS.arms or arm.group in FLAGS.arms
    }
    unknown = set(FLAGS.arms) - set(GROUPS) - set(everything)
    if unknown:
        raise ValueError(
            f"`--arms` must be of {', '.join([*GROUPS, *everything])}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    return chosen


def run_one(protocol, name, arm, order, path):
    """Trains and judges one arm on one class order; writes its JSON."""
    test, validation = load_split(protocol, order, FLAGS.data)
    temperature, rand_augment = None, arm.rand_augment or 0.0
    if arm.group != "tuning" and arm.make is not None:
        temperature, rand_augment = best_setting(
            stored_runs(protocol), protocol, arm.rand_augment
        )
    task = arms.Task(
        epochs=protocol.epochs,
        budget=protocol.budget,
        batches={"batch_size": protocol.batch_size, "seed": order},
        images=test.x_train,
        labels=test.y_train,
        pool=lambda: load_pool(protocol, test.x_train, FLAGS.pool),
        temperature=temperature,
        rand_augment=rand_augment,
    )
    start = time.perf_counter()
    estimates, history = {}, {}
    if arm.make is None:
        keras.utils.set_random_seed(order)
        encoder = getattr(lt.models, protocol.backbone)(test.x_train.shape[1:])
    else:
        work = Path(FLAGS.work) / protocol.name / name / str(order)
        encoder, history, estimates = train(
            protocol, arm, task, test, order, work
        )
    seconds = time.perf_counter() - start
    features = {
        part: encoder.predict(images, batch_size=512, verbose=0)
        for part, images in (
            ("train", test.x_train),
            ("probe", test.x_probe),
            ("test", test.x_test),
            ("validation", validation.x_test),
        )
    }
    labels = {
        "train": test.y_train,
        "probe": test.y_probe,
        "test": test.y_test,
        "validation": validation.y_test,
    }
    reports = judge(
        features, labels, test.class_names, protocol.shots, order, name
    )
    content = {
        "protocol": dataclasses.asdict(protocol),
        "arm": name,
        "title": arm.title,
        "group": arm.group,
        "order": order,
        "temperature": temperature,
        "rand_augment": rand_augment,
        "report": json.loads(reports[0].to_json()),
        "validation": json.loads(reports[1].to_json()),
        "long_tailed_probe": long_tailed_probe(features, labels),
        "history": {
            # Ten values say how it went.
            key: [round(value, 5) for value in at_ten(values)]
            for key, values in history.items()
        },
        "tail": estimates,
        "seconds": round(seconds, 1),
        "made": {
            "on": datetime.date.today().isoformat(),
            "keras": keras.__version__,
            "keras_ltssl": lt.__version__,
            "backend": keras.backend.backend(),
            "device": device(),
            "dtype_policy": keras.config.dtype_policy().name,
        },
    }
    if FLAGS.features is not None:
        kept = Path(FLAGS.features) / protocol.name / name / f"{order}.npz"
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            kept,
            **{part: each.astype("float16") for part, each in features.items()},
            **{f"y_{part}": each for part, each in labels.items()},
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(unfinished, path)
    if arm.make is not None:
        shutil.rmtree(work)
    return reports[0].summary()


def train(protocol, arm, task, split, order, work):
    """Returns the encoder, the history and what was seen of the tail."""
    recipe = arm.make(task)
    model = training.build_model(
        split,
        recipe.loss,
        training.build_optimizer(
            protocol.optimizer,
            protocol.learning_rate,
            protocol.epochs * len(recipe.data),
            protocol.weight_decay,
        ),
        protocol.backbone,
        order,
        recipe.framework,
        recipe.boosts_views,
        # Where weights make views stronger, nothing else does.
        0.0 if recipe.boosts_views else task.rand_augment,
    )
    callbacks = list(recipe.callbacks)
    watch = None
    if arm.group == "tail":
        gray = split.x_train.shape[-1] == 1
        watch = tail_estimates.TailEstimates(
            split.x_train,
            split.y_train,
            protocol.epochs,
            recipe.loss.temperature,
            # Its own random numbers: those of training stay what they are.
            lt.layers.simclr_views(
                split.x_train.shape[1:3],
                horizontal_flip=0.0 if gray else 0.5,
                seed=1,
            ),
        )
        callbacks.append(watch)
    history = training.train(
        model,
        recipe.data,
        protocol.epochs,
        work,
        callbacks,
        interval=CHECKPOINT_INTERVAL,
        verbose=0,
    )
    return model.encoder, history, watch.agreements if watch else {}


def judge(features, labels, class_names, shots, seed, name):
    """Returns the reports on the test set and on the validation set."""
    return [
        lt.evaluation.long_tail_report(
            None,
            FeatureSplit(
                features["train"],
                labels["train"],
                features["probe"],
                labels["probe"],
                features[part],
                labels[part],
                class_names,
            ),
            name=name,
            shots=shots,
            seed=seed,
        )
        for part in ("test", "validation")
    ]


def long_tailed_probe(features, labels):
    """Returns how a linear probe does that has the long-tailed labels alone."""
    result = lt.evaluation.linear_probe(
        features["train"], labels["train"], features["test"], labels["test"]
    )
    _, counts = np.unique(labels["train"], return_counts=True)
    groups = result.group_accuracy(counts)
    return {
        "accuracy": round(result.accuracy, 5),
        "many": round(groups.many, 5),
        "medium": round(groups.medium, 5),
        "few": round(groups.few, 5),
        "class_accuracy": np.round(result.class_accuracy, 5).tolist(),
    }


@dataclasses.dataclass(frozen=True)
class FeatureSplit:
    x_train: np.ndarray
    y_train: np.ndarray
    x_probe: np.ndarray
    y_probe: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]


def at_ten(values):
    rows = np.unique(np.linspace(0, len(values) - 1, 10).astype(int))
    return [values[row] for row in rows]


def device():
    """Returns what the backend computes on."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(0)
        return "cpu"
    import tensorflow as tf

    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def stored_runs(protocol):
    """Returns the runs of a protocol: those packed, and the raw ones."""
    return [
        *read_runs(Path(FLAGS.packed), protocol.name),
        *read_runs(Path(FLAGS.results) / protocol.name),
    ]


def missing_runs(protocol):
    """Returns the runs that are not stored, tuning first, orders in turn."""
    orders = range(min(FLAGS.orders or protocol.orders, protocol.orders))
    results = Path(FLAGS.results) / protocol.name
    stored = {}
    for run in stored_runs(protocol):
        if as_protocol(run["protocol"]) != protocol:
            raise ValueError(
                f"{run['arm']}, order {run['order']}, of {protocol.name} was "
                "made by another protocol. Remove it, or give the new protocol "
                "another name."
            )
        stored[run["arm"], run["order"]] = run
    runs = []
    for order in orders:  # Whole orders first: they can be compared in pairs.
        for name, arm in chosen_arms(protocol).items():
            if (name, order) not in stored:
                path = results / name / f"{order}.json"
                runs.append((name, arm, order, path))
    return runs


def main(_):
    keras.config.set_dtype_policy(FLAGS.dtype_policy)
    protocol = load_protocol(FLAGS.protocol)
    if FLAGS.workers > 1 and FLAGS.worker is None:
        for tuning in (True, False):  # The others need what tuning finds.
            run_workers(protocol, tuning)
        return
    for tuning in (True, False):
        runs = [
            run
            for run in missing_runs(protocol)
            if (run[1].group == "tuning") == tuning
        ]
        if FLAGS.worker is not None:
            runs = runs[FLAGS.worker :: FLAGS.workers]
        for number, (name, arm, order, path) in enumerate(runs, start=1):
            start = time.perf_counter()
            summary = run_one(protocol, name, arm, order, path)
            few_shot = summary["few_shot"]
            print(
                f"{protocol.name} {number}/{len(runs)} {name} order {order}: "
                f"few-shot {few_shot['accuracy']:.1%}, few-image classes "
                f"{few_shot['few']:.1%}, linear "
                f"{summary['linear']['accuracy']:.1%}, "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
            keras.utils.clear_session(free_memory=False)
            gc.collect()


def run_workers(protocol, tuning):
    """Runs this command several times side by side, each with its share."""
    names = [
        name
        for name, arm in chosen_arms(protocol).items()
        if (arm.group == "tuning") == tuning
    ]
    if not names:
        return
    workers = [
        subprocess.Popen(
            [
                *(sys.executable, *sys.argv),
                f"--arms={','.join(names)}",
                f"--worker={worker}",
            ]
        )
        for worker in range(FLAGS.workers)
    ]
    failed = sum(worker.wait() != 0 for worker in workers)
    if failed:
        sys.exit(f"{failed} of {len(workers)} workers failed")


if __name__ == "__main__":
    app.run(main)
