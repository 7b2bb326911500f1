r"""Times the probes on made-up features of many rows, and their memory.

    python benchmarks/probes.py --rows 10000,100000,1280000 --folder /tmp/probes

Features are class means, common directions and noise, in float16 files, sorted
by class as lists of images are. Each probe runs in a process of its own. Memory
is the peak of what the process asked for; pages of the file, which the system
may drop, are not in it.

Agreement: the linear probes in mini-batches stand beside `converged`, which is
the same classifier at its minimum. k-NN stands beside a vote in float64 NumPy
over `--checked` test rows.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from absl import app, flags

flags.DEFINE_list("rows", ["10000", "100000"], "Training rows to try.")
flags.DEFINE_integer("classes", 1000, "Number of classes.")
flags.DEFINE_integer("dim", 512, "Number of features.")
flags.DEFINE_integer("test", 10_000, "Test rows.")
flags.DEFINE_integer("epochs", 10, "Epochs of the mini-batch probe.")
flags.DEFINE_list(
    "probes",
    ["minibatch", "minibatch_sweep", "knn", "few_shot", "converged"],
    "Probes to time. `converged` runs up to 100,000 rows.",
)
flags.DEFINE_integer("checked", 500, "Test rows of the vote in NumPy.")
flags.DEFINE_string("folder", "runs/probes", "Folder of the feature files.")
flags.DEFINE_string("output", "runs/bench/probes.json", "File of the results.")
flags.DEFINE_string("only", None, "PROBE ROWS, for the process of one probe.")
FLAGS = flags.FLAGS

K, LEARNING_RATE, L2 = 10, 0.3, 1e-4


def make(rows, seed, path):
    """Writes features and labels; classes differ in size by up to 100.

    10,000 rows of 1,000 classes are ten of each.
    """
    if path.with_suffix(".labels.npy").exists():
        return
    shape = np.random.default_rng(0)
    means = shape.normal(size=(FLAGS.classes, FLAGS.dim)).astype("float32")
    common = shape.normal(size=(8, FLAGS.dim)).astype("float32")
    shares = np.full(FLAGS.classes, 1.0)
    if seed == 0:
        shares = 100 ** -np.linspace(0, 1, FLAGS.classes)
    # Ten of each class, for few-shot accuracy; what is left is shared out.
    least = min(10, rows // FLAGS.classes)
    left = rows - least * FLAGS.classes
    counts = least + (left * shares / shares.sum()).astype(int)
    counts[0] += rows - counts.sum()  # Rounding.
    labels = np.repeat(np.arange(FLAGS.classes), counts)
    rng = np.random.default_rng([1, seed])
    file = np.lib.format.open_memmap(
        path, mode="w+", dtype="float16", shape=(rows, FLAGS.dim)
    )
    for start in range(0, rows, 2**14):
        chosen = slice(start, start + 2**14)
        size = len(labels[chosen])
        file[chosen] = (
            0.25 * means[labels[chosen]]
            + 0.1 * rng.normal(size=(size, 8)).astype("float32") @ common
            + rng.normal(size=(size, FLAGS.dim)).astype("float32")
        )
    file.flush()
    np.save(path.with_suffix(".labels.npy"), labels)


class Peak(threading.Thread):
    """Watches how much memory this process has asked for, in MiB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = 0
        self.start()

    def run(self):
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    self.peak = max(self.peak, int(line.split()[1]) // 1024)
            time.sleep(0.05)


def measure(probe, rows):
    """Prints time, memory and accuracy of one probe as JSON."""
    import keras

    import keras_ltssl as lt

    folder = Path(FLAGS.folder)
    train, test = [
        (np.load(path, mmap_mode="r"), np.load(path.with_suffix(".labels.npy")))
        for path in (folder / f"{rows}.npy", folder / "test.npy")
    ]
    keras.ops.matmul(np.ones((8, 8), "float32"), np.ones((8, 8), "float32"))
    peak = Peak()
    time.sleep(0.2)
    before, begin = peak.peak, time.perf_counter()
    found = {}
    if probe == "knn":
        result = lt.evaluation.knn_probe(*train, *test, k=K)
    elif probe == "few_shot":
        result = lt.evaluation.few_shot_probe(*train, *test, shots=10, draws=1)
    elif probe == "converged":
        result = lt.evaluation.linear_probe(*train, *test, l2=L2)
    else:
        pairs = {"learning_rates": [LEARNING_RATE], "l2": [L2]}
        sweep = lt.evaluation.minibatch_linear_probe(
            *train,
            *test,
            validation=test,
            epochs=FLAGS.epochs,
            **(pairs if probe == "minibatch" else {}),
        )
        found = {
            "epochs": FLAGS.epochs,
            "learning_rate": sweep.learning_rate,
            "l2": sweep.l2,
        }
        result = sweep.result
    seconds = time.perf_counter() - begin
    counts = np.bincount(train[1])
    groups = result.group_accuracy(counts, "thresholds")
    found |= {
        "probe": probe,
        "rows": rows,
        "backend": keras.backend.backend(),
        "seconds": round(seconds, 1),
        "MiB": peak.peak,
        "MiB before": before,
        "accuracy": round(result.accuracy, 4),
        "few": round(groups.few, 4),
    }
    if probe == "knn":
        checked = np.linspace(0, FLAGS.test - 1, FLAGS.checked).astype(int)
        some = [each[checked] for each in test]
        found["accuracy, some rows"] = round(
            lt.evaluation.knn_probe(*train, *some, k=K).accuracy, 4
        )
        found["accuracy in NumPy"] = round(vote(*train, *some), 4)
    print("RESULT " + json.dumps(found), flush=True)


def vote(bank, bank_labels, test, labels):
    """Returns the mean accuracy of classes of a k-NN vote in float64."""
    test = test.astype("float64")
    test /= np.linalg.norm(test, axis=1, keepdims=True)
    similarities = np.empty((len(test), len(bank)))
    for start in range(0, len(bank), 2**14):
        block = bank[start : start + 2**14].astype("float64")
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        similarities[:, start : start + len(block)] = test @ block.T
    right = np.zeros(len(test))
    for row, similar in enumerate(similarities):
        nearest = np.argpartition(-similar, K)[:K]
        nearest = nearest[np.argsort(-similar[nearest])]
        votes = bank_labels[nearest]
        best = max(
            votes,
            key=lambda label: (
                (votes == label).sum(),
                similar[nearest[votes == label]].sum(),
            ),
        )
        right[row] = best == labels[row]
    return np.mean([right[labels == each].mean() for each in set(labels)])


def main(_):
    if FLAGS.only:
        probe, rows = FLAGS.only.split()
        return measure(probe, int(rows))
    folder = Path(FLAGS.folder)
    folder.mkdir(parents=True, exist_ok=True)
    make(FLAGS.test, 1, folder / "test.npy")
    results = []
    for rows in map(int, FLAGS.rows):
        make(rows, 0, folder / f"{rows}.npy")
        for probe in FLAGS.probes:
            if probe == "converged" and rows > 100_000:
                continue
            done = subprocess.run(
                [sys.executable, *sys.argv, f"--only={probe} {rows}"],
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            line = next(
                line
                for line in done.stdout.splitlines()
                if line.startswith("RESULT ")
            )
            results.append(json.loads(line.removeprefix("RESULT ")))
            print(results[-1], flush=True)
    output = Path(FLAGS.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1) + "\n")
    return None


if __name__ == "__main__":
    app.run(main)
