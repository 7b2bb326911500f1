"""Slow NumPy references in float64: the oracle of every loss and every view.

Written as loops over anchors, straight from the formulas, to be read and not
to be run on anything large.
"""

import colorsys
import math

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


def learning_signs(z, keys=None, predictions=None):
    """Returns what a step logs of whether it learns, anchor by anchor.

    Args:
        z: Projections of two views, or targets where there are predictions.
        keys: The unit vectors in a queue.
        predictions: Those of first views, `(batch, dim)`.
    """
    u = unit(z)
    anchors = u[:, 0] if predictions is None else unit(predictions)
    anchors = anchors[: 128 if keys is None else 64]
    hits, distances, similar = [], [], []
    for i, anchor in enumerate(anchors):
        if keys is None:
            others = [
                u[j, view]
                for j in range(len(u))
                for view in range(2)
                if (j, view) not in ((i, 0), (i, 1))
            ]
        else:
            others = list(keys)
        nearest = max([anchor @ other for other in others], default=-np.inf)
        hits.append(anchor @ u[i, 1] > nearest)
        distances.append(np.sum((anchor - u[i, 1]) ** 2))
        for j, other in enumerate(anchors):
            if i != j:
                similar.append(np.exp(-2 * np.sum((anchor - other) ** 2)))
    return {
        "contrastive_accuracy": np.mean(hits),
        "contrastive_chance": 1 / (len(others) + 1),
        "alignment": np.mean(distances),
        "uniformity": np.log(np.mean(similar)),
        "spread": np.mean(np.std(anchors, axis=0)) * np.sqrt(u.shape[-1]),
    }


def con_mix(z, tags, temperature):
    """Returns the loss of each sample from the mixed samples, tag by tag."""
    u, tags = unit(z), list(tags)
    kinds = sorted(set(tags))
    mixed = [
        [
            np.mean(
                [u[i, view] for i in range(len(u)) if tags[i] == kind], axis=0
            )
            for view in range(2)
        ]
        for kind in kinds
    ]
    losses = dict(zip(kinds, nt_xent(mixed, temperature), strict=True))
    return np.array(
        [
            losses[tag] * len(tags) / (len(kinds) * tags.count(tag))
            for tag in tags
        ]
    )


def power_law_prior(shares, power):
    """Returns the prior target by target: equal shares have equal parts."""
    raw = [rank**-power for rank in range(1, len(shares) + 1)]
    order = sorted(range(len(shares)), key=lambda k: -shares[k])
    prior = []
    for share in shares:
        ranks = [n for n, k in enumerate(order) if shares[k] == share]
        prior.append(np.mean([raw[n] for n in ranks]) / sum(raw))
    return np.array(prior)


def isogclr(
    memory,
    ids,
    z,
    temperature,
    gamma,
    rho=0.0,
    eta=0.0,
    beta=1.0,
    minimum=0.0,
    maximum=np.inf,
    keys=None,
):
    """Replays a step of iSogCLR, anchor by anchor; with η = 0 of SogCLR.

    `memory` maps an id to (log u, m, τ) and is moved on. With `keys` of a
    queue, these are the negatives, and first views the only anchors. Returns
    the loss of each sample, and of each anchor the weight p of each negative,
    over their number.
    """
    u = unit(z)
    losses, weights, moved = np.zeros(len(u)), {}, {}
    for i in range(len(u)):
        log_u, momentum, tau = memory.get(ids[i], (None, 0.0, temperature))
        after, slopes, values = [], [], []
        for view in range(2) if keys is None else [0]:
            negatives = negatives_of(u, i, keys)
            cosines = {b: u[i, view] @ v for b, v in negatives.items()}
            top = max(cosines.values()) / tau
            total = sum(np.exp(s / tau - top) for s in cosines.values())
            log_g = top + np.log(total / len(cosines))
            if log_u is None or gamma == 1:
                log_new = log_g
            else:
                log_new = np.logaddexp(
                    np.log(1 - gamma) + log_u, np.log(gamma) + log_g
                )
            divisor = max(log_new, np.log(1e-8))
            p = {
                b: np.exp(s / tau - divisor) / len(cosines)
                for b, s in cosines.items()
            }
            mean = sum(p[b] * cosines[b] for b in p)
            values.append(mean - u[i, view] @ u[i, 1 - view])
            slopes.append(log_new + rho - mean / tau)
            after.append(log_new)
            weights[i, view] = p
        losses[i] = np.mean(values)
        momentum = (1 - beta) * momentum + beta * np.mean(slopes)
        tau = min(max(tau - eta * momentum, minimum), maximum)
        if ids[i] >= 0:  # Of an id that comes twice, the last one counts.
            log_u = np.logaddexp.reduce(after) - np.log(len(after))
            moved[ids[i]] = (log_u, momentum, tau)
    memory.update(moved)
    return losses, weights


