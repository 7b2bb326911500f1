r"""Does any sign without labels rank runs as few-image accuracy does?

    python benchmarks/long_tail/signs_and_accuracy.py \
        --features FEATURES --results RESULTS --signs runs/signs

`FEATURES` and `RESULTS` are the folders that `run.py` wrote with `--features`
and `--results`: encoders' features and the raw runs, whose history holds the
loss. `--signs` is what `signs_during_training.py` wrote. All are optional.

For each data set and class order, the rank correlation (Spearman's) over runs
of a sign with the few-shot accuracy of few-image classes. A sign counts as it
is hoped to act: a lower loss, uniformity and alignment are better. Printed are
means over class orders and 95 % intervals, which come from drawing settings
anew (2,000 times) or, of `--signs`, from class orders. Then what choosing by
the sign brings: the accuracy of the chosen run, in points, less the mean of all
runs, and less the best one. Prints Markdown.
"""

import csv
import json
from pathlib import Path

import numpy as np
from absl import app, flags
from claims import interval
from scipy import stats
from stored import PACKED, read_runs

import keras_ltssl as lt

flags.DEFINE_string("features", None, "Folder of the features of runs.")
flags.DEFINE_string("results", None, "Folder of raw runs.")
flags.DEFINE_string("signs", None, "Folder of signs during training.")
flags.DEFINE_integer("draws", 2000, "Draws of a bootstrap.")
FLAGS = flags.FLAGS

LEAST = 3  # Runs that a rank correlation is taken over.
BETTER = {  # 1 where more is hoped to be better.
    "loss": -1,
    "contrastive_accuracy": 1,
    "alignment": -1,
    "uniformity": -1,
    "spread": 1,
    "effective_rank": 1,
}


def signs_of(features):
    """Returns the signs of the features of a training set."""
    features = features.astype("float64")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    units = features / np.maximum(lengths, 1e-12)
    similar = np.exp(4 * (units @ units.T) - 4)
    pairs = similar.sum() - np.trace(similar)
    return {
        "uniformity": np.log(pairs / (len(units) * (len(units) - 1))),
        "spread": units.std(axis=0).mean() * np.sqrt(units.shape[1]),
        "effective_rank": lt.evaluation.effective_rank(features),
    }


def last_loss(path):
    """Returns the loss of the last epoch of a raw run, if it is stored."""
    losses = json.loads(path.read_text()).get("history", {}).get("loss")
    return losses[-1] if losses else None


def cells():
    """Returns `{(data set, order): {(τ, view strength): numbers}}`.

    Of SimCLR, on the device that the features or the raw runs come from.
    """
    found = {}
    for run in read_runs(PACKED):
        if run["group"] != "tuning" or run["made"]["device"] == "cpu":
            continue
        name, arm, order = run["protocol"]["name"], run["arm"], run["order"]
        temperature, _, views = arm.split("@")[1].partition("v")
        few_shot = run["report"].summary()["few_shot"]
        numbers = {
            "few": 100 * few_shot["few"],
            "accuracy": 100 * few_shot["accuracy"],
        }
        if FLAGS.features:
            path = Path(FLAGS.features) / name / arm / f"{order}.npz"
            if path.exists():
                with np.load(path) as file:
                    numbers |= signs_of(file["train"])
        if FLAGS.results:
            path = Path(FLAGS.results) / name / arm / f"{order}.json"
            loss = last_loss(path) if path.exists() else None
            if loss is not None:
                numbers["loss"] = loss
        setting = float(temperature), float(views or 0)
        found.setdefault((name, order), {})[setting] = numbers
    return found


def correlation(rows, sign, target):
    """Returns the rank correlation over rows, or NaN of too few or equal."""
    pairs = [(row[sign], row[target]) for row in rows if sign in row]
    if len(pairs) < LEAST:
        return np.nan
    ranks = stats.rankdata(pairs, axis=0)
    if np.any(np.ptp(ranks, axis=0) == 0):
        return np.nan
    return BETTER[sign] * np.corrcoef(ranks.T)[0, 1]


def within(settings, which):
    """Returns lists of settings that differ in one thing alone, or in both."""
    if which == "both":
        return [list(settings)]
    place = 0 if which == "temperature" else 1
    held = sorted({setting[1 - place] for setting in settings})
    return [
        [each for each in settings if each[1 - place] == value]
        for value in held
    ]


def mean_correlation(cell, settings, sign, target, which):
    values = [
        correlation([cell[each] for each in group], sign, target)
        for group in within(settings, which)
    ]
    values = [value for value in values if np.isfinite(value)]
    return np.mean(values) if values else np.nan


