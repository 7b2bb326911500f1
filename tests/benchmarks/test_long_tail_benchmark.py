"""The long-tail benchmark: runs in pairs, stored once, tables as stored."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
BENCHMARK = ROOT / "benchmarks" / "long_tail"
ORACLE = "--arms=oracle_weights_1"
TINY = {
    "title": "Digits",
    "measured": True,
    "note": "A test.",
    "dataset": "digits",
    "imbalance": 5,
    "max_count": 60,
    "probe": 12,
    "test": 20,
    "orders": 3,
    "backbone": "small_convnet",
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "weight_decay": 0.0001,
    "epochs": 2,
    "batch_size": 64,
    "shots": 5,
    "temperatures": [0.2],
    "pool": "digits",
    "budget": 20,
}


def command(script, *flags, **environment):
    return subprocess.run(
        [sys.executable, str(BENCHMARK / script), *map(str, flags)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stored runs: SimCLR and TASE on three class orders, an oracle on one."""
    folder = tmp_path_factory.mktemp("long_tail")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    for flags in (["--arms=tuning,tase"], [ORACLE, "--orders=1"]):
        done = run(folder, *flags)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder


def run(folder, *flags):
    return command(
        "run.py",
        f"--protocol={folder / 'tiny.json'}",
        f"--results={folder / 'results'}",
        f"--work={folder / 'work'}",
        *flags,
        # Class orders differ in nothing that has to be compiled.
        JAX_COMPILATION_CACHE_DIR=str(folder / "compiled"),
    )


def stored(folder, arm, order):
    path = folder / "results" / "tiny" / arm / f"{order}.json"
    return json.loads(path.read_text())


def test_arms_share_split_weights_and_batches(folder):
    # TASE is SimCLR until its warm-up of 100 steps ends: here, always.
    for order in range(3):
        simclr = stored(folder, "simclr@0.2", order)
        tase = stored(folder, "tase", order)
        assert tase["report"]["probes"] == simclr["report"]["probes"]
        assert tase["history"]["loss"] == pytest.approx(
            simclr["history"]["loss"], rel=1e-4
        )
        assert tase["temperature"] == 0.2


def test_class_orders_differ(folder):
    counts = [
        stored(folder, "tase", order)["report"]["class_counts"]
        for order in range(3)
    ]
    assert len({tuple(each) for each in counts}) == 3
    assert len({tuple(sorted(each)) for each in counts}) == 1


def test_an_oracle_knows_the_labels(folder):
    oracle = stored(folder, "oracle_weights_1", 0)["history"]["loss"]
    assert oracle[0] != stored(folder, "tase", 0)["history"]["loss"][0]


def test_a_stored_run_is_not_run_again(folder):
    paths = sorted((folder / "results").glob("*/*/*.json"))
    before = [path.stat().st_mtime_ns for path in paths]
    again = run(folder, "--arms=tuning,tase")
    assert again.returncode == 0, again.stderr[-2000:]
    assert "few-shot" not in again.stdout
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_another_protocol_of_the_same_name_is_refused(folder, tmp_path):
    changed = tmp_path / "tiny.json"
    changed.write_text(json.dumps({**TINY, "epochs": 3}))
    done = command(
        "run.py",
        f"--protocol={changed}",
        f"--results={folder / 'results'}",
        "--arms=tuning",
    )
    assert done.returncode != 0
    assert "was made by another protocol" in done.stderr


def test_unknown_arms_are_refused(folder):
    done = run(folder, "--arms=methods,simsiam")
    assert done.returncode != 0
    assert "Received: simsiam" in done.stderr


