"""Reads the stored runs of a benchmark, and packs them into one table.

`run.py` writes each run as a JSON file of its own (`PROTOCOL/ARM/ORDER.json`).
`pack.py` puts what tables need of it on one line of a table, `results.jsonl`:
accuracies by probe and group, some of each class, agreements of tail estimates,
device, date and seconds. `read_runs` and `read_all` read either, and return the
same for both. A run is told from others by its protocol, arm and class order,
and by where it was made: the backend, the device and the dtype policy.

The table begins with one line for each protocol. The lines of runs name their
protocol and its digest.
"""

import hashlib
import itertools
import json
import os

import numpy as np
from protocol import HERE, as_protocol

import keras_ltssl as lt

PACKED = HERE / "results.jsonl"
# Of these, a table holds the accuracy of each class.
BY_CLASS = ("few_shot", "knn", "knn1")


class Scores:
    """The summary of a report: accuracies and balancedness by probe."""

    def __init__(self, values):
        self.values = values

    def summary(self):
        """Returns `{probe: {"accuracy", "many", ..., "balancedness"}}`."""
        return self.values


def read_runs(place, protocol=None):
    """Returns the runs of one protocol.

    Args:
        place: folder of the raw runs of the protocol (`ARM/ORDER.json`), or
            the packed table.
        protocol: name of the protocol, where `place` is a table.

    Returns:
        A list of dicts. `run["report"].summary()` holds accuracies on the test
        set, `run["validation"].summary()` those on the validation set.
    """
    rows = read_folder(place) if place.is_dir() else read_packed(place)
    return [
        as_run(row)
        for row in rows
        if protocol in (None, row["protocol"]["name"])
    ]


def read_all(place):
    """Returns the runs of every protocol, by its name, in its order."""
    folders = [place]
    if place.is_dir():
        folders = [each for each in sorted(place.iterdir()) if each.is_dir()]
    found = {}
    for folder in folders:
        for run in read_runs(folder):
            found.setdefault(run["protocol"]["name"], []).append(run)
    return {name: found[name] for name in sorted(found)}


def as_run(row):
    """Returns the run whose line of the table is given."""
    run = {**row, "report": Scores(row["test"])}
    run["validation"] = Scores(row["validation"])
    return run


def as_row(content):
    """Returns the line of the table for the content of a raw run."""
    report = lt.evaluation.LongTailReport.from_json(
        json.dumps(content["report"])
    )
    return {
        key: content[key]
        for key in (
            *("protocol", "arm", "order", "title", "group", "temperature"),
            *("rand_augment", "long_tailed_probe"),
        )
        if key in content  # The last two are younger than some runs.
    } | {
        "test": content["report"]["summary"],
        "validation": content["validation"]["summary"],
        "class_counts": list(report.class_counts),
        "class_accuracy": {
            probe: np.round(report.probes[probe].class_accuracy, 5).tolist()
            for probe in BY_CLASS
        },
        "tail": content["tail"],
        "seconds": content["seconds"],
        "made": content["made"],
    }


def read_folder(folder):
    """Returns the lines of the raw runs in a protocol's folder."""
    return [
        # Runs of earlier versions have another spelling of some names.
        as_row(json.loads(path.read_text().replace("neighbours", "neighbors")))
        for path in sorted(folder.glob("*/*.json"))
    ]


def read_packed(path):
    """Returns the lines of a packed table, each with its whole protocol."""
    if not path.exists():
        return []
    protocols, rows = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        content = json.loads(line)
        if "arm" in content:
            content["protocol"] = protocols[content.pop("digest")]
            rows.append(content)
        else:
            protocols[content["digest"]] = content["protocol"]
    return rows


def write_packed(path, rows):
    """Writes a packed table, sorted, at once or not at all."""
    protocols = {digest(row["protocol"]): row["protocol"] for row in rows}
    lines = [
        {"digest": key, "protocol": protocol}
        for key, protocol in sorted(
            protocols.items(), key=lambda item: (item[1]["name"], item[0])
        )
    ]
    lines += [
        {
            **row,
            "protocol": row["protocol"]["name"],
            "digest": digest(row["protocol"]),
        }
        for row in sorted(rows, key=key_of)
    ]
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(
        "".join(
            json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"
            for line in lines
        ),
        encoding="utf-8",
    )
    os.replace(unfinished, path)


