r"""How soon `choose_to_label` finds every class, beside random and k-center.

    python benchmarks/long_tail/run.py --protocol mnist_450 \
        --arms simclr@0.1v0.5 --features features
    python benchmarks/choose_to_label.py --features features \
        --arms mnist_450=simclr@0.1v0.5
    python benchmarks/choose_to_label.py

Reads the features that `long_tail/run.py --features` keeps, by default
`PROTOCOL/ARM/ORDER.npz`. Of each class order the first arm counts that is
there. Labels are bought in the order of a choice; what they find, and how good
a linear probe on them is, is stored in `--results`, one line for each class
order and choice. Class orders that are stored already stay, unless they are
measured again. Without `--features`, the tables of what is stored are
printed. The choice was designed on class orders 0 and 1, so these are left out.

Each class order is measured as it is, and spoiled as a folder of photos is:
with a twentieth more rows that are strange (each number from a random row's),
and ten bursts of ten near-copies of an image. A strange row costs a label, and
finds nothing. Probes are trained on class orders as they are.
"""

import json
from pathlib import Path

import numpy as np
from absl import app, flags
from long_tail.claims import interval

import keras_ltssl as lt
from keras_ltssl.evaluation.groups import FEW, MANY, MEDIUM, class_groups

HERE = Path(__file__).parent
BUDGETS = (20, 50, 100, 200)
STRANGE_SHARE, BURSTS, BURST_SIZE, NOISE = 0.05, 10, 10, 0.01
STRANGE = -1  # The label of a row that has no class.
GROUPS = {"many": MANY, "medium": MEDIUM, "few": FEW}
RANDOM, CENTERS = "random", "k-center"
CHOICE, WITH_HEADNESS = "choose_to_label", "choose_to_label, headness"

flags.DEFINE_list("features", [], "Folders of features to measure with.")
flags.DEFINE_list(
    "arms",
    [],
    "PROTOCOL=ARM, the arm whose features count; of several for a protocol, "
    "the first that has the class order.",
)
flags.DEFINE_list("design", ["0", "1"], "Class orders to leave out.")
flags.DEFINE_integer("draws", 100, "Random choices, averaged.", lower_bound=1)
flags.DEFINE_integer(
    "probes", 10, "Random choices with a probe, averaged.", lower_bound=1
)
flags.DEFINE_string(
    "results", str(HERE / "choose_to_label.jsonl"), "Table of what was found."
)
FLAGS = flags.FLAGS


def choices(features):
    """Returns orders of all samples, by name; some have several draws."""
    count = len(features)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    drawn = [
        np.random.default_rng(seed).permutation(count)
        for seed in range(FLAGS.draws)
    ]
    return {
        RANDOM: drawn,
        # It begins with the first row: a random one.
        CENTERS: [
            order[lt.samplers.greedy_k_centers(units[order], count)]
            for order in drawn[: FLAGS.probes]
        ],
        CHOICE: [lt.samplers.choose_to_label(features, count)],
        WITH_HEADNESS: [
            lt.samplers.choose_to_label(
                features,
                count,
                headness=lt.evaluation.headness_estimate(features),
            )
        ],
    }


def found(order, labels, members):
    """Returns what the first labels of an order find."""
    classes = np.unique(labels[labels != STRANGE])
    firsts = [np.flatnonzero(labels[order] == each)[0] for each in classes]
    result = {"every_class": int(max(firsts)) + 1}
    for budget in BUDGETS:
        bought = order[:budget]
        seen = labels[bought]
        result[f"classes_{budget}"] = len(np.unique(seen[seen != STRANGE]))
        result[f"few_images_{budget}"] = int(np.sum(members[bought] == FEW))
    return result


def probed(order, data, groups):
    """Returns accuracies in percent of probes on the first labels.

    A class without a label has none of its images right.
    """
    result = {}
    classes = np.unique(data["y_test"])
    for budget in BUDGETS:
        bought = order[:budget]
        bought = bought[data["y_train"][bought] != STRANGE]
        labels = data["y_train"][bought]
        seen = np.isin(data["y_test"], labels)
        accuracy = np.zeros(len(classes))
        if len(np.unique(labels)) < 2:  # All images are said to be of it.
            accuracy[np.isin(classes, labels)] = 1
            result |= accuracies(accuracy, groups, budget)
            continue
        probe = lt.evaluation.linear_probe(
            data["train"][bought],
            labels,
            data["test"][seen],
            data["y_test"][seen],
        )
        accuracy[np.searchsorted(classes, probe.classes)] = probe.class_accuracy
        result |= accuracies(accuracy, groups, budget)
    return result


def accuracies(accuracy, groups, budget):
    """Returns the mean accuracy of all classes and of each group."""
    return {
        f"accuracy_{budget}": 100 * float(accuracy.mean()),
        **{
            f"{name}_{budget}": 100 * float(accuracy[groups == group].mean())
            for name, group in GROUPS.items()
        },
    }


def mean_of(results):
    return {
        key: round(float(np.mean([each[key] for each in results])), 4)
        for key in (results[0] if results else ())
    }


