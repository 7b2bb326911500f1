"""The stored runs of a protocol, each paired with SimCLR."""

import arms
import numpy as np
from protocol import as_protocol
from stored import accuracy_by_rank, best_setting, place_of, tuning_name


class Results:
    """The stored runs of one protocol.

    Numbers are asked for by probe and key: `"linear"`, `"few_shot"`, `"knn"`,
    `"knn1"` or `"long_tailed"` (labels), and `"accuracy"`, `"many"`,
    `"medium"`, `"few"`, for some `"balancedness"`, or `"by_rank"`, an array.
    """

    def __init__(self, runs):
        self.runs = runs
        self.protocol = as_protocol(self.runs[0]["protocol"])
        self.temperature, self.rand_augment = best_setting(
            self.runs, self.protocol
        )
        self.reference = tuning_name(self.temperature, self.rand_augment)
        self.titles, self.scores = {}, {}
        for run in self.runs:
            self.titles[run["arm"]] = run["title"]
            scores = {
                probe: {**numbers, "by_rank": accuracy_by_rank(run, probe)}
                for probe, numbers in run["report"].summary().items()
            }
            if "long_tailed_probe" in run:
                scores["long_tailed"] = run["long_tailed_probe"]
            places = self.scores.setdefault(run["arm"], {}).setdefault(
                run["order"], {}
            )
            places[place_of(run)] = scores
        self.titles[self.reference] = self.reference_title()
        self.plain = self.best_on_plain_views()

    def reference_title(self):
        title = f"SimCLR, τ = {self.temperature:g}"
        if len(self.protocol.rand_augments) == 1:
            return f"{title}, the best fixed one"
        return f"{title}, view strength {self.rand_augment:g}, the best pair"

    def orders(self, arm):
        """Returns of how many class orders an arm is stored."""
        return len(self.scores.get(arm, ()))

    def by_place(self, arm, probe, key):
        """Returns the numbers of each class order by place, in percent."""
        found = {}
        for order, places in sorted(self.scores.get(arm, {}).items()):
            numbers = {
                place: 100 * scores[probe][key]
                for place, scores in sorted(places.items())
                # Some numbers are younger than some runs.
                if scores.get(probe, {}).get(key) is not None
            }
            if numbers:
                found[order] = numbers
        return found

    def values(self, arm, probe, key):
        """Returns the number of each class order, its mean over places."""
        found = self.by_place(arm, probe, key)
        return {order: mean(numbers) for order, numbers in found.items()}

    def differences(self, arm, probe, key):
        """Returns an arm's numbers less SimCLR's of the same class order.

        Within each place where both were run; where there is none, the means
        over places.
        """
        theirs = self.by_place(self.reference, probe, key)
        return {
            order: difference(ours, theirs[order])
            for order, ours in self.by_place(arm, probe, key).items()
            if order in theirs
        }

    def pairs(self, names):
        """Returns how many pairs arms have, and how many are of two places."""
        theirs = self.scores[self.reference]
        pairs = [
            places.keys() & theirs[order].keys()
            for arm in names
            for order, places in self.scores[arm].items()
            if arm != self.reference and order in theirs
        ]
        return len(pairs), sum(not shared for shared in pairs)

    def best_on_plain_views(self):
        """Returns the name of SimCLR at its best τ on its own views.

        `None` where these are the best ones, or were not run.
        """
        if self.rand_augment == 0 or 0 not in self.protocol.rand_augments:
            return None
        temperature, _ = best_setting(self.runs, self.protocol, 0.0)
        name = tuning_name(temperature)
        self.titles[name] = f"SimCLR, τ = {temperature:g}, on plain views"
        return name

    def names(self, roles=(), groups=(), beside=()):
        """Returns the names of the arms of these roles or groups, SimCLR first.

        And, where there are any, those to see them beside.
        """
        groups_of = {run["arm"]: run["group"] for run in self.runs}
        found = {
            arm
            for arm, group in groups_of.items()
            if group in groups or arms.role(arm, group) in roles
        }
        if found:
            found |= groups_of.keys() & set(beside)
        places = {name: place for place, name in enumerate(arms.ARMS)}
        found = sorted(
            found - {self.reference},
            key=lambda name: (places.get(name, len(places)), name),
        )
        return [self.reference, *found]


def mean(numbers):
    return np.mean(list(numbers.values()), axis=0)


def difference(ours, theirs):
    """Returns the mean difference within places, or that of the means."""
    shared = [ours[place] - theirs[place] for place in ours if place in theirs]
    if shared:
        return np.mean(shared, axis=0)
    return mean(ours) - mean(theirs)
