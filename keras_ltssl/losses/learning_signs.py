"""Signs without labels of whether a training step learns."""

from keras import ops

from keras_ltssl.backend.fused_arithmetic import affine
from keras_ltssl.backend.fused_operations import at_least, reshape
from keras_ltssl.backend.in_place_operations import add_to_own_pairs
from keras_ltssl.losses.kernels.unit_views import (
    as_floats,
    units_and_norms,
)
from keras_ltssl.losses.step import Step
from keras_ltssl.state.learning_means import LEARNING_SIGNS
from keras_ltssl.types import Tensor

# The accuracy of 128 anchors has a standard error of at most 4 points in a
# step, and a tenth of that in the mean of 100 steps.
MAX_ANCHORS = 128
# Fewer where each is compared with thousands of keys.
MAX_QUERIES = 64


def learning_signs(step: Step) -> dict[str, Tensor]:
    """Returns five scalars that tell whether the projections of a step learn.

    With u the unit vectors of the anchors, p those of their positives, and n
    the number of anchors:

        contrastive_accuracy = share of anchors with u_i·p_i > u_i·c for all
                               candidates c but p_i
        contrastive_chance   = 1 / number of candidates, p_i among them
        alignment            = mean_i ‖u_i - p_i‖²
        uniformity           = log mean_{i≠j} exp(-2 ‖u_i - u_j‖²)
        spread               = sqrt(dim) · mean_d std_i(u_id)

    Anchors are the first views of the first 128 samples of the batch, or 64
    with a queue, so that a step takes hardly longer. Positives are the second
    views. Candidates are all other views of the batch, 2 * batch - 1 of them;
    of a model with a queue, the own key and the keys in the queue. Of BYOL,
    anchors are the predictions of first views, and candidates the targets of
    all views but the own first one.

    Uniformity is -4 for a uniform sphere of many dimensions and 0 for a single
    point. Spread is 1 for a uniform sphere and 0 for a single point.

    Args:
        step: The step of a loss, before its keys enter the queue.

    Returns:
        The scalars by name. They have no gradient.

    Reference:
        - [Understanding Contrastive Representation Learning through Alignment
          and Uniformity on the Hypersphere](https://arxiv.org/abs/2005.10242),
          Wang and Isola, ICML 2020
    """
    if step.z.shape[1] == 4:
        anchors, others = _of_predictions(step.z)
    elif step.queue is None:
        others = ops.stop_gradient(step.units)
        anchors = others[:MAX_ANCHORS, 0]
    else:
        z = as_floats(step.z)[:MAX_QUERIES]
        units, _ = units_and_norms(z)
        anchors = units[:, 0]
    if step.queue is None:
        count, batch = ops.shape(anchors)[0], ops.shape(others)[0]
        flat = reshape(others, (-1, others.shape[-1]))
        cosines = anchors @ ops.transpose(flat)
        # Sample i of the anchors is sample i of the others.
        by_sample = reshape(cosines, (-1, batch, 2))[:, :count]
        positive = ops.copy(ops.diagonal(by_sample)[1])
        # Below every cosine where an anchor meets itself or its positive.
        cosines = add_to_own_pairs(cosines, 1, -4.0)
        is_hit = positive > ops.amax(cosines, axis=1)
        candidates = 2 * batch - 1
    else:
        keys = ops.cast(ops.convert_to_tensor(step.queue.keys), anchors.dtype)
        positive = ops.sum(anchors * units[:, 1], axis=-1)
        # Below every cosine where there is no key.
        below = 4.0 * ops.cast(step.queue.is_filled(), keys.dtype) - 4.0
        nearest = ops.amax(anchors @ ops.transpose(keys) + below, axis=1)
        is_hit = positive > nearest
        candidates = ops.convert_to_tensor(step.queue.filled) + 1
    values = (
        ops.mean(ops.cast(is_hit, "float32")),
        1 / candidates
        if isinstance(candidates, int)
        else ops.divide(ops.ones(()), candidates),
        at_least(affine(ops.mean(positive), -2.0, 2.0), 0.0),
        _uniformity(anchors),
        _spread(anchors),
    )
    return dict(zip(LEARNING_SIGNS, values, strict=True))


def _of_predictions(z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns BYOL's anchors and its candidates, `(batch, 2, dim)`."""
    z = as_floats(z)
    anchors, _ = units_and_norms(z[:MAX_ANCHORS, 0])
    targets, _ = units_and_norms(z[:, 2:])
    return anchors, targets


def _uniformity(units: Tensor) -> Tensor:
    cosines = units @ ops.transpose(units)
    similar = ops.exp(affine(cosines, 4.0, -4.0))
    count = ops.shape(units)[0]
    pairs = ops.sum(similar) - ops.sum(ops.diagonal(similar))
    mean = ops.divide(pairs, at_least(count * (count - 1), 1))
    # exp(-8), two opposite points, is the least that there can be.
    return ops.log(at_least(mean, 0.00033546))


def _spread(units: Tensor) -> Tensor:
    return ops.mean(ops.std(units, axis=0)) * units.shape[-1] ** 0.5
