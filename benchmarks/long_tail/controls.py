"""Controls and oracles, which help to understand what the methods do."""

import keras
import numpy as np
from keras import ops
from scipy.cluster import hierarchy

import keras_ltssl as lt


class RandomChoice(keras.callbacks.Callback):
    """Takes the whole budget from the pool at random, once."""

    def __init__(self, data, start):
        super().__init__()
        self.data, self.start = data, start

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= self.start and not len(self.data.chosen):
            random = np.random.default_rng(0)
            self.data.chosen = random.choice(
                len(self.data.pool_rows), self.data.budget, replace=False
            )


@keras.saving.register_keras_serializable(package="long_tail_benchmark")
class PermutedHeadness(lt.layers.MixedHeadness):
    """TASE's headness, each sample's given to the next one of the batch.

    Batches are shuffled, so that this is a random permutation: the same
    temperatures, to the wrong samples.
    """

    def estimate(self, assignment):
        return ops.roll(super().estimate(assignment), 1)


@keras.saving.register_keras_serializable(package="long_tail_benchmark")
class KnownHeadness(lt.layers.Headness):
    """A headness that is given for every sample id."""

    def __init__(self, values, **kwargs):
        super().__init__(**kwargs)
        self.values = values

    def estimate(self, assignment):
        values = ops.convert_to_tensor(np.asarray(self.values, "float32"))
        return ops.take(values, assignment.ids)

    def get_config(self):
        return {**super().get_config(), "values": self.values}


@keras.saving.register_keras_serializable(package="long_tail_benchmark")
class KnownWeights(lt.losses.WrappingLoss):
    """A loss whose samples have given weights, of mean 1 over the batch."""

    def __init__(self, base_loss, weights, **kwargs):
        super().__init__(base_loss, **kwargs)
        self.weights = weights

    @property
    def requirements(self):
        return super().requirements | lt.losses.Requirements(ids=True)

    def per_sample(self, step):
        losses = self.base_loss.per_sample(step)
        table = ops.convert_to_tensor(np.asarray(self.weights, "float32"))
        weights = ops.take(table, step.ids)
        return losses * ops.cast(weights / ops.mean(weights), losses.dtype)

    def get_config(self):
        return {**super().get_config(), "weights": self.weights}


@keras.saving.register_keras_serializable(package="long_tail_benchmark")
class PermutedBoostedLoss(lt.losses.BoostedLoss):
    """BCL, each sample's weight given to the next one of the batch."""

    def weights_of(self, ids):
        return ops.roll(super().weights_of(ids), 1)


def cluster_weights(images, clusters=60, limit=10.0):
    """Returns the inverse size of each image's cluster, mean 1, limited.

    Clusters by average linkage of the pixels, as unit vectors.
    """
    pixels = images.reshape(len(images), -1).astype("float32")
    pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-12)
    labels = hierarchy.fcluster(
        hierarchy.linkage(pixels, "average"), clusters, "maxclust"
    )
    weights = 1.0 / class_sizes(labels)
    return np.minimum(weights / weights.mean(), limit)


def class_sizes(labels):
    """Returns of each sample how many samples its class has."""
    _, index, counts = np.unique(
        labels, return_inverse=True, return_counts=True
    )
    return counts[index]


def midranks(values):
    """Returns the rank of each value in [0, 1], 0.5 on average."""
    _, index, counts = np.unique(
        values, return_inverse=True, return_counts=True
    )
    return ((np.cumsum(counts) - counts / 2) / counts.sum())[index].tolist()