def negatives_of(u, sample, keys=None):
    """Returns the negatives of a sample by name: other samples, or keys."""
    if keys is not None:
        return dict(enumerate(unit(keys)))
    return {
        (j, view): u[j, view]
        for j in range(len(u))
        for view in range(2)
        if j != sample
    }


def margins_at(z, weights, keys=None):
    """Returns the loss of `isogclr` with the weights p held where they are."""
    u = unit(z)
    losses = np.zeros(len(u))
    views = {view for _, view in weights}
    for (i, view), p in weights.items():
        negatives = negatives_of(u, i, keys)
        mean = sum(p[b] * (u[i, view] @ negatives[b]) for b in p)
        # The other view is a key there, which has no gradient.
        losses[i] += (mean - u[i, view] @ u[i, 1 - view]) / len(views)
    return losses


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


def log_probabilities(z, temperature):
    """Returns each anchor's other anchors with their log probabilities."""
    u = unit(z)
    anchors = [(i, view) for i in range(len(u)) for view in range(2)]
    table = {}
    for anchor in anchors:
        scores = {
            other: u[anchor] @ u[other] / temperature
            for other in anchors
            if other != anchor
        }
        top = max(scores.values())
        total = sum(np.exp(score - top) for score in scores.values())
        table[anchor] = {
            other: score - top - np.log(total)
            for other, score in scores.items()
        }
    return table


def distribution_supcon(z, is_ood, temperature):
    table = log_probabilities(z, temperature)
    losses = np.zeros((len(z), 2))
    if not any(is_ood):
        return losses.mean(axis=1)
    for anchor, others in table.items():
        same = [
            value
            for other, value in others.items()
            if is_ood[other[0]] == is_ood[anchor[0]]
        ]
        losses[anchor] = -sum(same) / len(same)
    return losses.mean(axis=1)


def tail_score(z, temperature, top_k):
    table = log_probabilities(z, temperature)
    scores = []
    for i in range(len(z)):
        columns = [other for other in table[i, 0] if other[0] != i]
        mean = [
            (np.exp(table[i, 0][other]) + np.exp(table[i, 1][other])) / 2
            for other in columns
        ]
        scores.append(sum(sorted(mean)[-top_k:]))
    return np.array(scores)


def moving_average(memory, ids, values, momentum):
    """Replays `layers.SampleMemory` on a dict from id to average."""
    for name, value in zip(ids, values, strict=True):
        if name < 0:
            continue
        if name in memory:
            memory[name] = momentum * memory[name] + (1 - momentum) * value
        else:
            memory[name] = value


def cluster_budgets(scores, labels, num_clusters, budget, temperature):
    """Budgets of clusters that all have members, one cluster at a time."""
    means = []
    for cluster in range(num_clusters):
        members = [
            s for s, c in zip(scores, labels, strict=True) if c == cluster
        ]
        means.append(sum(members) / len(members))
    middle = sum(means) / len(means)
    square = sum((mean - middle) ** 2 for mean in means) / (len(means) - 1)
    parts = [
        np.exp(-(mean - middle) / np.sqrt(square) / temperature)
        for mean in means
    ]
    budgets = [int(np.floor(part / sum(parts) * budget)) for part in parts]
    budgets[-1] += budget - sum(budgets)
    return means, budgets