def test_tables_hold_what_is_stored_and_are_checked(folder):
    page = folder / "RESULTS.md"
    flags = f"--results={folder / 'results'}", f"--output={page}"
    assert command("table.py", *flags, "--check").returncode != 0
    done = command("table.py", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    assert command("table.py", *flags, "--check").returncode == 0
    text = page.read_text()
    summary = text.split("## In short")[1].split("\n## ")[0]
    accuracies = [few_shot_accuracy(folder, order) for order in range(3)]
    line = next(line for line in summary.splitlines() if "SimCLR" in line)
    assert f"{np.mean(accuracies):.1f}" in line
    # The same runs, so no difference; the interval of equal numbers.
    row = next(line for line in summary.splitlines() if "TASE" in line)
    assert "+0.0\u00a0±\u00a00.0" in row

    page.write_text(text.replace(f"{np.mean(accuracies):.1f}", "99.9"))
    stale = command("table.py", *flags, "--check")
    assert stale.returncode != 0
    assert "RESULTS.md" in stale.stderr


def few_shot_accuracy(folder, order):
    """Returns the accuracy of the few-shot probe in percent, from the JSON."""
    report = stored(folder, "simclr@0.2", order)["report"]
    draws = np.array(report["probes"]["few_shot"]["draw_accuracy"])
    return 100 * draws.mean()


def test_a_packed_table_says_what_the_raw_runs_say(folder, tmp_path):
    results, packed = folder / "results", tmp_path / "packed.jsonl"
    first = pack(results, packed)
    assert first.returncode == 0, first.stderr[-2000:]
    assert "7 runs, 7 of them new" in first.stdout
    text = packed.read_text()
    assert len(text.splitlines()) == 8  # And the protocol.
    pages = []
    for place in (results, packed):
        page = tmp_path / "page.md"
        done = command("table.py", f"--results={place}", f"--output={page}")
        assert done.returncode == 0, done.stderr[-2000:]
        pages.append(page.read_text())
    assert pages[0] == pages[1]

    again = pack(results, packed)
    assert "7 runs, 0 of them new" in again.stdout
    assert packed.read_text() == text

    done = run(
        folder,
        "--arms=tuning,tase",
        f"--results={tmp_path / 'empty'}",
        f"--packed={packed}",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / "empty").exists()


def test_a_packed_run_is_neither_lost_nor_overwritten(folder, tmp_path):
    packed, raw = tmp_path / "packed.jsonl", tmp_path / "results"
    assert pack(folder / "results", packed).returncode == 0
    before = packed.read_text()
    other = raw / "tiny" / "tase" / "0.json"
    other.parent.mkdir(parents=True)
    content = stored(folder, "tase", 0)
    other.write_text(json.dumps({**content, "seconds": -1.0}))
    refused = pack(raw, packed)
    assert refused.returncode != 0
    assert "Another run of tase, order 0, of tiny is packed" in refused.stderr
    assert packed.read_text() == before

    assert pack(raw, packed, "--replace").returncode == 0
    kept, lines = before.splitlines(), packed.read_text().splitlines()
    assert len(lines) == len(kept)
    (changed,) = set(lines) - set(kept)
    assert json.loads(changed)["seconds"] == -1.0

    protocol = {**content["protocol"], "epochs": 3}
    other.write_text(json.dumps({**content, "protocol": protocol}))
    refused = pack(raw, packed, "--replace")
    assert refused.returncode != 0
    assert "another protocol of the name tiny" in refused.stderr


def pack(results, packed, *flags):
    return command(
        "pack.py", f"--results={results}", f"--packed={packed}", *flags
    )


def test_the_long_protocol_is_mnist_but_for_length_and_temperatures():
    protocols = BENCHMARK / "protocols"
    short, long = (
        json.loads((protocols / f"{name}.json").read_text())
        for name in ("mnist", "mnist_450")
    )
    views = long.pop("rand_augments")
    differing = {key for key in short | long if short[key] != long[key]}
    assert differing == {"title", "note", "epochs", "temperatures"}
    # SimCLR's own views and stronger ones.
    assert views[0] == 0
    assert max(views) >= 0.5
    assert long["epochs"] == 10 * short["epochs"]
    # Longer runs want a larger τ: the grid brackets what may be best.
    assert {0.1, 0.2, 0.3} < set(long["temperatures"])


CHOICE = """
import sys
sys.path.insert(0, sys.argv[1])
from protocol import load_protocol
from stored import Scores, best_setting, validation_accuracies

def run(arm, order, accuracy):
    scores = Scores({"few_shot": {"accuracy": accuracy}})
    return {"group": "tuning", "arm": arm, "order": order, "validation": scores}

protocol = load_protocol(sys.argv[2])
runs = [
    run("simclr@0.1", 0, 0.6),
    run("simclr@0.1v0.5", 0, 0.7),
    run("simclr@0.2", 0, 0.5),
    run("simclr@0.2v0.5", 0, 0.8),
    run("simclr@0.2v0.5", 1, 0.1),  # The others have no such order.
]
print(best_setting(runs, protocol), best_setting(runs, protocol, 0.0))
print(validation_accuracies(runs)[0.2, 0.5])
best_setting(runs[1:], protocol)
"""


def test_the_pair_is_chosen_on_class_orders_that_all_pairs_share(tmp_path):
    path = tmp_path / "grid.json"
    grid = {"temperatures": [0.1, 0.2], "rand_augments": [0.0, 0.5]}
    path.write_text(json.dumps({**TINY, **grid}))
    done = subprocess.run(
        [sys.executable, "-c", CHOICE, str(BENCHMARK), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["(0.2, 0.5) (0.1, 0.0)", "(0.8, 2)"]
    assert "No run of simclr@0.1 is stored" in done.stderr


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="source archives leave the runs out"
)
def test_the_page_holds_what_the_stored_runs_say():
    done = command("table.py", "--check")
    assert done.returncode == 0, done.stderr[-2000:]
