"""BYOL: predictions of what another network makes of the other view."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.kernels.unit_views import unit_views
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.step import Step
from keras_ltssl.types import Tensor
from keras_ltssl.validation import as_tensor


def normalized_mse(predictions: Tensor, targets: Tensor) -> Tensor:
    """Computes the squared distance of predictions from targets (BYOL).

        l_i = 1/2 (‖p̂_i1 - t̂_i2‖² + ‖p̂_i2 - t̂_i1‖²)
            = 2 - cos(p_i1, t_i2) - cos(p_i2, t_i1)

    where p_iv predicts, from view v of sample i, the target of the other view;
    a hat means unit length. It is 0 where every prediction is right, 2 where
    predictions have nothing to do with the targets, 4 at worst. No gradient
    flows through the targets.

    The published loss is the sum of both directions, twice this value; as for
    all losses of this package, the value of a sample is the mean over its
    views.

    Args:
        predictions: `(batch, 2, dim)`, of the two views, any scale.
        targets: `(batch, 2, dim)`, of the two views, any scale.

    Returns:
        The loss of each sample, `(batch,)`.

    Raises:
        ValueError: If the shapes differ or are not `(batch, 2, dim)`.

    Example:

    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> predictions = np.eye(2, dtype="float32")[None]
    >>> targets = predictions[:, ::-1]
    >>> float(lt.losses.normalized_mse(predictions, targets)[0])
    0.0
    >>> float(lt.losses.normalized_mse(predictions, -targets)[0])
    4.0

    Reference:
        - [Bootstrap Your Own Latent: A New Approach to Self-Supervised
          Learning](https://arxiv.org/abs/2006.07733), Grill et al., NeurIPS
          2020
    """
    predictions = as_tensor("predictions", predictions)
    targets = as_tensor("targets", targets)
    for name, value in (("predictions", predictions), ("targets", targets)):
        if len(value.shape) != 3 or value.shape[1] != 2:
            raise ValueError(
                f"`{name}` must have shape (batch, 2, dim). "
                f"Received: {name}.shape={tuple(value.shape)}"
            )
    if predictions.shape[2] != targets.shape[2] or (
        # A batch of one would be compared with all of the other.
        None not in (predictions.shape[0], targets.shape[0])
        and predictions.shape[0] != targets.shape[0]
    ):
        raise ValueError(
            "`predictions` and `targets` must have the same shape. Received: "
            f"predictions.shape={tuple(predictions.shape)}, "
            f"targets.shape={tuple(targets.shape)}"
        )
    others = ops.stop_gradient(ops.flip(unit_views(targets), axis=1))
    return 2.0 - ops.sum(unit_views(predictions) * others, axis=(1, 2))


@keras.saving.register_keras_serializable(package="keras_ltssl")
class BYOLLoss(ContrastiveLoss):
    """Normalized squared error of predictions, `normalized_mse`.

    For `models.BYOL`, whose output holds two predictions and two targets of
    each sample. It has no negatives and no temperature.

    Logged: `embedding_std`, the standard deviation over the batch of the
    normalized predictions, mean over their dimensions. It is about 1/sqrt(dim)
    where they spread over the sphere, and falls to 0 where the network
    collapses to a constant.

    Args:
        reduction: As for any Keras loss. Defaults to `"sum_over_batch_size"`.
        name: Name of the loss. Defaults to `"byol_loss"`.
        dtype: Dtype of the loss. Defaults to `None`, Keras' float type.

    Call arguments:
        y_true: Sample ids, integers `(batch,)`, or `None`.
        y_pred: Predictions and targets, `(batch, 4, dim)`.
        sample_weight: As for any Keras loss.

    Raises:
        ValueError: If it is called with anything but `(batch, 4, dim)`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.BYOL(encoder)
    >>> model.compile("sgd", loss=lt.losses.BYOLLoss())
    >>> views = np.random.default_rng(0).normal(size=(64, 2, 8))
    >>> history = model.fit(views.astype("float32"), verbose=0).history
    >>> history["embedding_std"][0] > 0
    True

    Reference:
        - [Bootstrap Your Own Latent: A New Approach to Self-Supervised
          Learning](https://arxiv.org/abs/2006.07733), Grill et al., NeurIPS
          2020
    """

    metric_names = ("embedding_std",)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "byol_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    @property
    def requirements(self) -> Requirements:
        return super().requirements | Requirements(target_views=True)

    def per_sample(self, step: Step) -> Tensor:
        predictions = unit_views(step.z[:, :2])
        spread = ops.std(ops.stop_gradient(predictions), axis=(0, 1))
        step.log(embedding_std=ops.mean(spread))
        own = step.part.own(step.z)
        return step.part.gather(normalized_mse(own[:, :2], own[:, 2:]))
