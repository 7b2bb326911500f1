"""BYOL: predict the output of a momentum network for the other view."""

import math
from typing import Any

import keras
from keras import ops

from keras_ltssl.layers.projection_head import ProjectionHead
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.models.checks import check_layer
from keras_ltssl.models.contrastive_model import ContrastiveModel
from keras_ltssl.models.momentum_network import MomentumNetwork
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


class _TotalEpochs(keras.callbacks.Callback):
    """Sets how many epochs the schedule of the momentum has."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.model.total_epochs.assign(float(self.params["epochs"]))


@keras.saving.register_keras_serializable(package="keras_ltssl")
class BYOL(ContrastiveModel):
    """Trains an encoder without negatives, against a momentum network (BYOL).

    Both views pass through `encoder`, `projector` and `predictor`, and through
    copies of the first two whose weights are moving averages (the target
    network). The prediction of one view is compared with the target of the
    other, `losses.normalized_mse`. After every training step

        θ_target ← m θ_target + (1-m) θ
        m = 1 - (1 - momentum) (1 + cos(π e / E)) / 2

    where e is the epoch, including fractions, and E is the number of epochs of
    `fit`, so m grows from `momentum` to 1. All of it happens inside the
    training step. Outside of `fit`, m is `momentum`.

    The loss is `BYOLLoss`, or a loss that adds to it, such as
    `GeometricHarmonizationLoss`. Losses over negatives (NT-Xent, focal, TASE,
    COLT) and temperatures have no meaning here and are refused. COLT's choice
    of data applies: `OODSampler(score=...)`. Watch the logged `embedding_std`
    for collapse.

    Args:
        encoder: As for `ContrastiveModel`; it must be serializable, since it
            is copied.
        projector: Layer from features to projections. Defaults to `None`:
            `ProjectionHead(batch_norm=True)`; BYOL tends to collapse without
            batch normalization.
        augmenter: As for `ContrastiveModel`. Defaults to `None`.
        predictor: Layer from projections to predictions of the same width.
            Defaults to `None`: a `ProjectionHead` with batch normalization
            and 512 hidden units (this package's own choice; the paper has 4096
            hidden units and 256 outputs).
        momentum: m at the start, in [0, 1). Defaults to `0.99`, as published
            for 300 epochs; 0.996 for 1000.

    Raises:
        ValueError: As `ContrastiveModel`, and if `momentum` is out of range,
            the predictor changes the width, or the loss is not for BYOL.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> model = lt.models.BYOL(encoder, momentum=0.9)
    >>> model.compile("sgd", loss=lt.losses.BYOLLoss())
    >>> views = np.random.default_rng(0).normal(size=(32, 2, 8))
    >>> _ = model.fit(views.astype("float32"), epochs=2, verbose=0)
    >>> float(model.current_momentum())
    1.0

    Reference:
        - [Bootstrap Your Own Latent: A New Approach to Self-Supervised
          Learning](https://arxiv.org/abs/2006.07733), Grill et al.,
          NeurIPS 2020
    """

    has_negatives_in_batch = False
    needs_epochs = True
    part_names = ("encoder", "projector", "augmenter", "predictor")

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | None = None,
        augmenter: keras.layers.Layer | None = None,
        predictor: keras.layers.Layer | None = None,
        momentum: float = 0.99,
        **kwargs: Any,
    ) -> None:
        if projector is None:
            projector = ProjectionHead(batch_norm=True)
        super().__init__(encoder, projector, augmenter, **kwargs)
        if predictor is None:
            predictor = ProjectionHead(None, 512, batch_norm=True)
        check_layer("predictor", predictor)
        self.predictor = predictor
        self.momentum = check_number("momentum", momentum, minimum=0, below=1)
        self.momentum_network = MomentumNetwork([self.encoder, self.projector])
        self.total_epochs = self.add_weight(
            shape=(),
            dtype="float32",
            initializer="zeros",
            trainable=False,
            autocast=False,
            name="total_epochs",
        )

    def current_momentum(self) -> Tensor:
        """Returns the momentum m of this step, a scalar."""
        total = ops.convert_to_tensor(self.total_epochs)
        done = self.loss_state.epoch / ops.maximum(total, 1e-9)
        done = ops.where(total > 0, ops.clip(done, 0.0, 1.0), 0.0)
        left = (1.0 + ops.cos(math.pi * done)) / 2.0
        return 1.0 - (1.0 - self.momentum) * left

    def embed_views(self, views: Tensor, training: bool | None) -> Tensor:
        """Returns predictions and targets of two views, `(batch, 4, dim)`."""
        folded = ops.reshape(views, (-1, *ops.shape(views)[2:]))
        projections = self.project(folded, training)
        dim = projections.shape[-1]
        predictions = self.predictor(projections, training=training)
        if predictions.shape[-1] != dim:
            raise ValueError(
                "`predictor` must keep the width of the projections. "
                f"Received: {dim} to {predictions.shape[-1]}"
            )
        targets = self.momentum_network(
            folded,
            training=training,
            originals=[self.encoder, self.projector],
            momentum=self.current_momentum() if training else 1.0,
        )
        parts = [
            ops.reshape(part, (-1, 2, dim))
            for part in (predictions, ops.cast(targets, predictions.dtype))
        ]
        return self.loss_state(
            ops.concatenate(parts, axis=1), training=training
        )

    def check_loss(self, loss: ContrastiveLoss) -> None:
        if not loss.requirements.target_views:
            raise ValueError(
                "BYOL compares predictions with targets. It has no negatives "
                "and no temperature, so a loss over negatives, its "
                "temperatures and its weights mean nothing here. Use "
                "BYOLLoss(), on its own or as the `base_loss` of a loss "
                "such as GeometricHarmonizationLoss. "
                f"Received: loss={loss!r}"
            )

    def own_callbacks(self) -> list[keras.callbacks.Callback]:
        return [*super().own_callbacks(), _TotalEpochs()]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}
