"""Reads the stored runs of a benchmark."""

import json

import numpy as np

from keras_ltssl.evaluation import LongTailReport


def read_runs(folder):
    """Returns the content of every stored run of a protocol."""
    runs = [
        json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))
    ]
    for run in runs:
        for part in ("report", "validation"):
            run[part] = LongTailReport.from_json(json.dumps(run[part]))
    return runs


def validation_accuracies(runs):
    """Returns the mean few-shot accuracy of each fixed τ on validation sets."""
    found = {}
    for run in runs:
        if run["group"] == "tuning":
            temperature = float(run["arm"].split("@")[1])
            summary = run["validation"].summary()
            found.setdefault(temperature, []).append(
                summary["few_shot"]["accuracy"]
            )
    return {
        temperature: (float(np.mean(values)), len(values))
        for temperature, values in sorted(found.items())
    }


def best_temperature(runs, protocol):
    """Returns the fixed τ with the best few-shot accuracy in validation."""
    accuracies = validation_accuracies(runs)
    missing = set(protocol.temperatures) - set(accuracies)
    if missing:
        raise ValueError(
            f"No run of SimCLR at τ = {', '.join(map(str, sorted(missing)))} "
            f"is stored for {protocol.name}: run `--arms=tuning` first."
        )
    return max(protocol.temperatures, key=lambda t: accuracies[t][0])
