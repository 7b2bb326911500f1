"""Slow NumPy references in float64: the oracle of every loss.

Written as loops over anchors, straight from the formulas, to be read and not
to be run on anything large.
"""

import numpy as np


def unit(z):
    z = np.asarray(z, "float64")
    length = np.linalg.norm(z, axis=-1, keepdims=True)
    return np.divide(z, length, out=np.zeros_like(z), where=length > 0)


def nt_xent_anchors(z, temperature):
    """Returns the loss of each (sample, view), one anchor at a time."""
    u = unit(z)
    batch = len(u)
    temperature = np.broadcast_to(temperature, (batch,))
    losses = np.zeros((batch, 2))
    for i in range(batch):
        for view in range(2):
            anchor = u[i, view]
            scores = []
            for j in range(batch):
                for other in range(2):
                    if (j, other) != (i, view):
                        scores.append(anchor @ u[j, other] / temperature[i])
            positive = anchor @ u[i, 1 - view] / temperature[i]
            top = max(scores)
            total = sum(np.exp(score - top) for score in scores)
            losses[i, view] = np.log(total) + top - positive
    return losses


def nt_xent(z, temperature):
    return nt_xent_anchors(z, temperature).mean(axis=1)


def focal_nt_xent(z, temperature, gamma):
    losses = nt_xent_anchors(z, temperature)
    return ((1 - np.exp(-losses)) ** gamma * losses).mean(axis=1)


def numerical_gradient(function, z, step=1e-6):
    """Returns d mean(function) / dz by central differences."""
    z = np.array(z, "float64")
    gradient = np.zeros_like(z)
    for index in np.ndindex(*z.shape):
        kept = z[index]
        z[index] = kept + step
        above = function(z).mean()
        z[index] = kept - step
        below = function(z).mean()
        z[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def prototype_update(vectors, shares, units, momentum, empty_share):
    """Replays one step of `layers.Prototypes.update`, sample by sample."""
    count = len(vectors)
    seeded = shares > 0
    similarities = np.where(seeded, units @ vectors.T, -1)
    sums = momentum * shares[:, None] * vectors
    new_shares = momentum * shares
    for row, similarity in zip(units, similarities, strict=True):
        nearest = int(np.argmax(similarity))
        if not seeded[nearest]:
            continue
        sums[nearest] += (1 - momentum) * row / len(units)
        new_shares[nearest] += (1 - momentum) / len(units)
    new_vectors = np.array(
        [
            total / np.linalg.norm(total) if total.any() else vector
            for total, vector in zip(sums, vectors, strict=True)
        ]
    )
    emptiest = np.argsort(new_shares, kind="stable")
    worst = np.argsort(similarities.max(axis=1), kind="stable")
    threshold = empty_share / count
    before = new_shares.copy()
    for rank, prototype in enumerate(emptiest):
        if rank < len(units) and before[prototype] <= threshold:
            new_vectors[prototype] = units[worst[rank]]
            new_shares[prototype] = 1 / count
    return new_vectors, new_shares / new_shares.sum()