def nearest_to_centers(pool, centers, budgets):
    """Chooses by a full sort for every cluster."""
    cosines = unit(pool) @ unit(centers).T
    chosen = []
    for cluster, budget in enumerate(budgets):
        taken = 0
        for row in sorted(
            range(len(cosines)), key=lambda row: (-cosines[row, cluster], row)
        ):
            if taken < budget and row not in chosen:
                chosen.append(row)
                taken += 1
    return chosen


def greedy_k_centers(features, budget, centers=()):
    """Takes the farthest row, one at a time; the first of equally far ones."""
    rows = np.asarray(features, "float64")
    distances = np.full(len(rows), np.inf)
    for center in np.asarray(centers, "float64"):
        squares = ((rows - center) ** 2).sum(axis=1)
        distances = np.minimum(distances, squares)
    chosen = []
    for _ in range(budget):
        free = [row for row in range(len(rows)) if row not in chosen]
        farthest = max(free, key=lambda row: (distances[row], -row))
        chosen.append(farthest)
        squares = ((rows - rows[farthest]) ** 2).sum(axis=1)
        distances = np.minimum(distances, squares)
    return chosen


def mak(id_features, pool, losses, centers, budget, candidate_factor):
    """MAK's choice, given the k-means centers; also what it goes by."""
    cosines = unit(pool) @ unit(centers).T
    distances = np.array([1 - max(row) for row in cosines])
    scores = np.zeros(len(pool))
    for values, sign in ((np.asarray(losses, "float64"), 1), (distances, -1)):
        middle = sum(values) / len(values)
        square = sum((value - middle) ** 2 for value in values) / len(values)
        scores += sign * (values - middle) / np.sqrt(square)
    order = sorted(range(len(pool)), key=lambda row: (-scores[row], row))
    best = sorted(order[: int(candidate_factor * budget)])
    chosen = greedy_k_centers(unit(pool)[best], budget, unit(id_features))
    return [best[row] for row in chosen], scores, distances


def sinkhorn(scores, prior, regularization, iterations):
    """Scales one view's `exp(scores / ε)`, a column and a row at a time."""
    q = np.exp(np.asarray(scores, "float64") / regularization)
    batch, targets = q.shape
    for _ in range(iterations):
        for k in range(targets):
            # A column that is empty already stays empty.
            if q[:, k].any():
                q[:, k] *= prior[k] / q[:, k].sum()
        for b in range(batch):
            q[b] *= 1 / (batch * q[b].sum())
    return batch * q


def target_scores(z, targets):
    return unit(np.asarray(z, "float64") @ np.asarray(targets, "float64").T)


def harmonization_labels(z, targets, prior, regularization, iterations):
    scores = target_scores(z, targets)
    return [
        sinkhorn(scores[:, view], prior, regularization, iterations)
        for view in range(2)
    ]


def geometric_harmonization(z, targets, labels, gamma):
    """Returns the term of each sample, given each view's surrogate labels."""
    scores = target_scores(z, targets)
    losses = np.zeros(len(scores))
    for i in range(len(scores)):
        for view in range(2):
            logits = scores[i, 1 - view] / gamma
            top = logits.max()
            log_total = top + np.log(np.exp(logits - top).sum())
            losses[i] -= labels[view][i] @ (logits - log_total)
    return losses


def queue_nt_xent(z, keys, temperature):
    """Returns the loss of each query against its key and those of a queue."""
    u = unit(z)
    temperature = np.broadcast_to(temperature, (len(u),))
    losses = []
    for (query, own), tau in zip(u, temperature, strict=True):
        logits = [query @ own / tau] + [query @ key / tau for key in keys]
        top = max(logits)
        total = sum(np.exp(logit - top) for logit in logits)
        losses.append(np.log(total) + top - logits[0])
    return np.array(losses)


