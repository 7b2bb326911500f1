"""What the examples share: data, model, training that resumes, run folder."""

import csv
import json
import os
from pathlib import Path

import keras
import numpy as np

import keras_ltssl as lt
from keras_ltssl.command import recipe
from keras_ltssl.command.recipe import (  # noqa: F401  Names of the examples.
    ADDITIONS,
    BASES,
    FRAMEWORKS,
    build_loss,
    build_optimizer,
    split_method,
)
from keras_ltssl.command.stopping import stop_in_words

NAMED_DATASETS = ("mnist", "digits", "cifar10", "cifar100", "fashion_mnist")


def load_split(dataset, imbalance=50, seed=0):
    """Returns a long-tailed split of a named set or of an .npz file."""
    if dataset not in NAMED_DATASETS:
        return lt.datasets.load_npz_split(dataset)
    if dataset == "mnist":
        x, y = lt.datasets.load_mnist_subset()
        held_out = {"num_probe": 50, "num_test": 50}
    elif dataset == "digits":
        x, y = lt.datasets.load_digits()
        held_out = {"num_probe": 30, "num_test": 40}
    else:
        (x, y), (x_test, y_test) = lt.datasets.load_keras_dataset(dataset)
        x, y = np.concatenate([x, x_test]), np.concatenate([y, y_test])
        images = 50 if len(np.unique(y)) > 10 else 500
        held_out = {"num_probe": images, "num_test": images}
    return lt.datasets.make_long_tail_split(
        x, y, imbalance, seed=seed, **held_out
    )


def load_pool(path, like):
    """Returns the images of an .npz file (array `x`), to choose from.

    `like` are the images that they are to be trained with.
    """
    with np.load(path, allow_pickle=False) as file:
        if "x" not in file:
            raise ValueError(
                "`--ood` must be an .npz file with an array `x` of images. "
                f"Received: {path} with {', '.join(file.files) or 'nothing'}"
            )
        try:
            pool = file["x"]
        except MemoryError as error:
            raise ValueError(
                "`--ood` must be an .npz file with an array `x` that fits "
                f"into memory. Received: {path}, {error}"
            ) from error
    if pool.shape[1:] != like.shape[1:] or pool.dtype != like.dtype:
        raise ValueError(
            "`--ood` must hold images like the training set's, shape="
            f"{like.shape[1:]}, dtype={like.dtype}. Received: "
            f"shape={pool.shape[1:]}, dtype={pool.dtype}"
        )
    return pool


def enlarged_digits(like):
    """Returns scikit-learn's digits, enlarged to the size of other images."""
    small, _ = lt.datasets.load_digits()
    large = keras.ops.image.resize(small.astype("float32"), like.shape[1:3])
    large = keras.ops.convert_to_numpy(large)
    return np.clip(np.round(large), 0, 255).astype("uint8")


def adjusted_cross_entropy(shares):
    """Returns the cross-entropy of logits plus the log shares of classes.

    The shares are those of the labels that one trains on, `(classes,)`.
    Probabilities of the trained classifier are the softmax of its logits alone.
    """
    offsets = np.log(np.asarray(shares, "float32"))

    def loss(labels, logits):
        return keras.losses.sparse_categorical_crossentropy(
            labels, keras.ops.add(logits, offsets), from_logits=True
        )

    return loss


def build_model(split, loss, optimizer, backbone, seed, *others, **arguments):
    """Returns a compiled model for the images of a split."""
    shape = split.x_train.shape[1:]
    # A digit that is flipped is another sign, so gray images are not.
    flip = 0.5 if shape[-1] == 3 else 0.0
    return recipe.build_model(
        shape,
        loss,
        optimizer,
        backbone,
        seed,
        *others,
        horizontal_flip=flip,
        **arguments,
    )


def train(
    model, data, epochs, output, callbacks=(), interval=1, verbose="auto"
):
    """Trains with a checkpoint every few epochs; goes on where one is left."""
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = lt.callbacks.ResumableCheckpoint(
        output / "checkpoints",
        interval,
        callbacks=[
            callback for callback in callbacks if hasattr(callback, "get_state")
        ],
    )
    log = output / "history.csv"
    model.fit(
        data,
        epochs=epochs,
        verbose=verbose,
        callbacks=[
            *callbacks,
            keras.callbacks.CSVLogger(log, append=True),
            checkpoint,
        ],
    )
    return read_history(log)


def read_history(log):
    with open(log, newline="") as file:
        rows = list(csv.DictReader(file))
    # Keras reserves columns for validation and fills them with NA.
    return {
        name: [float(row[name]) for row in rows]
        for name in rows[0]
        if rows[0][name] != "NA"
    }