def merged(packed, added, replace=False):
    """Returns the lines of both, each run once.

    Raises if a run is there twice with different numbers, unless `replace`
    says that the added one counts, and if two protocols share a name.
    """
    found = {key_of(row): row for row in packed}
    protocols = {row["protocol"]["name"]: row["protocol"] for row in packed}
    for row in added:
        name = row["protocol"]["name"]
        before = protocols.setdefault(name, row["protocol"])
        if as_protocol(before) != as_protocol(row["protocol"]):
            raise ValueError(
                f"Runs of another protocol of the name {name} are packed. Give "
                "the new protocol another name."
            )
        key = key_of(row)
        if not replace and found.get(key, row) != row:
            backend, device = place_of(row)
            raise ValueError(
                f"Another run of {row['arm']}, order {row['order']}, of {name} "
                f"is packed, by {backend} on {device}, too. `--replace` takes "
                "the new one instead."
            )
        found[key] = row
    return list(found.values())


def key_of(row):
    """Returns what tells a run from others, in the order of the table."""
    return row["protocol"]["name"], row["arm"], row["order"], *place_of(row)


def place_of(run):
    """Returns where a run was made: its backend and its device.

    Runs in another precision than float32 count as those of another device,
    so that pairs share the precision.
    """
    made = run["made"]
    policy = made.get("dtype_policy") or "float32"
    suffix = "" if policy == "float32" else f" ({policy})"
    return made["backend"], made["device"] + suffix


def accuracy_by_rank(run, probe):
    """Returns class accuracies on the test set, the largest class first.

    Or `None` of a probe whose class accuracies are not in the table.
    """
    if probe not in run.get("class_accuracy", {}):
        return None
    largest_first = np.argsort(-np.asarray(run["class_counts"]), kind="stable")
    return np.asarray(run["class_accuracy"][probe], "float64")[largest_first]


def digest(protocol):
    """Returns a short digest of what a protocol says."""
    text = json.dumps(protocol, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def tuning_name(temperature, rand_augment=0.0):
    """Returns the name of SimCLR at a temperature and a view strength."""
    views = f"v{rand_augment:g}" if rand_augment else ""
    return f"simclr@{temperature:g}{views}"


def validation_accuracies(runs):
    """Returns the mean few-shot accuracy on validation sets, and class orders.

    Of each pair of a fixed τ and a view strength that was run. Means are over
    the runs of class orders and devices that all pairs share, since the best
    pairs are run on more of them.
    """
    found = {}
    for run in runs:
        if run["group"] == "tuning":
            temperature, _, views = run["arm"].split("@")[1].partition("v")
            summary = run["validation"].summary()
            pair = float(temperature), float(views or 0)
            found.setdefault(pair, {})[run["order"], place_of(run)] = summary[
                "few_shot"
            ]["accuracy"]
    shared = set.intersection(*map(set, found.values())) if found else set()
    return {
        pair: (
            float(np.mean([values[each] for each in sorted(shared or values)])),
            len({order for order, _ in values}),
        )
        for pair, values in sorted(found.items())
    }


def best_setting(runs, protocol, rand_augment=None):
    """Returns the fixed τ and the view strength that do best in validation.

    By few-shot accuracy; among all pairs, or those of one view strength.
    """
    accuracies = validation_accuracies(runs)
    pairs = list(
        itertools.product(protocol.temperatures, protocol.rand_augments)
    )
    missing = [tuning_name(*pair) for pair in pairs if pair not in accuracies]
    if missing:
        raise ValueError(
            f"No run of {', '.join(missing)} is stored for {protocol.name}: "
            "run `--arms=tuning` first."
        )
    if rand_augment is not None:
        pairs = [
            (temperature, rand_augment) for temperature in protocol.temperatures
        ]
        if rand_augment not in protocol.rand_augments:
            raise ValueError(
                f"The protocol {protocol.name} tunes no views of strength "
                f"{rand_augment:g}. Received: rand_augments="
                f"{protocol.rand_augments}"
            )
    return max(pairs, key=lambda pair: accuracies[pair][0])
