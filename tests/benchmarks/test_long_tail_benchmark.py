"""The long-tail benchmark: runs in pairs, stored once, tables as stored."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
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
    line = next(
        line for line in summary.splitlines() if line.startswith("| SimCLR")
    )
    assert f"{np.mean(accuracies):.1f}" in line
    # The same runs, so no difference; the interval of equal numbers.
    row = next(line for line in summary.splitlines() if "TASE" in line)
    assert "+0.0\u00a0±\u00a00.0" in row

    page.write_text(text.replace(f"{np.mean(accuracies):.1f}", "99.9"))
    stale = command("table.py", *flags, "--check")
    assert stale.returncode != 0
    assert "RESULTS.md" in stale.stderr


def test_a_probe_on_the_long_tailed_labels_has_a_table(folder):
    page = folder / "probe.md"
    done = command(
        "table.py", f"--results={folder / 'results'}", f"--output={page}"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    part = section(page.read_text(), "A linear probe on the long-tailed labels")
    probes = [
        stored(folder, "tase", order)["long_tailed_probe"] for order in range(3)
    ]
    cells = row(part, "TASE")
    for place, key in enumerate(("accuracy", "many", "medium", "few")):
        mean = 100 * np.mean([probe[key] for probe in probes])
        assert cells[place].startswith(f"{mean:.1f}")
        assert cells[4 + place] == "+0.0\u00a0±\u00a00.0"
    assert len(row(part, "True counts: weights, power 1")) == 8


def test_a_run_in_bfloat16_says_so_and_is_no_pair_of_one_in_float32(
    folder, tmp_path
):
    shutil.copytree(folder, tmp_path / "mixed")
    mixed = tmp_path / "mixed"
    policy = "--dtype_policy=mixed_bfloat16"
    path = mixed / "results" / "tiny" / "tase" / "2.json"
    path.unlink()
    done = run(mixed, "--arms=tase", policy)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(path.read_text())["made"]["dtype_policy"] == policy[15:]

    page = tmp_path / "page.md"
    results = f"--results={mixed / 'results'}"
    done = command("table.py", results, f"--output={page}")
    assert done.returncode == 0, done.stderr[-2000:]
    backend = keras.backend.backend()
    assert f"{backend} on cpu; {backend} on cpu (mixed_bfloat16)" in (
        page.read_text()
    )


def section(text, title):
    """Returns the section of a page, or of a part of one, by its title."""
    (part,) = [
        part
        for part in re.split(r"(?m)^(?=##)", text)
        if part.split("\n")[0].lstrip("#") == f" {title}"
    ]
    return part


def row(text, title):
    """Returns the cells behind the first one in the last row of this title."""
    lines = [line for line in text.splitlines() if f"| {title} |" in line]
    return [cell.strip() for cell in lines[-1].strip("|").split("|")][1:]


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


def test_runs_of_two_devices_are_both_packed(folder, tmp_path):
    packed, raw = tmp_path / "packed.jsonl", tmp_path / "results"
    assert pack(folder / "results", packed).returncode == 0
    before = packed.read_text().splitlines()
    content = stored(folder, "tase", 0)
    other = raw / "tiny" / "tase" / "0.json"
    other.parent.mkdir(parents=True)
    made = {**content["made"], "device": "Another"}
    other.write_text(json.dumps({**content, "made": made}))
    done = pack(raw, packed)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "8 runs, 1 of them new" in done.stdout
    (added,) = set(packed.read_text().splitlines()) - set(before)
    assert json.loads(added)["made"]["device"] == "Another"


def test_a_packed_run_has_the_accuracy_of_each_class(folder, tmp_path):
    packed = tmp_path / "packed.jsonl"
    assert pack(folder / "results", packed).returncode == 0
    report = stored(folder, "tase", 1)["report"]
    (run,) = [
        run
        for run in map(json.loads, packed.read_text().splitlines())
        if (run.get("arm"), run.get("order")) == ("tase", 1)
    ]
    assert run["class_counts"] == report["class_counts"]
    assert set(run["class_accuracy"]) == {"few_shot", "knn", "knn1"}
    for probe, accuracy in run["class_accuracy"].items():
        draws = report["probes"][probe]["draw_accuracy"]
        np.testing.assert_allclose(accuracy, np.mean(draws, axis=0), atol=1e-5)


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
from stored import (
    Scores, accuracy_by_rank, best_setting, validation_accuracies
)

def run(arm, order, accuracy, device="cpu"):
    scores = Scores({"few_shot": {"accuracy": accuracy}})
    made = {"backend": "jax", "device": device}
    return {
        "group": "tuning", "arm": arm, "order": order, "validation": scores,
        "made": made,
    }

protocol = load_protocol(sys.argv[2])
runs = [
    run("simclr@0.1", 0, 0.6),
    run("simclr@0.1v0.5", 0, 0.7),
    run("simclr@0.2", 0, 0.5),
    run("simclr@0.2v0.5", 0, 0.8),
    run("simclr@0.2v0.5", 1, 0.1),  # The others have no such order,
    run("simclr@0.2v0.5", 0, 0.1, "gpu"),  # and were not run there.
]
print(best_setting(runs, protocol), best_setting(runs, protocol, 0.0))
print(validation_accuracies(runs)[0.2, 0.5])
by_class = {"class_counts": [5, 50, 20], "class_accuracy": {"knn1": [1, 2, 3]}}
print(accuracy_by_rank(by_class, "knn1"), accuracy_by_rank({}, "knn1"))
best_setting(runs[1:], protocol)
"""


