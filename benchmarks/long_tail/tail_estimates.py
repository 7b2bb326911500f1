"""Can the tail be seen without labels? Measured during training, with them."""

import keras
import numpy as np
from scipy.cluster import hierarchy

import keras_ltssl as lt

AT = (0.1, 0.25, 0.5, 1.0)  # Of the epochs.
CLUSTERS = (10, 50, 200)
NEIGHBORS = (10, 50)
TAILNESS_PASSES = 4
LINKED = 5_000  # Linkage holds all pairs.


class TailEstimates(keras.callbacks.Callback):
    """Compares estimates of headness with the true sizes of the classes.

    `agreements` holds for each epoch that it looked at, as text, the rank
    correlation and the AUC of each estimate (`evaluation.tail_agreement`).
    """

    def __init__(self, images, labels, epochs, temperature, augmenter):
        super().__init__()
        self.images, self.labels = images, labels
        self.temperature, self.augmenter = temperature, augmenter
        self.at = {max(1, round(part * epochs)) for part in AT}
        self.agreements = {}
        self._network = None

    def get_state(self):
        """Returns what `ResumableCheckpoint` saves."""
        rows = [
            (int(epoch), name, *values)
            for epoch, found in self.agreements.items()
            for name, values in found.items()
        ]
        return {"agreements": np.array(rows, dtype="U64")}

    def set_state(self, state):
        self.agreements = {}
        for epoch, name, *values in state["agreements"].tolist():
            found = self.agreements.setdefault(epoch, {})
            found[name] = [float(value) for value in values]

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 not in self.at:
            return
        model = self.model  # On JAX, this brings its weights up to date.
        if self._network is None:
            self._network = keras.Model(
                model.encoder.inputs,
                [
                    model.encoder.outputs[0],
                    model.projector(model.encoder.outputs[0]),
                ],
            )
        features, projections = (
            unit(rows) for rows in self._embed(self._network)
        )
        found = {
            **estimates(features, "backbone"),
            **estimates(projections, "projection"),
            "GH's prior, projection": prior_shares(projections),
            "COLT's tailness, projection": self._tailness(),
        }
        if epoch + 1 == max(self.at):
            pixels = self.images.reshape(len(self.images), -1)
            found |= estimates(unit(pixels.astype("float32")), "pixels")
        self.agreements[str(epoch + 1)] = {
            name: [
                round(value, 4)
                for value in lt.evaluation.tail_agreement(scores, self.labels)
            ]
            for name, scores in found.items()
        }

    def _embed(self, network):
        parts = [
            network.predict_on_batch(self.images[start : start + 512])
            for start in range(0, len(self.images), 512)
        ]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    def _tailness(self):
        """COLT's tailness in batches of random views, the mean of passes."""
        random = np.random.default_rng(0)
        count, size = len(self.images), min(256, len(self.images))
        total = np.zeros(count)
        for _ in range(TAILNESS_PASSES):
            # The last ones join their batch from the beginning, to fill it.
            order = np.resize(
                random.permutation(count), -(-count // size) * size
            )
            for rows in order.reshape(-1, size):
                views = keras.ops.convert_to_numpy(
                    self.augmenter(self.images[rows], training=True)
                )
                flat = views.reshape(-1, *views.shape[2:])
                z = self._network.predict_on_batch(flat)[1]
                scores = lt.losses.tail_score(
                    z.reshape(size, 2, -1).astype("float32"), self.temperature
                )
                total[rows] = total[rows] + keras.ops.convert_to_numpy(scores)
        return total


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def estimates(units, space):
    """Returns estimates of headness from unit vectors, by name."""
    found = {}
    for clusters in CLUSTERS:
        if clusters * 2 > len(units):
            continue
        labels, centers = lt.samplers.kmeans(units, clusters, seed=0)
        sizes = np.bincount(labels, minlength=clusters)
        found[f"share of {clusters} clusters"] = sizes[labels]
        found[f"typicality of {clusters} clusters"] = np.sum(
            units * unit(centers)[labels], axis=1
        )
    found["share of 30 clusters, mean of 5"] = np.mean(
        [shares(units, 30, seed) for seed in range(5)], axis=0
    )
    for count in NEIGHBORS:
        found[f"density of {count} neighbors"] = (
            lt.evaluation.headness_estimate(units, num_neighbors=count)
        )
    for name in ("kernel_density", "adaptive_mass", "rank_mean"):
        found[name.replace("_", " ")] = lt.evaluation.headness_estimate(
            units, name
        )
    if len(units) <= LINKED:
        found["average linkage, 30 clusters"] = linked_shares(units, 30)
    found["share within a radius"] = shares_within_radius(units)
    return {f"{name}, {space}": scores for name, scores in found.items()}


def shares(units, clusters, seed):
    labels, _ = lt.samplers.kmeans(units, clusters, seed=seed)
    return np.bincount(labels, minlength=clusters)[labels] / len(units)


def linked_shares(units, clusters):
    labels = hierarchy.fcluster(
        hierarchy.linkage(units, "average"), clusters, "maxclust"
    )
    return np.bincount(labels)[labels] / len(units)


def shares_within_radius(units):
    """Returns the share of others that are as close as 5 % of all pairs."""
    random = np.random.default_rng(0)
    pairs = random.integers(len(units), size=(2, 200_000))
    cosines = np.sum(units[pairs[0]] * units[pairs[1]], axis=1)
    radius = np.quantile(cosines[pairs[0] != pairs[1]], 0.95)
    close = []
    for start in range(0, len(units), 1024):
        cosines = units[start : start + 1024] @ units.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        close.append(np.mean(cosines > radius, axis=1))
    return np.concatenate(close)


def prior_shares(units, targets=100):
    """Returns the share of the target that each sample is nearest to."""
    shape = (targets, units.shape[1])
    vectors = keras.ops.convert_to_numpy(
        lt.initializers.SimplexETF(seed=0)(shape)
    )
    labels = np.argmax(units @ vectors.T, axis=1)
    return np.bincount(labels, minlength=targets)[labels] / len(units)
