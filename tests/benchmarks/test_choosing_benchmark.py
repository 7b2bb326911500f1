"""The benchmark of what to label next: what it stores and prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "choose_to_label.py"


def features_of(order):
    random = np.random.default_rng(order)
    parts = {"train": [150, 60, 15, 6], "test": [10] * 4}
    stored = {}
    for part, counts in parts.items():
        labels = np.repeat(np.arange(4), counts)
        rows = np.eye(24)[labels] + 0.2 * random.normal(size=(len(labels), 24))
        stored[part] = rows.astype("float16")
        stored[f"y_{part}"] = labels
    return stored


def run(arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_each_class_order_is_stored_and_printed_beside_random(tmp_path):
    folder = tmp_path / "features" / "tiny" / "simclr"
    folder.mkdir(parents=True)
    for order in range(4):
        np.savez(folder / f"{order}.npz", **features_of(order))
    results = tmp_path / "results.jsonl"
    arguments = [
        f"--features={tmp_path / 'features'}",
        "--arms=tiny=missing,tiny=simclr",
        "--draws=3",
        "--probes=1",
        f"--results={results}",
    ]
    done = run(arguments)
    assert done.stdout == run(arguments[-1:]).stdout
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    # The class orders of the design, 0 and 1, are left out.
    assert {(line["order"], line["spoiled"]) for line in lines} == {
        (order, spoiled) for order in (2, 3) for spoiled in (False, True)
    }
    assert {line["draws"] for line in lines} == {3, 1}
    for line in lines:
        assert 4 <= line["every_class"] <= 343
        assert 1 <= line["classes_20"] <= line["classes_200"] <= 4
        assert line["few_images_20"] <= line["few_images_200"] <= 16
        assert ("accuracy_20" in line) == (not line["spoiled"])
        assert 0 <= line.get("accuracy_20", 0) <= 100
    assert "tiny, spoiled: {2: 'simclr', 3: 'simclr'}" in done.stdout
    assert done.stdout.count("| labels until every class is seen |") == 2
    # Later, features of other class orders: those stored before stay.
    for order in range(3):
        (folder / f"{order}.npz").unlink()
    (folder / "3.npz").rename(folder / "5.npz")
    run(arguments)
    later = [json.loads(line) for line in results.read_text().splitlines()]
    assert later[: len(lines)] == lines
    assert {line["order"] for line in later[len(lines) :]} == {5}