def measure(path):
    """Returns the lines of one class order."""
    protocol, arm, order = *path.parts[-3:-1], int(path.stem)
    with np.load(path) as stored:
        data = {key: stored[key] for key in stored.files}
    data = {
        key: array.astype("float32") if array.dtype.kind == "f" else array
        for key, array in data.items()
    }
    classes, position, counts = np.unique(
        data["y_train"], return_inverse=True, return_counts=True
    )
    groups = class_groups(counts)
    return [
        {
            "protocol": protocol,
            "arm": arm,
            "order": order,
            "spoiled": is_spoiled,
            "choice": name,
            "images": len(position),
            "classes": len(classes),
            "smallest_class": int(counts.min()),
            **numbers,
        }
        for is_spoiled in (False, True)
        for name, numbers in numbers_of(
            spoiled(data, order) if is_spoiled else data,
            groups,
            0 if is_spoiled else FLAGS.probes,
        )
    ]


def spoiled(data, seed):
    """Returns the data with strange rows and bursts of near-copies added."""
    random = np.random.default_rng(seed)
    features, labels = data["train"], data["y_train"]
    count, dim = features.shape
    strange = features[
        random.integers(count, size=(round(STRANGE_SHARE * count), dim)),
        np.arange(dim),
    ]
    rows = np.repeat(random.choice(count, BURSTS, replace=False), BURST_SIZE)
    lengths = np.linalg.norm(features[rows], axis=1, keepdims=True)
    noise = random.normal(size=(len(rows), dim)) * lengths / np.sqrt(dim)
    return {
        **data,
        "train": np.concatenate(
            [features, strange, features[rows] + NOISE * noise]
        ).astype("float32"),
        "y_train": np.concatenate(
            [labels, np.full(len(strange), STRANGE), labels[rows]]
        ),
    }


def numbers_of(data, groups, probes):
    """Yields the names of the choices and what they find.

    So many draws of each choice are probed, at most.
    """
    labels = data["y_train"]
    classes = np.unique(labels[labels != STRANGE])
    members = np.full(len(labels), STRANGE)
    known = labels != STRANGE
    members[known] = groups[np.searchsorted(classes, labels[known])]
    for name, orders in choices(data["train"]).items():
        results = [found(each, labels, members) for each in orders]
        accuracy = [probed(each, data, groups) for each in orders[:probes]]
        yield (
            name,
            {"draws": len(orders), **mean_of(results), **mean_of(accuracy)},
        )


def paths():
    """Returns the files to measure with, one for each class order."""
    chosen = {}
    for each in FLAGS.arms:
        protocol, arm = each.split("=")
        for folder in FLAGS.features:
            for path in sorted(Path(folder, protocol, arm).glob("*.npz")):
                if path.stem not in FLAGS.design:
                    chosen.setdefault((protocol, int(path.stem)), path)
    return [chosen[key] for key in sorted(chosen)]


def cell(rows, key, digits, reference=None):
    """Returns a mean, or the paired difference with its 95 % interval."""
    values = np.array([rows[order][key] for order in sorted(rows)])
    if reference is None:
        return f"{values.mean():.{digits}f}"
    others = np.array([reference[order][key] for order in sorted(rows)])
    mean, error = interval(values - others)
    return (
        f"{values.mean():.{digits}f} ({mean:+.{digits}f} ± {error:.{digits}f})"
    )


def print_tables(lines):
    """Prints a table for each protocol."""
    by_protocol = {}
    for line in lines:
        title = line["protocol"] + (", spoiled" if line["spoiled"] else "")
        protocol = by_protocol.setdefault(title, {})
        protocol.setdefault(line["choice"], {})[line["order"]] = line
    numbers = [
        ("labels until every class is seen", "every_class", 0),
        *(
            (f"classes of {budget} labels", f"classes_{budget}", 1)
            for budget in BUDGETS
        ),
        *(
            (f"few-image images of {budget}", f"few_images_{budget}", 1)
            for budget in BUDGETS
        ),
        *(
            (f"accuracy of {budget}", f"accuracy_{budget}", 1)
            for budget in BUDGETS
        ),
        *(
            (f"accuracy of {budget}, {group}", f"{group}_{budget}", 1)
            for group in GROUPS
            for budget in BUDGETS
        ),
    ]
    for protocol, found_by in sorted(by_protocol.items()):
        orders = found_by[RANDOM]
        arms = {order: row["arm"] for order, row in sorted(orders.items())}
        print(f"\n{protocol}: {arms}\n")
        names = [RANDOM, CENTERS, CHOICE, WITH_HEADNESS]
        print("| |" + "|".join(names) + "|")
        print("|---|" + "---:|" * len(names))
        for title, key, digits in numbers:
            if key not in next(iter(orders.values())):
                continue
            cells = [
                cell(
                    found_by[name],
                    key,
                    digits,
                    None if name == RANDOM else orders,
                )
                for name in names
            ]
            print(f"| {title} | " + " | ".join(cells) + " |")
        for name in names[1:]:
            shares = [
                found_by[name][order]["every_class"]
                / orders[order]["every_class"]
                for order in sorted(orders)
            ]
            mean, error = interval(shares)
            print(f"\n{name}: {mean:.2f} ± {error:.2f} of random's labels;")
            print("by class order", [round(share, 2) for share in shares])


def main(_):
    results = Path(FLAGS.results)
    lines = read(results) if results.exists() else []
    if FLAGS.features:
        added = [line for path in paths() for line in measure(path)]
        again = {class_order(line) for line in added}
        lines = [line for line in lines if class_order(line) not in again]
        lines = sorted([*lines, *added], key=class_order)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        results.write_text(text, encoding="utf-8")
    print_tables(lines)


def read(results):
    text = results.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def class_order(line):
    return line["protocol"], line["order"]


if __name__ == "__main__":
    app.run(main)
