r"""Prints what the stored runs of the long-tail benchmark say.

    python benchmarks/long_tail/table.py           # writes docs/benchmark.md
    python benchmarks/long_tail/table.py --check   # is it up to date?

It reads `results.jsonl`, or what `--results` names: another packed table, or
the folder in which `run.py` left raw runs. Differences to SimCLR are taken
within a class order, where both runs share the split, the initial weights and
the batches. Beside the mean stands half of its 95 % confidence interval over
class orders (Student's t).
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from protocol import HERE, as_protocol
from scipy import stats
from stored import (
    PACKED,
    best_setting,
    read_all,
    tuning_name,
    validation_accuracies,
)

from keras_ltssl.evaluation.tables import table

ROOT = HERE.parents[1]
PLUS_MINUS = "\u00a0±\u00a0"  # Does not break at the end of a line.
LEAST_ORDERS = 3  # For an interval in the summary.
# A group of arms, its title, and the methods that it is about.
SECTIONS = (
    ("methods", "Methods", ()),
    ("combined", "Several methods", ("bcl", "gh", "colt", "tase")),
    ("newer", "Newer methods", ("gh",)),
    ("weights", "Weights without labels", ("oracle_weights_1",)),
    ("plain", "On plain views", ()),
    ("why", "Variations", ("ts", "gh", "colt")),
    ("ablation", "What TASE's parts bring", ("tase",)),
)
COLUMNS = (
    ("linear, all", "linear", "accuracy"),
    ("linear, few", "linear", "few"),
    ("few-shot, all", "few_shot", "accuracy"),
    ("few-shot, many", "few_shot", "many"),
    ("few-shot, medium", "few_shot", "medium"),
    ("few-shot, few", "few_shot", "few"),
    ("balancedness", "few_shot", "balancedness"),
    ("10-NN, all", "knn", "accuracy"),
    ("10-NN, few", "knn", "few"),
)

flags.DEFINE_string(
    "results", str(PACKED), "Packed table, or folder of raw runs."
)
flags.DEFINE_string(
    "output", str(ROOT / "docs" / "benchmark.md"), "File of all tables."
)
flags.DEFINE_bool("check", False, "Fail if the file differs, write nothing.")
FLAGS = flags.FLAGS


class Results:
    """The stored runs of one protocol."""

    def __init__(self, runs):
        self.runs = runs
        self.protocol = as_protocol(self.runs[0]["protocol"])
        self.temperature, self.rand_augment = best_setting(
            self.runs, self.protocol
        )
        self.reference = tuning_name(self.temperature, self.rand_augment)
        self.summaries = {}
        for run in self.runs:
            arm = self.summaries.setdefault(run["arm"], {})
            arm[run["order"]] = run["report"].summary()

    def orders(self, arm):
        """Returns of how many class orders an arm is stored."""
        return len(self.summaries.get(arm, ()))

    def values(self, arm, probe, key):
        """Returns the number of each class order, in percent."""
        return {
            order: 100 * summary[probe][key]
            for order, summary in self.summaries[arm].items()
        }

    def differences(self, arm, probe, key):
        """Returns an arm's numbers less SimCLR's of the same class order."""
        ours = self.values(arm, probe, key)
        theirs = self.values(self.reference, probe, key)
        return [
            ours[order] - theirs[order] for order in ours if order in theirs
        ]

    def arms(self, group, beside=()):
        """Returns names and titles of arms, SimCLR first.

        Those of a group and, where there are any, those to see them beside.
        """
        found = {
            run["arm"]: run["title"]
            for run in self.runs
            if run["group"] == group
        }
        if found:
            found |= {
                run["arm"]: run["title"]
                for run in self.runs
                if run["arm"] in beside
            }
        order = {name: place for place, name in enumerate(all_arms())}
        names = sorted(found, key=order.get)
        title = f"SimCLR, τ = {self.temperature:g}, the best fixed one"
        if len(self.protocol.rand_augments) > 1:
            title = (
                f"SimCLR, τ = {self.temperature:g}, view strength "
                f"{self.rand_augment:g}, the best pair"
            )
        return {self.reference: title} | {name: found[name] for name in names}


def all_arms():
    import arms

    return arms.ARMS


def interval(values):
    """Returns the mean and half of its 95 % confidence interval."""
    values = np.asarray(values)
    if len(values) < 2:
        return float(values.mean()), float("nan")
    error = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(values.mean()), float(error)


def signed(values):
    mean, half = interval(values)
    return (
        f"{mean:+.1f}"
        if np.isnan(half)
        else f"{mean:+.1f}{PLUS_MINUS}{half:.1f}"
    )


def spread(values):
    values = list(values)
    if len(values) < 2:
        return f"{values[0]:.1f}"
    return f"{np.mean(values):.1f}{PLUS_MINUS}{np.std(values, ddof=1):.1f}"


def tuning_table(results):
    # A column of view strengths only where they were tuned.
    shown = 2 if len(results.protocol.rand_augments) > 1 else 1
    rows = [
        [
            *(f"{value:g}" for value in pair[:shown]),
            f"{100 * accuracy:.1f}",
            spread(
                results.values(
                    tuning_name(*pair), "few_shot", "accuracy"
                ).values()
            ),
            str(count),
        ]
        for pair, (accuracy, count) in validation_accuracies(
            results.runs
        ).items()
    ]
    header = [
        *("fixed τ", "view strength")[:shown],
        *("few-shot, validation", "few-shot, test", "runs"),
    ]
    return table(header, rows, "markdown")


def arm_table(results, arms):
    rows = []
    for arm, title in arms.items():
        numbers = [
            spread(results.values(arm, probe, key).values())
            for _, probe, key in COLUMNS
        ]
        rows.append([title, *numbers, str(results.orders(arm))])
    header = ["accuracy in %", *(title for title, _, _ in COLUMNS), "runs"]
    return table(header, rows, "markdown")


def difference_table(results, arms):
    rows = [
        [
            title,
            *(
                signed(results.differences(arm, probe, key))
                for _, probe, key in COLUMNS
            ),
        ]
        for arm, title in arms.items()
        if arm != results.reference
    ]
    header = ["points, to SimCLR", *(title for title, _, _ in COLUMNS)]
    return table(header, rows, "markdown")


def tail_table(results):
    """How well estimates without labels find the tail, during SimCLR."""
    seen = {}
    for run in results.runs:
        if run["group"] == "tail":
            for epoch, found in run["tail"].items():
                for name, values in found.items():
                    seen.setdefault(name, {}).setdefault(int(epoch), []).append(
                        values
                    )
    if not seen:
        return ""
    epochs = sorted({epoch for found in seen.values() for epoch in found})

    def cell(values):
        correlation, auc = np.mean(values, axis=0)
        return f"{correlation:+.2f}, {auc:.2f}"

    last = epochs[-1]
    rows = [
        [
            name,
            *(cell(found[epoch]) if epoch in found else "" for epoch in epochs),
            f"{np.std(found[last], axis=0)[1]:.2f}"
            if len(found[last]) > 1
            else "–",
        ]
        for name, found in sorted(
            seen.items(), key=lambda item: -np.mean(item[1][last], axis=0)[1]
        )
    ]
    header = [
        "rank correlation, AUC",
        *(f"epoch {epoch}" for epoch in epochs),
        "std of the last AUC",
    ]
    return table(header, rows, "markdown")


def page(everything):
    """Returns the page of all tables."""
    parts = [
        "# Results of the long-tail benchmark",
        "Made by `table.py` from `results.jsonl`; do not edit. "
        "Accuracies in %, mean ± standard deviation over class orders. "
        "Differences to SimCLR in points, mean ± half of the 95 % confidence "
        "interval, paired by class order (the same split, initial weights and "
        "batches). *few*: classes of the rarest third. Balancedness: standard "
        "deviation of the three groups of the few-shot probe; lower is more "
        "balanced. Estimates of headness: Spearman's rank correlation with the "
        "true size of a sample's class, and the AUC with which they find the "
        "samples of the rarest third. A protocol whose arms have fewer runs "
        "than it has class orders is not finished: its intervals are wide, "
        "and nothing is claimed from it.",
        "## In short",
        "Few-shot: a linear probe on ten labels a class.",
        summary(everything),
    ]
    for results in everything:
        protocol = results.protocol
        made = {
            (run["made"]["backend"], run["made"]["device"])
            for run in results.runs
        }
        where = "; ".join(f"{b} on {d}" for b, d in sorted(made))
        parts += [
            f"## {protocol.title}",
            f"{protocol.note} {protocol.backbone}, {protocol.epochs} epochs, "
            f"batches of {protocol.batch_size}, {protocol.optimizer}, learning "
            f"rate {protocol.learning_rate:g}. {len(results.runs)} runs, "
            f"{where}.",
            f"### Choosing the fixed τ: {results.temperature:g}",
            tuning_table(results),
        ]
        for group, title, beside in SECTIONS:
            arms = results.arms(group, beside)
            if len(arms) > 1:
                parts += [
                    f"### {title}",
                    arm_table(results, arms),
                    difference_table(results, arms),
                ]
        tail = tail_table(results)
        if tail:
            parts += ["### Is the tail seen without labels?", tail]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def summary(everything):
    """Returns one table of all sets: few-shot accuracy of all and of few.

    It has the protocols for which every method was run.
    """
    titles = {}
    for results in everything:
        titles |= results.arms("methods")
        del titles[results.reference]
    names = sorted(titles, key=list(all_arms()).index)
    header = ["few-shot accuracy"]
    rows = {"simclr": ["SimCLR at its best fixed τ, in %"]}
    rows |= {arm: [titles[arm]] for arm in names}
    for results in everything:
        if any(results.orders(arm) < LEAST_ORDERS for arm in names):
            continue
        for word, key in (("all", "accuracy"), ("few", "few")):
            header.append(f"{results.protocol.title}, {word}")
            values = results.values(results.reference, "few_shot", key)
            rows["simclr"].append(f"{np.mean(list(values.values())):.1f}")
            for arm in names:
                rows[arm].append(
                    signed(results.differences(arm, "few_shot", key))
                )
    return table(header, list(rows.values()), "markdown").strip()


def main(_):
    everything = [
        Results(runs) for runs in read_all(Path(FLAGS.results)).values()
    ]
    output, text = Path(FLAGS.output), page(everything)
    if FLAGS.check:
        if not output.exists() or output.read_text() != text:
            sys.exit(f"Not what the stored runs say: {output}")
        return
    output.write_text(text)
    print(output)


if __name__ == "__main__":
    app.run(main)
