"""Time and memory of COLT's choice beside a full sort for every cluster.

    python benchmarks/ood_choice.py --pool 300000 --budget 10000

Both choose from the same float32 pool with given centers, interleaved in one
process so that a noisy machine hurts both alike; medians, their ratio, and the
peak of what each allocates above its inputs. The choice is compared with that
of full sorts in float64. k-means on the in-distribution embeddings is timed
apart, once for each engine that is installed. Prints JSON and stores it in
`--output`.
"""

import importlib.util
import json
import os
import statistics
import time
import tracemalloc
from pathlib import Path

import numpy as np
from absl import app, flags

from keras_ltssl.samplers import kmeans, nearest_to_centers

flags.DEFINE_integer("pool", 300_000, "Rows of the pool.", lower_bound=1)
flags.DEFINE_integer("dim", 128, "Features of a row.", lower_bound=1)
flags.DEFINE_integer("clusters", 10, "Number of centers.", lower_bound=2)
flags.DEFINE_integer("budget", 10_000, "Rows to choose.", lower_bound=0)
flags.DEFINE_integer("id_samples", 12_000, "Rows to cluster.", lower_bound=1)
flags.DEFINE_integer("repeats", 9, "Timed rounds.", lower_bound=3)
flags.DEFINE_string("output", "runs/bench", "Folder for the JSON file.")
FLAGS = flags.FLAGS


def full_sorts(pool, centers, budgets):
    """The choice as one would write it down."""
    rows = pool / np.linalg.norm(pool, axis=1, keepdims=True)
    units = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    cosines = rows @ units.T
    free = np.ones(len(pool), bool)
    chosen = []
    for cluster, budget in enumerate(budgets):
        order = np.argsort(-cosines[:, cluster], kind="stable")
        nearest = order[free[order]][:budget]
        free[nearest] = False
        chosen.append(nearest)
    return np.concatenate(chosen)


def peak_mebibytes(call):
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(peak / 2**20, 1)


def interleaved_medians(calls):
    """Median seconds of each call; the first round only warms up."""
    times = {name: [] for name in calls}
    for round_ in range(FLAGS.repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main(_):
    random = np.random.default_rng(0)
    shape = (FLAGS.pool, FLAGS.dim)
    pool = random.standard_normal(shape, dtype="float32")
    groups = random.standard_normal((FLAGS.clusters, FLAGS.dim), "float32")
    samples = groups[random.integers(FLAGS.clusters, size=FLAGS.id_samples)]
    samples += 2 * random.standard_normal(samples.shape, dtype="float32")
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    # Unequal budgets, as scores give them.
    parts = np.exp(random.standard_normal(FLAGS.clusters))
    budgets = np.floor(FLAGS.budget * parts / parts.sum()).astype("int64")
    budgets[-1] += FLAGS.budget - budgets.sum()

    engines = ["sklearn"]
    if importlib.util.find_spec("faiss"):
        engines.append("faiss")
    _, centers = kmeans(samples, FLAGS.clusters, engine="sklearn")
    choosing = {
        "nearest_to_centers": lambda: nearest_to_centers(
            pool, centers, budgets
        ),
        "full sorts": lambda: full_sorts(pool, centers, budgets),
    }
    clustering = {
        engine: lambda engine=engine: kmeans(
            samples, FLAGS.clusters, engine=engine
        )
        for engine in engines
    }
    chosen, plain = (call() for call in choosing.values())
    exact = full_sorts(
        pool.astype("float64"), centers.astype("float64"), budgets
    )
    seconds = interleaved_medians(choosing)
    cluster_seconds = interleaved_medians(clustering)
    result = {
        "cores": os.cpu_count(),
        "numpy": np.__version__,
        "pool": list(shape),
        "clusters": FLAGS.clusters,
        "budget": FLAGS.budget,
        "repeats": FLAGS.repeats,
        "milliseconds": {
            name: round(1000 * value, 1) for name, value in seconds.items()
        },
        "times_faster": round(
            seconds["full sorts"] / seconds["nearest_to_centers"], 2
        ),
        "peak_mebibytes_above_inputs": {
            name: peak_mebibytes(call) for name, call in choosing.items()
        },
        "same_choice_as_full_sorts_in_float64": bool(
            np.array_equal(chosen, exact)
        ),
        # Full sorts of float32 swap rows whose cosines differ by rounding.
        "same_rows_as_full_sorts": bool(
            np.array_equal(np.sort(chosen), np.sort(plain))
        ),
        "share_at_the_same_place_as_full_sorts": float(
            np.mean(chosen == plain)
        ),
        "kmeans_milliseconds": {
            engine: round(1000 * value, 1)
            for engine, value in cluster_seconds.items()
        },
        "kmeans_rows": [FLAGS.id_samples, FLAGS.dim],
    }
    text = json.dumps(result, indent=2)
    print(text)
    output = Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "ood_choice.json").write_text(text + "\n")


if __name__ == "__main__":
    app.run(main)