def temperature_by_class(model, split, batch_size=256):
    """Returns the mean temperature of each class at the end of training.

    Labels are only used to look at the outcome.
    """
    base = model.loss.current_temperature()
    loss = model.loss
    while hasattr(loss, "base_loss"):
        loss = loss.base_loss
    if not isinstance(loss, lt.losses.TASELoss):
        return np.full(len(split.class_counts), float(base))
    temperatures = []
    for start in range(0, len(split.x_train), batch_size):
        features = model.encoder(split.x_train[start : start + batch_size])
        z = model.projector(features)
        z = keras.ops.stack([z, z], axis=1)
        values, _, _ = loss.assess(z, base)
        temperatures.append(keras.ops.convert_to_numpy(values))
    temperatures = np.concatenate(temperatures)
    return np.array(
        [
            temperatures[split.y_train == label].mean()
            for label in np.unique(split.y_train)
        ]
    )


def describe_choice(sampler, split):
    """Returns in words what COLT chose, compared with the labels.

    Labels are only used to look at the outcome.
    """
    choice = sampler.choice
    shares = lt.evaluation.budget_shares(
        choice.budgets, choice.labels, split.y_train
    )
    seen = lt.evaluation.tail_agreement(sampler.scores, split.y_train)
    lines = [
        f"COLT chose {len(choice.indices)} of {len(sampler.data.pool_rows)} "
        f"images at epochs {sampler.sampled_epochs}. Last choice:",
        "  classes   of the training set   of the budget",
        *(
            f"  {name:8s}{share.samples:21.1%}{share.budget:16.1%}"
            for name, share in shares.items()
        ),
        "  An image's score and the true number of images of its class: "
        f"rank correlation {seen.rank_correlation:+.2f} (1 perfect, "
        f"0 none), AUC for few-image classes {seen.few_auc:.2f} (0.5 chance)",
    ]
    return "\n".join(lines)


def diagnose_tail(model, split, output):
    """Writes what the embedding tells of the tail, as text and as a picture.

    Labels are only used to say how right it is.
    """
    features = model.encoder.predict(split.x_train, verbose=0)
    projections = keras.ops.convert_to_numpy(model.projector(features))
    samples = len(projections)
    diagnosis = lt.evaluation.tail_diagnosis(
        projections,
        split.y_train,
        num_neighbors=min(50, samples - 1),
        num_clusters=min(50, samples // 2),
    )
    (output / "tail_diagnosis.txt").write_text(diagnosis.to_text())
    picture = lt.evaluation.plot_tail_diagnosis(
        diagnosis, split.x_train, output / "tail_diagnosis.png"
    )
    return [picture]


def save_run(model, split, reports, history, output, sampler=None):
    """Writes the encoder, the last report and the pictures of a run."""
    output = Path(output)
    unfinished = output / "unfinished.keras"
    model.encoder.save(unfinished)
    os.replace(unfinished, output / "encoder.keras")
    (output / "report.json").write_text(reports[-1].to_json())
    features = model.encoder.predict(split.x_test, verbose=0)
    pictures = [
        lt.evaluation.plot_class_accuracy(
            reports, output / "class_accuracy.png"
        ),
        lt.evaluation.plot_embedding(
            features,
            split.y_test,
            output / "embedding.png",
            class_names=split.class_names,
        ),
        lt.evaluation.plot_class_similarity(
            features,
            split.y_test,
            output / "class_similarity.png",
            class_counts=split.class_counts,
            class_names=split.class_names,
        ),
        *diagnose_tail(model, split, output),
    ]
    if model.loss.has_temperature:
        pictures.append(
            lt.evaluation.plot_temperature(
                history,
                output / "temperature.png",
                temperature_by_class(model, split),
                split.class_counts,
            )
        )
    if sampler is not None and sampler.choice is not None:
        pictures.append(
            lt.evaluation.plot_ood_choice(
                sampler.choice,
                split.x_train,
                sampler.data.pool_rows,
                output / "ood_choice.png",
            )
        )
    return pictures


def say_how_to_resume(output):
    """Ends the process in words when it is asked to, by SIGTERM or Ctrl-C."""
    stop_in_words(lambda: next_step(output))


def next_step(output):
    """Returns in words how to go on with a run that was stopped."""
    saved = list(Path(output).rglob("checkpoints/epoch-" + "[0-9]" * 6))
    last = max(saved, key=os.path.getmtime) if saved else "none yet"
    return f"Last checkpoint: {last}. Go on with the same flags and --resume."


def make_output(output, resume, settings):
    """Creates the folder of a run, or makes sure that it may go on there."""
    output = Path(output)
    saved = output / "flags.json"
    if output.exists() and any(output.iterdir()) and not resume:
        raise ValueError(
            "`--output` must be a new or empty folder, or pass --resume to go "
            f"on with the run in it. Received: --output={output}"
        )
    if resume and saved.exists():
        before = json.loads(saved.read_text())
        changed = {
            name: (before.get(name), value)
            for name, value in settings.items()
            if before.get(name) != value
        }
        if changed:
            raise ValueError(
                "`--resume` must repeat the flags of the run that it goes on "
                f"with. Received, as (before, now): {changed}"
            )
    output.mkdir(parents=True, exist_ok=True)
    saved.write_text(json.dumps(settings, indent=2))
    return output
