"""SDCLR: contrast a network with a pruned version of itself."""

from typing import Any

import keras
from keras import ops

from keras_ltssl.models.contrastive_model import ContrastiveModel
from keras_ltssl.models.pruned_twin import PrunedTwin
from keras_ltssl.types import Tensor
from keras_ltssl.validation import check_number


class _Pruning(keras.callbacks.Callback):
    """Updates the masks at the start of each epoch."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self.model.built:
            raise ValueError(
                "SelfDamagingContrast prunes before the first step, and with "
                "this backend and this kind of data it is not built by then. "
                "Build it before `fit`, with the shape of a batch: "
                "`model.build((None, 32, 32, 3))`."
            )

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self.model.update_masks()


@keras.saving.register_keras_serializable(package="keras_ltssl")
class SelfDamagingContrast(ContrastiveModel):
    """Trains an encoder against a pruned version of itself (SDCLR).

    Pruning makes a network forget rare samples first. The first view of a
    sample passes through `encoder`, the second through the same encoder
    without its smallest weights, so the loss is larger for samples that the
    pruned network has forgotten.

    - Both branches share the weights. In the pruned branch, convolution and
      dense kernels are multiplied by masks. Gradients flow to the weights from
      both branches, from the pruned one only where the mask is 1.
    - There is one threshold of magnitude for all kernels of the encoder. The
      masks are updated at the start of each epoch of `fit`. Outside of `fit`,
      call `update_masks()`.
    - Each branch has its own batch-norm statistics, in encoder and projector.
      Scale and shift are shared (in the released code, they are not).

    It works for any encoder made of Keras layers, and with any loss over
    negatives: schedules, TASE, COLT, Geometric Harmonization. After training,
    use `model.encoder`, which is not pruned.

    Args:
        encoder: As for `ContrastiveModel`, with convolution or dense layers.
        projector: As for `ContrastiveModel`; it is not pruned. Defaults to
            `None`.
        augmenter: As for `ContrastiveModel`. Defaults to `None`.
        pruned_share: Share of the encoder's kernel entries that are 0 in the
            second branch, in (0, 1). Defaults to `0.9`, as published for
            CIFAR; 0.3 for ImageNet-100.

    Raises:
        ValueError: As `ContrastiveModel`, and if `pruned_share` is out of
            range or the encoder has nothing to prune.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_ltssl as lt
    >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(5)])
    >>> model = lt.models.SelfDamagingContrast(encoder, pruned_share=0.9)
    >>> model.compile("sgd", loss=lt.losses.NTXentLoss())
    >>> views = np.random.default_rng(0).normal(size=(32, 2, 8))
    >>> _ = model.fit(views.astype("float32"), verbose=0)
    >>> round(model.sparsity(), 2)
    0.9

    Reference:
        - [Self-Damaging Contrastive
          Learning](https://arxiv.org/abs/2106.02990), Jiang et al., ICML 2021
    """

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | None = None,
        augmenter: keras.layers.Layer | None = None,
        pruned_share: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, projector, augmenter, **kwargs)
        self.pruned_share = check_number(
            "pruned_share", pruned_share, above=0, below=1
        )
        self.pruned_encoder = PrunedTwin(self.pruned_share)
        self.pruned_projector = PrunedTwin(0.0)

    def embed_views(self, views: Tensor, training: bool | None) -> Tensor:
        whole = self.project(views[:, 0], training)
        features = self.pruned_encoder.run(self.encoder, views[:, 1], training)
        pruned = self.pruned_projector.run(self.projector, features, training)
        z = ops.stack([whole, pruned], axis=1)
        return self.loss_state(z, training=training)

    def update_masks(self) -> None:
        """Prunes the weights that are smallest now, until the next update."""
        if not self.built:
            raise ValueError(
                "SelfDamagingContrast has no weights to prune before it is "
                "built: `model.build((None, 32, 32, 3))`."
            )
        self.pruned_encoder.update_masks(self.encoder)

    def sparsity(self) -> float:
        """Returns the share of kernel entries that the masks set to 0."""
        masks = [
            ops.convert_to_numpy(mask) for mask in self.pruned_encoder.masks
        ]
        kept = sum(mask.sum() for mask in masks)
        return float(1.0 - kept / sum(mask.size for mask in masks))

    def own_callbacks(self) -> list[keras.callbacks.Callback]:
        return [*super().own_callbacks(), _Pruning()]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pruned_share": self.pruned_share}