def bootstrap(cells, sign, target, which):
    """Returns the mean correlation over cells, and its 95 % interval."""
    random = np.random.default_rng(0)
    cells = [
        {key: row for key, row in cell.items() if sign in row} for cell in cells
    ]
    cells = [
        cell
        for cell in cells
        if np.isfinite(mean_correlation(cell, cell, sign, target, which))
    ]
    if not cells:
        return None

    def mean(draw):
        values = []
        for cell in cells:
            settings = list(cell)
            if draw:
                rows = random.integers(len(settings), size=len(settings))
                settings = [settings[row] for row in rows]
            values.append(mean_correlation(cell, settings, sign, target, which))
        values = [value for value in values if np.isfinite(value)]
        return np.mean(values) if values else np.nan

    draws = [mean(True) for _ in range(FLAGS.draws)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return len(cells), mean(False), low, high


def choice(cells, sign, target, which):
    """Returns points of the chosen over the mean, and below the best."""
    over, below = [], []
    for cell in cells:
        for group in within(list(cell), which):
            rows = [cell[each] for each in group if sign in cell[each]]
            if len(rows) < LEAST:
                continue
            values = np.array([row[target] for row in rows])
            chosen = values[
                np.argmax([BETTER[sign] * row[sign] for row in rows])
            ]
            over.append(chosen - values.mean())
            below.append(values.max() - chosen)
    return np.mean(over), np.mean(below)


def of_stored_runs(target):
    found = cells()
    names = sorted({name for name, _ in found})
    for which in ("both", "temperature", "views"):
        print(f"\n{which}, {target}\n")
        print("| | data set | orders | correlation | over mean | below best |")
        print("|---|---|---:|---:|---:|---:|")
        for sign in ("effective_rank", "uniformity", "spread", "loss"):
            for name in [*names, "all"]:
                chosen = [
                    cell
                    for (each, _), cell in found.items()
                    if name in (each, "all")
                ]
                result = bootstrap(chosen, sign, target, which)
                if result is None:
                    continue
                count, mean, low, high = result
                over, below = choice(chosen, sign, target, which)
                print(
                    f"| {sign} | {name} | {count} | {mean:.2f} "
                    f"({low:.2f} to {high:.2f}) | {over:+.1f} | {below:.1f} |"
                )


def read_signs():
    """Returns the rows of each run, by data set, order and temperature."""
    found = {}
    for path in sorted(Path(FLAGS.signs).glob("*/*/*.csv")):
        name, temperature, order = path.parts[-3:]
        with open(path, newline="", encoding="utf-8") as file:
            rows = [
                {key: float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
        cell = found.setdefault((name, order.removesuffix(".csv")), {})
        cell[float(temperature)] = rows
    return found


def of_training(target):
    """Prints how signs go with accuracy over τ, and along a run."""
    found = read_signs()
    for name in sorted({name for name, _ in found}):
        cells = [cell for (each, _), cell in found.items() if each == name]
        full = max(len(cell) for cell in cells)
        cells = [cell for cell in cells if len(cell) == full]
        print(f"\n{name}, {target}, {len(cells)} class orders, {full} τ\n")
        for temperature in sorted(cells[0]):
            rows = [cell[temperature] for cell in cells]
            curve = np.mean([[r[target] for r in each] for each in rows], 0)
            print(f"τ = {temperature:g}:", *(f"{100 * v:.1f}" for v in curve))
        print("\n| sign | over τ | along a run | peak below best | last |")
        print("|---|---:|---:|---:|---:|")
        for sign in BETTER:
            over = [
                correlation([rows[-1] for rows in cell.values()], sign, target)
                for cell in cells
            ]
            along = [
                np.nanmean(
                    [correlation(rows, sign, target) for rows in cell.values()]
                )
                for cell in cells
            ]
            below, last = stopping(cells, sign, target)
            print(
                f"| {sign} | {shown(over)} | {shown(along)} | {shown(below)} "
                f"| {shown(last)} |"
            )


def stopping(cells, sign, target):
    """Returns points below the best epoch where a sign peaks, and at the end.

    One number of each class order, the mean over its temperatures.
    """
    below, last = [], []
    for cell in cells:
        chosen, ends = [], []
        for rows in cell.values():
            values = 100 * np.array([row[target] for row in rows])
            peak = np.argmax([BETTER[sign] * row[sign] for row in rows])
            chosen.append(values.max() - values[peak])
            ends.append(values.max() - values[-1])
        below.append(np.mean(chosen))
        last.append(np.mean(ends))
    return below, last


def shown(values):
    mean, error = interval([value for value in values if np.isfinite(value)])
    return f"{mean:.2f} ± {error:.2f}"


def main(_):
    for target in ("few", "accuracy"):
        if FLAGS.features or FLAGS.results:
            of_stored_runs(target)
        if FLAGS.signs:
            of_training(target)


if __name__ == "__main__":
    app.run(main)
