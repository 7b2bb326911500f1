r"""Prints what the stored runs of the long-tail benchmark say.

    python benchmarks/long_tail/table.py           # writes docs/benchmark.md
    python benchmarks/long_tail/table.py --check   # is it up to date?

It reads `results.jsonl`, or what `--results` names: another packed table, or
the folder in which `run.py` left raw runs. Differences to SimCLR are taken
within a class order, where both runs share the split and the batches, and
within a backend and a device where SimCLR was run there. Beside the mean stands
half of its 95 % confidence interval over class orders (Student's t). What is
said to gain does so beyond Holm's correction for all that was compared.
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from arms import ARMS
from claims import LEAST_CLAIMED, Family, interval
from paired import Results, mean
from protocol import HERE
from stored import (
    PACKED,
    place_of,
    read_all,
    tuning_name,
    validation_accuracies,
)

from keras_ltssl.evaluation.tables import table

ROOT = HERE.parents[1]
PLUS_MINUS = "\u00a0±\u00a0"  # Does not break at the end of a line.
LEAST_SHOWN = 2  # Class orders of an arm in the summary.
NONE = "–"
# A group of arms, its title, and the methods that it is about.
SECTIONS = (
    ("methods", "Methods", ()),
    ("combined", "Several methods", ("bcl", "gh", "colt", "tase")),
    ("newer", "Newer methods", ("gh",)),
    ("weights", "Weights without labels", ("oracle_weights_1",)),
    ("global", "A contrast with all samples", ()),
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
    ("1-NN, all", "knn1", "accuracy"),
    ("1-NN, few", "knn1", "few"),
)
# A probe that is trained on the long-tailed labels.
LONG_TAILED = (
    ("all", "long_tailed", "accuracy"),
    ("many", "long_tailed", "many"),
    ("medium", "long_tailed", "medium"),
    ("few", "long_tailed", "few"),
)
CLAIMED = tuple(
    column
    for column in COLUMNS
    if column[1] in ("few_shot", "knn", "knn1")
    and column[2] in ("accuracy", "few")
)
IN_SHORT = ("few-shot, all", "few-shot, few", "10-NN, few", "1-NN, few")

flags.DEFINE_string(
    "results", str(PACKED), "Packed table, or folder of raw runs."
)
flags.DEFINE_string(
    "output", str(ROOT / "docs" / "benchmark.md"), "File of all tables."
)
flags.DEFINE_bool("check", False, "Fail if the file differs, write nothing.")
FLAGS = flags.FLAGS


def signed(values):
    values = list(values)
    if not values:
        return NONE
    center, half = interval(values)
    return (
        f"{center:+.1f}"
        if np.isnan(half)
        else f"{center:+.1f}{PLUS_MINUS}{half:.1f}"
    )


def spread(values):
    values = list(values)
    if not values:
        return NONE
    if len(values) < 2:
        return f"{values[0]:.1f}"
    return f"{np.mean(values):.1f}{PLUS_MINUS}{np.std(values, ddof=1):.1f}"


def tuning_title(results):
    title = f"### Choosing the fixed τ: {results.temperature:g}"
    if len(results.protocol.rand_augments) > 1:
        title += f", and the strength of views: {results.rand_augment:g}"
    return title


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
        *("few-shot, validation", "few-shot, test", "orders"),
    ]
    return table(header, rows, "markdown")


def arm_table(results, arms):
    rows = [
        [
            results.titles[arm],
            *(
                spread(results.values(arm, *place).values())
                for _, *place in COLUMNS
            ),
            str(results.orders(arm)),
        ]
        for arm in arms
    ]
    header = ["accuracy in %", *(title for title, *_ in COLUMNS), "orders"]
    return table(header, rows, "markdown")


def difference_table(results, arms):
    rows = [
        [
            results.titles[arm],
            *(
                signed(results.differences(arm, *place).values())
                for _, *place in COLUMNS
            ),
        ]
        for arm in arms
        if arm != results.reference
    ]
    header = ["points, to SimCLR", *(title for title, *_ in COLUMNS)]
    return table(header, rows, "markdown") + note(results, arms)


def note(results, arms):
    """Returns a line for how many pairs SimCLR was run elsewhere, if any."""
    pairs, across = results.pairs(arms)
    if not across:
        return ""
    return (
        f"\n\n{across} of {pairs} pairs are of two backends or devices: SimCLR "
        "of that class order was not run where the arm was."
    )


def long_tailed_table(results):
    """How a probe does that is trained on the long-tailed labels."""
    arms = [
        arm
        for arm in (
            results.reference,
            results.plain,
            *results.names(("method", "variation", "control", "oracle"))[1:],
        )
        if arm is not None and results.values(arm, *LONG_TAILED[0][1:])
    ]
    if not arms:
        return ""
    rows = [
        [
            results.titles[arm],
            *(
                spread(results.values(arm, *place).values())
                for _, *place in LONG_TAILED
            ),
            *(
                NONE
                if arm == results.reference
                else signed(results.differences(arm, *place).values())
                for _, *place in LONG_TAILED
            ),
        ]
        for arm in arms
    ]
    header = [
        "accuracy in %",
        *(title for title, *_ in LONG_TAILED),
        *(f"{title}, to SimCLR" for title, *_ in LONG_TAILED),
    ]
    return table(header, rows, "markdown") + note(results, arms)


def claims(results):
    """Returns the tables of what gains and loses beyond the correction."""
    parts = []
    for whose, family in families(results):
        if not family.arms:
            continue
        names = ", ".join(results.titles[arm] for arm in family.arms)
        parts.append(
            f"Tested together, {len(family.tests)} tests of "
            f"{len(family.arms)} {'arm' if len(family.arms) == 1 else 'arms'}: "
            f"{names}."
        )
        for title, verb, found in (
            ("Gains", "gains", family.gains),
            ("Losses", "loses", family.losses),
        ):
            if not found:
                parts.append(f"No {whose} {verb}.")
                continue
            header = [
                f"{title} beyond a Holm-corrected 95 %",
                *("number", "points, to SimCLR", "p", "p, corrected"),
                "orders",
            ]
            rows = [
                [
                    results.titles[test.arm],
                    test.number,
                    signed(test.differences),
                    f"{test.p:.2g}",
                    f"{test.corrected:.2g}",
                    str(len(test.differences)),
                ]
                for test in found
            ]
            parts.append(table(header, rows, "markdown"))
    return "\n\n".join(parts)


def families(results):
    """Returns what is tested together, by the word for an arm of it."""
    return (
        ("arm", Family(results, ("method", "variation"), CLAIMED)),
        ("oracle", Family(results, ("oracle",), CLAIMED)),
    )


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
    watched = "; ".join(
        f"{results.titles[arm]}, class orders: {results.orders(arm)}"
        for arm in results.names(groups=("tail",))[1:]
    )
    header = [
        "rank correlation, AUC",
        *(f"epoch {epoch}" for epoch in epochs),
        "std of the last AUC",
    ]
    return f"{watched}.\n\n{table(header, rows, 'markdown')}"


def page(everything):
    """Returns the page of all tables."""
    parts = [
        "# Results of the long-tail benchmark",
        "Made by `table.py` from `results.jsonl`; do not edit. "
        "Accuracies in %, mean ± standard deviation over class orders. "
        "Differences to SimCLR in points, mean ± half of the 95 % confidence "
        "interval, paired by class order (the same split and batches, and on "
        "one backend and device the same initial weights). *few*: classes of "
        "the rarest third. Balancedness: standard "
        "deviation of the three groups of the few-shot probe; lower is more "
        "balanced. Estimates of headness: Spearman's rank correlation with the "
        "true size of a sample's class, and the AUC with which they find the "
        "samples of the rarest third. A protocol whose arms have fewer orders "
        "than it has class orders is not finished: its intervals are wide.",
        "## In short",
        "Points to tuned SimCLR, paired as above; long runs first. Few-shot: a "
        "linear probe on ten labels a class. 10-NN and 1-NN: the long-tailed "
        f"training set votes. {NONE}: fewer than {LEAST_SHOWN} class orders. "
        "Each interval is of one number alone; the last table corrects for how "
        "many there are.",
        summary(everything),
    ]
    for results in everything:
        protocol = results.protocol
        where = "; ".join(
            f"{backend} on {device}"
            for backend, device in sorted(
                {place_of(run) for run in results.runs}
            )
        )
        parts += [
            f"## {protocol.title}",
            f"{protocol.note} {protocol.backbone}, {protocol.epochs} epochs, "
            f"batches of {protocol.batch_size}, {protocol.optimizer}, learning "
            f"rate {protocol.learning_rate:g}. {len(results.runs)} runs, "
            f"{where}.",
            tuning_title(results),
            tuning_table(results),
        ]
        found = claims(results)
        if found:
            parts += ["### What gains and what loses", found]
        for group, title, beside in SECTIONS:
            arms = results.names(groups=(group,), beside=beside)
            if group == "methods" and results.plain:
                arms.insert(1, results.plain)
            if len(arms) > 1:
                parts += [
                    f"### {title}",
                    arm_table(results, arms),
                    difference_table(results, arms),
                ]
        probe = long_tailed_table(results)
        if probe:
            parts += [
                "### A linear probe on the long-tailed labels",
                probe,
            ]
        tail = tail_table(results)
        if tail:
            parts += ["### Is the tail seen without labels?", tail]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def summary(everything):
    """Returns a table of all sets for each number, and what is claimed."""
    everything = sorted(
        everything, key=lambda results: -results.protocol.epochs
    )
    titles = {}
    for results in everything:
        for arm in results.names(("method",), ("methods",))[1:]:
            if results.orders(arm) >= LEAST_SHOWN:
                titles.setdefault(arm, results.titles[arm])
    names = sorted(titles, key=[*ARMS, *titles].index)
    parts = []
    for title, *place in COLUMNS:
        if title not in IN_SHORT:
            continue
        rows = [
            [
                "SimCLR at its best τ and views, in %",
                *(
                    f"{mean(results.values(results.reference, *place)):.1f}"
                    for results in everything
                ),
            ]
        ]
        if any(results.plain for results in everything):
            rows.append(
                [
                    "SimCLR at its best τ on plain views",
                    *(
                        signed(
                            results.differences(results.plain, *place).values()
                        )
                        for results in everything
                    ),
                ]
            )
        rows += [
            [
                titles[arm],
                *(
                    signed(found.values())
                    if len(found) >= LEAST_SHOWN
                    else NONE
                    for found in (
                        results.differences(arm, *place)
                        for results in everything
                    )
                ),
            ]
            for arm in names
        ]
        header = [title, *(results.protocol.title for results in everything)]
        parts.append(table(header, rows, "markdown"))
    return "\n\n".join([*parts, claims_in_short(everything)])


def claims_in_short(everything):
    """Returns what gains and what loses on each set, beyond the correction."""
    text = (
        "Beyond a Holm-corrected 95 %, of paired two-sided t tests to SimCLR. "
        f"A family are all arms of at least {LEAST_CLAIMED} class orders of a "
        "set, but for tuning, controls and oracles, and "
        f"{len(CLAIMED)} numbers of each: "
        f"{', '.join(title.replace(',', '') for title, *_ in CLAIMED)}. "
        f"Oracles are a family of their own. {NONE}: no arm has "
        f"{LEAST_CLAIMED} class orders."
    )
    rows = []
    for results in everything:
        (_, arms), (_, oracles) = families(results)
        rows.append(
            [
                results.protocol.title,
                f"{len(arms.arms)}, {len(arms.tests)}",
                *(
                    in_short(results, found) if family.arms else NONE
                    for family in (arms, oracles)
                    for found in (family.gains, family.losses)
                ),
            ]
        )
    header = [
        *("", "arms, tests", "gain", "lose", "oracles that gain"),
        "oracles that lose",
    ]
    return f"{text}\n\n{table(header, rows, 'markdown')}"


def in_short(results, found):
    """Returns the arms of some tests, with the numbers of each."""
    numbers = {}
    for test in found:
        numbers.setdefault(test.arm, []).append(test.number.replace(",", ""))
    return (
        "; ".join(
            f"{results.titles[arm]}: {', '.join(names)}"
            for arm, names in numbers.items()
        )
        or "none"
    )


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