def enqueue(queue, keys, size):
    """Returns the latest `size` keys, oldest first."""
    return [*queue, *keys][-size:]


def pair_temperature(cosine, minimum, maximum):
    share = (1 + np.cos(np.pi * (1 + cosine))) / 2
    return minimum + (maximum - minimum) * share


def dystress(z, minimum, maximum, temperatures_from=None):
    """Returns each sample's loss; another `z` may set the temperatures."""
    u = unit(z)
    fixed = u if temperatures_from is None else unit(temperatures_from)
    anchors = [(i, view) for i in range(len(u)) for view in range(2)]
    losses = np.zeros((len(u), 2))
    for anchor in anchors:
        scores = {
            other: u[anchor]
            @ u[other]
            / pair_temperature(fixed[anchor] @ fixed[other], minimum, maximum)
            for other in anchors
            if other != anchor
        }
        top = max(scores.values())
        total = sum(np.exp(score - top) for score in scores.values())
        positive = scores[anchor[0], 1 - anchor[1]]
        losses[anchor] = np.log(total) + top - positive
    return losses.mean(axis=1)


def mean_pair_temperature(z, minimum, maximum):
    u = unit(z).reshape(-1, np.shape(z)[-1])
    values = [
        pair_temperature(u[a] @ u[b], minimum, maximum)
        for a in range(len(u))
        for b in range(len(u))
        if a != b
    ]
    return sum(values) / len(values)


def macl_temperature(z, temperature, alpha, threshold):
    u = unit(z)
    alignment = sum(row[0] @ row[1] for row in u) / len(u)
    return temperature * (1 + alpha * (alignment - threshold))


def macl_weights(z, temperature):
    """Returns 1 / (1 - p) of each (sample, view) at a given temperature."""
    return 1 / (1 - np.exp(-nt_xent_anchors(z, temperature)))


def macl(z, temperature, alpha, threshold, reweight):
    tau = macl_temperature(z, temperature, alpha, threshold)
    losses = nt_xent_anchors(z, tau)
    if reweight:
        losses = losses * macl_weights(z, tau)
    return losses.mean(axis=1)


def boosted_weights(losses, seen):
    """Returns the weights of BCL as published; 0 for what is not seen."""
    weights = np.zeros(len(losses))
    known = [
        float(m) for m, is_seen in zip(losses, seen, strict=True) if is_seen
    ]
    if not known:
        return weights
    mean = sum(known) / len(known)
    squares = sum((m - mean) ** 2 for m in known)
    deviation = (squares / max(len(known) - 1, 1)) ** 0.5
    scores = [(m - mean) / deviation if deviation else 0.0 for m in known]
    largest = max(abs(score) for score in scores) or 1.0
    weights[np.flatnonzero(seen)] = [s / largest / 2 + 1 / 2 for s in scores]
    return weights


def normalized_mse(predictions, targets):
    """BYOL's loss of each sample, mean over its views."""
    losses = []
    for predicted, wanted in zip(predictions, targets, strict=True):
        distances = [
            np.sum((unit(predicted[view]) - unit(wanted[1 - view])) ** 2)
            for view in (0, 1)
        ]
        losses.append(np.mean(distances))
    return np.array(losses)


def byol_momentum(base, progress):
    """The momentum when a share `progress` of the training is done."""
    return 1 - (1 - base) * (np.cos(np.pi * progress) + 1) / 2


def pruned(kernels, share):
    """Kernels whose smallest entries, over all of them, are set to 0."""
    everything = sorted(
        abs(entry) for kernel in kernels for entry in kernel.ravel()
    )
    smallest_kept = everything[
        min(int(np.ceil(share * len(everything))), len(everything) - 1)
    ]
    return [
        np.where(np.abs(kernel) < smallest_kept, 0.0, kernel)
        for kernel in kernels
    ]