def test_the_pair_is_chosen_on_runs_that_all_pairs_share(tmp_path):
    path = tmp_path / "grid.json"
    grid = {"temperatures": [0.1, 0.2], "rand_augments": [0.0, 0.5]}
    path.write_text(json.dumps({**TINY, **grid}))
    done = subprocess.run(
        [sys.executable, "-c", CHOICE, str(BENCHMARK), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "(0.2, 0.5) (0.1, 0.0)",
        "(0.8, 2)",
        "[2. 3. 1.] None",  # The largest class first.
    ]
    assert "No run of simclr@0.1 is stored" in done.stderr


GPU = {"backend": "jax", "device": "GPU"}
CPU = {"backend": "tensorflow", "device": "cpu"}


def line(protocol, arm, title, group, order, accuracy, made=GPU):
    """Returns the line of a made-up run: one accuracy for all probes."""
    keys = ("accuracy", "many", "medium", "few", "balancedness")
    scores = dict.fromkeys(keys, accuracy)
    scores = dict.fromkeys(("linear", "few_shot", "knn", "knn1"), scores)
    return {
        "protocol": protocol,
        "digest": protocol,
        "arm": arm,
        "order": order,
        "title": title,
        "group": group,
        "test": scores,
        "validation": scores,
        "tail": {},
        "seconds": 1.0,
        "made": made,
    }


def made_up_runs():
    """Returns a table whose differences to SimCLR are known.

    Of SimCLR, stronger views are best, and the CPU gives 20 points more.
    """
    protocols = {
        name: {**TINY, "name": name, "title": name, "epochs": epochs}
        for name, epochs in (("brief", 5), ("long", 400))
    }
    protocols["long"]["rand_augments"] = [0.0, 0.5]
    rows = [
        {"digest": name, "protocol": protocol}
        for name, protocol in protocols.items()
    ]
    rows.append(
        line("brief", "simclr@0.2", "SimCLR, τ = 0.2", "tuning", 0, 0.6)
    )
    simclr = [0.5, 0.52, 0.53, 0.55, 0.56]
    for order, accuracy in enumerate(simclr):
        rows += [
            line("long", name, title, "tuning", order, accuracy + more)
            for name, title, more in (
                ("simclr@0.2", "SimCLR, τ = 0.2", -0.04),
                ("simclr@0.2v0.5", "SimCLR, τ = 0.2, view strength 0.5", 0.0),
            )
        ]
    rows += [
        line("long", "simclr@0.2v0.5", "-", "tuning", order, more + 0.2, CPU)
        for order, more in enumerate(simclr[:2])
    ]
    chance = [0.0, 0.01, -0.01, 0.0]
    for name, title, group, gain in (
        ("tase", "TASE", "methods", 0.1),
        ("ts", "Temperature Schedules, 0.1 to 1", "methods", -0.1),
        ("ts_around", "TS around", "why", 0.0),
        ("bcl_permuted", "BCL, dealt", "combined", 0.1),
        ("oracle_both", "True counts: both", "ablation", 0.1),
        ("an_arm_that_was_renamed", "Of old", "methods", 0.001),
    ):
        noise = 1.0 if abs(gain) < 0.05 else 0.1
        rows += [
            line("long", name, title, group, order, sum(parts))
            for order, parts in enumerate(
                (simclr[order], gain, noise * chance[order])
                for order in range(4)
            )
        ]
    # Class orders that are too few, and runs elsewhere: SimCLR of the last
    # order was not run on the CPU.
    rows += [
        line("long", "bcl", "BCL", "methods", order, accuracy + 0.03, CPU)
        for order, accuracy in enumerate([0.7, 0.72, 0.53])
    ]
    return rows


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The page of made-up runs."""
    folder = tmp_path_factory.mktemp("made_up")
    packed, page = folder / "packed.jsonl", folder / "page.md"
    packed.write_text("".join(json.dumps(row) + "\n" for row in made_up_runs()))
    done = command("table.py", f"--results={packed}", f"--output={page}")
    assert done.returncode == 0, done.stderr[-2000:]
    return page.read_text()


def test_pairs_are_of_one_device_where_both_were_run_there(made_up):
    part = section(protocol_section(made_up, "long"), "Methods")
    # By the GPU's SimCLR alone it would be 23, 23 and 3 points.
    assert row(part, "BCL")[0] == "+3.0\u00a0±\u00a00.0"
    # BCL 3, SimCLR on plain views 5, three other methods 4 each.
    assert "1 of 20 pairs are of two backends or devices" in part
    others = protocol_section(made_up, "long").replace(part, "")
    assert "of two backends or devices" not in section(others, "Variations")


def protocol_section(text, title):
    """Returns all that a page has about a protocol."""
    (part,) = [
        part
        for part in re.split(r"(?m)^(?=## )", text)
        if part.startswith(f"## {title}\n")
    ]
    return part


def test_gains_are_claimed_by_family_beyond_the_correction(made_up):
    part = section(
        protocol_section(made_up, "long"), "What gains and what loses"
    )
    ours, oracles = part.split("Tested together, ")[1:]
    # Neither the control, nor the oracle, nor BCL with three class orders.
    assert ours.startswith("24 tests of 4 arms: ")
    assert oracles.startswith("6 tests of 1 arm: True counts: both.")
    gains, losses = ours.split("| Losses beyond a Holm-corrected 95 % |")
    assert gains.count("| TASE | ") == losses.count("| Temperature S") == 6
    assert len(re.findall(r"(?m)^\| \w", gains + losses)) == 13  # And a header.
    # t = 10 / (0.0816 / 2) = 245 and 3 degrees of freedom; 24 tests of which
    # the first twelve are as small as each other.
    cells = row(gains, "TASE")
    assert cells[1:] == [
        "+10.0\u00a0±\u00a00.1",
        "1.5e-07",
        "3.6e-06",
        "4",
    ]
    assert oracles.count("| True counts: both | ") == 6
    assert "No oracle loses." in oracles


def test_a_protocol_of_too_few_class_orders_claims_nothing(made_up):
    assert "What gains" not in protocol_section(made_up, "brief")
    cells = row(protocol_section(made_up, "In short"), "brief")
    assert cells == ["0, 0", "–", "–", "–", "–"]


def test_the_summary_shows_long_runs_first_and_what_was_not_run(made_up):
    tables = protocol_section(made_up, "In short").split("\n\n")
    titles = [
        table.split("\n")[0] for table in tables if table.startswith("| ")
    ]
    assert titles[:4] == [
        f"| {number} | long | brief |"
        for number in (
            "few-shot, all",
            "few-shot, few",
            "10-NN, few",
            "1-NN, few",
        )
    ]
    (table,) = [each for each in tables if each.startswith("| 1-NN, few")]
    assert row(table, "TASE") == ["+10.0\u00a0±\u00a00.1", "–"]
    assert row(table, "SimCLR at its best τ on plain views") == [
        "-4.0\u00a0±\u00a00.0",
        "–",
    ]
    # Controls and variations are no methods to choose.
    assert "TS around" not in table
    assert "dealt" not in table


def test_every_arm_that_ran_is_on_the_page(made_up):
    assert not dropped_arms(made_up_runs(), made_up)
    lines = [line for line in made_up.split("\n") if "| Of old |" not in line]
    assert dropped_arms(made_up_runs(), "\n".join(lines)) == {
        ("long", "an_arm_that_was_renamed")
    }


def dropped_arms(rows, text):
    """Returns the protocols and arms of a table that a page does not show."""
    protocols = {
        row["digest"]: row["protocol"] for row in rows if "arm" not in row
    }
    dropped = set()
    for row in rows:
        if "arm" not in row:
            continue
        protocol = protocols[row["digest"]]
        part = protocol_section(text, protocol["title"])
        shown = [f"| {row['title']} |"]
        if row["group"] == "tuning":
            pair = row["arm"].split("@")[1].split("v")
            # A table of one strength has no column of strengths.
            strengths = len(protocol.get("rand_augments", ()))
            pair = [*pair, "0"][: 2 if strengths > 1 else 1]
            shown = [f"\n| {' | '.join(pair)} |"]
        if row["group"] == "tail":
            shown = [f"\n{row['title']}, class orders: "]
        if not any(each in part for each in shown):
            dropped.add((protocol["name"], row["arm"]))
    return dropped


def claims_module():
    path = BENCHMARK / "claims.py"
    spec = importlib.util.spec_from_file_location("long_tail_claims", path)
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_holm_corrects_as_by_hand():
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2 and 0.04 x 1, which is below the
    # one before and so gets its value.
    corrected = claims_module().holm([0.04, 0.01, 0.03, 0.005])
    np.testing.assert_allclose(corrected, [0.06, 0.03, 0.06, 0.02])
    np.testing.assert_allclose(claims_module().holm([0.6, 0.7]), [1.0, 1.0])
    assert len(claims_module().holm([])) == 0


def test_p_values_are_those_of_a_paired_t_test():
    # Mean 2, standard error 1 / sqrt(3): t = 3.4641 and 2 degrees of freedom,
    # whose p is 1 - t / sqrt(t² + 2) = 1 - sqrt(6 / 7).
    p = claims_module().paired_p([1.0, 2.0, 3.0])
    assert p == pytest.approx(1 - np.sqrt(6 / 7))
    assert claims_module().paired_p([-3.0, -2.0, -1.0]) == pytest.approx(p)
    # Equal numbers do not show what chance does.
    assert claims_module().paired_p([2.0, 2.0, 2.0]) == 1.0


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="source archives leave the runs out"
)
def test_the_page_holds_what_the_stored_runs_say():
    done = command("table.py", "--check")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="source archives leave the runs out"
)
def test_every_stored_arm_is_on_the_page_of_results():
    packed = (BENCHMARK / "results.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in packed.splitlines()]
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert len({row["arm"] for row in rows if "arm" in row}) > 30
    assert not dropped_arms(rows, page)