def cropped(images, windows, height, width):
    """Cuts out windows and resizes them bilinearly, pixel by pixel."""
    images = np.asarray(images, "float64")
    count, in_height, in_width, channels = images.shape
    out = np.zeros((count, height, width, channels))
    for b in range(count):
        top, left, bottom, right = windows[b]
        for i in range(height):
            y = top + (i + 0.5) * (bottom - top) / height - 0.5
            y = min(max(y, 0), in_height - 1)
            y0 = math.floor(y)
            y1 = min(y0 + 1, in_height - 1)
            for j in range(width):
                x = left + (j + 0.5) * (right - left) / width - 0.5
                x = min(max(x, 0), in_width - 1)
                x0 = math.floor(x)
                x1 = min(x0 + 1, in_width - 1)
                upper = images[b, y0, x0] * (1 - x + x0) + images[b, y0, x1] * (
                    x - x0
                )
                lower = images[b, y1, x0] * (1 - x + x0) + images[b, y1, x1] * (
                    x - x0
                )
                out[b, i, j] = upper * (1 - y + y0) + lower * (y - y0)
    return out


def blurred(image, sigma):
    """Weighted mean over all pixels of the image, one pixel at a time."""
    height, width, _ = image.shape
    out = np.zeros(image.shape)
    for i in range(height):
        for j in range(width):
            total = 0.0
            for p in range(height):
                for q in range(width):
                    distance = (i - p) ** 2 + (j - q) ** 2
                    weight = math.exp(-distance / (2 * sigma**2))
                    out[i, j] += weight * image[p, q]
                    total += weight
            out[i, j] /= total
    return out


def luminance(pixel):
    red, green, blue = pixel
    return 0.299 * red + 0.587 * green + 0.114 * blue


def yiq_turned(pixel, hue):
    """Turns chroma in the plane of I and Q, from red toward green."""
    i = np.dot((0.596, -0.274, -0.322), pixel)
    q = np.dot((0.211, -0.523, 0.312), pixel)
    y, angle = luminance(pixel), 2 * np.pi * hue
    turned = (
        y,
        i * np.cos(angle) + q * np.sin(angle),
        q * np.cos(angle) - i * np.sin(angle),
    )
    matrix = [
        (0.299, 0.587, 0.114),
        (0.596, -0.274, -0.322),
        (0.211, -0.523, 0.312),
    ]
    return np.linalg.solve(matrix, turned)


def hsv_turned(pixel, hue):
    h, s, v = colorsys.rgb_to_hsv(*pixel)
    return np.array(colorsys.hsv_to_rgb((h + hue) % 1.0, s, v))


def jittered(
    image, amounts, order=(0, 1, 2, 3), turn=yiq_turned, clips_each=False
):
    """Applies brightness, contrast, saturation and hue one after the other."""
    pixels = np.asarray(image, "float64").reshape(-1, image.shape[2])
    has_colors = pixels.shape[1] == 3
    brightness, contrast, saturation, hue = (float(x) for x in amounts)

    def gray_of(pixel):
        return luminance(pixel) if has_colors else pixel[0]

    for step in order:
        if step == 0:
            pixels = brightness * pixels
        elif step == 1:
            mean = sum(gray_of(pixel) for pixel in pixels) / len(pixels)
            pixels = mean + contrast * (pixels - mean)
        elif step == 2 and has_colors:
            grays = np.array([[gray_of(pixel)] for pixel in pixels])
            pixels = grays + saturation * (pixels - grays)
        elif step == 3 and has_colors:
            pixels = np.array([turn(pixel, hue) for pixel in pixels])
        if clips_each:
            pixels = np.clip(pixels, 0, 1)
    return np.clip(pixels, 0, 1).reshape(image.shape)
