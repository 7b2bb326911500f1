"""Methods by their names: losses, optimizers, models and callbacks."""

from typing import Any

import keras

from keras_ltssl.callbacks import PriorEstimation, TemperatureScheduler
from keras_ltssl.layers import BoostedViews, simclr_views
from keras_ltssl.losses import (
    BoostedLoss,
    BYOLLoss,
    COLTLoss,
    FocalNTXentLoss,
    GeometricHarmonizationLoss,
    NTXentLoss,
    TASELoss,
)
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.models import (
    BYOL,
    ContrastiveModel,
    MomentumContrast,
    SelfDamagingContrast,
    backbone_encoder,
    resnet18,
    small_convnet,
)
from keras_ltssl.schedules import CosineTemperature

# A method is one of the bases, on its own or with any of the additions.
BASES = ("plain", "focal", "tase")
ADDITIONS = ("ts", "gh", "colt", "bcl")
FRAMEWORKS: dict[str, type[ContrastiveModel]] = {
    "simclr": ContrastiveModel,
    "moco": MomentumContrast,
    "byol": BYOL,
    "sdclr": SelfDamagingContrast,
}

# Encoders of this package.
BACKBONES = ("small_convnet", "resnet18")

# From this size on, ResNet-18 halves images at once, as for ImageNet.
_LARGE = 96


def split_method(
    method: str, additions: tuple[str, ...] = ADDITIONS
) -> tuple[str, set[str]]:
    """Returns the base of a method and the set of its additions.

    Args:
        method: A text such as `"tase"` or `"ts+gh"`.
        additions: What may be added. Defaults to all that there is.

    Raises:
        ValueError: If a part of the method is unknown, or comes twice.

    Example:

    >>> from keras_ltssl.command.recipe import split_method
    >>> split_method("gh+tase")
    ('tase', {'gh'})
    """
    parts = method.split("+")
    bases = [part for part in parts if part in BASES]
    added = {part for part in parts if part in additions}
    if len(bases) > 1 or len(bases) + len(added) < len(parts):
        raise ValueError(
            f"`--method` must be one of {', '.join(BASES)}, or parts joined by "
            f"+, with any of {', '.join(additions)}. "
            f"Received: --method={method}"
        )
    return (bases or ["plain"])[0], added


def build_loss(
    method: str,
    temperature: float = 0.2,
    num_prototypes: int = 50,
    num_samples: int | None = None,
    framework: str = "simclr",
    **harmonization: Any,
) -> ContrastiveLoss:
    """Returns the loss of a method for so many training samples.

    Args:
        method: See `split_method`.
        temperature: Temperature of its base. Defaults to `0.2`.
        num_prototypes: Prototypes of TASE. Defaults to `50`.
        num_samples: Number of training samples, which BCL and COLT need.
            Defaults to `None`.
        framework: One of `FRAMEWORKS`. Defaults to `"simclr"`.
        **harmonization: Arguments of `GeometricHarmonizationLoss`.
    """
    base, additions = split_method(method)
    loss: ContrastiveLoss
    if base == "tase":
        loss = TASELoss(temperature, num_prototypes=num_prototypes)
    elif base == "focal":
        loss = FocalNTXentLoss(temperature)
    elif framework == "byol" and "ts" not in additions:
        loss = BYOLLoss()
    else:
        loss = NTXentLoss(temperature)
    if "bcl" in additions:
        # Which refuses None.
        loss = BoostedLoss(loss, num_samples)  # type: ignore[arg-type]
    if "colt" in additions:
        loss = COLTLoss(base_loss=loss, num_samples=num_samples)
    if "gh" in additions:
        loss = GeometricHarmonizationLoss(
            loss, num_samples=num_samples, **harmonization
        )
    return loss


def build_optimizer(
    name: str,
    learning_rate: float,
    total_steps: int,
    weight_decay: float = 1e-4,
    warmup_steps: int | None = None,
) -> keras.optimizers.Optimizer:
    """Returns an optimizer with a warm-up and a cosine down to almost 0.

    Args:
        name: `"sgd"` or `"adamw"`.
        learning_rate: Largest learning rate, after `warmup_steps`.
        total_steps: Steps of the training.
        weight_decay: Its weight decay. Defaults to `1e-4`.
        warmup_steps: Steps in which the learning rate rises. Defaults to
            `None`, a twentieth of all.
    """
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10,
        total_steps,
        alpha=1e-5,
        warmup_target=learning_rate,
        warmup_steps=max(
            1, total_steps // 20 if warmup_steps is None else warmup_steps
        ),
    )
    if name == "adamw":
        return keras.optimizers.AdamW(schedule, weight_decay=weight_decay)
    return keras.optimizers.SGD(
        schedule, momentum=0.9, weight_decay=weight_decay
    )


def build_encoder(
    backbone: str, shape: tuple[int, int, int], weights: str | None = None
) -> keras.Model:
    """Returns an encoder for images of a shape.

    Args:
        backbone: One of `BACKBONES`, or see `backbone_encoder`.
        shape: Tuple `(height, width, channels)`.
        weights: See `backbone_encoder`. Defaults to `None`.

    Raises:
        ValueError: If there is no such encoder, or not for this shape.
    """
    if backbone not in BACKBONES:
        return backbone_encoder(backbone, shape, weights)
    if weights is not None:
        raise ValueError(
            f"`weights` must be None for {backbone}, which has none. "
            f"Received: weights={weights!r}"
        )
    if backbone == "small_convnet":
        return small_convnet(shape)
    is_large = min(shape[:2]) >= _LARGE
    return resnet18(shape, stem="imagenet" if is_large else "cifar")


def build_model(
    shape: tuple[int, int, int],
    loss: ContrastiveLoss,
    optimizer: keras.optimizers.Optimizer,
    backbone: str,
    seed: int,
    framework: str = "simclr",
    boosts_views: bool = False,
    rand_augment: float = 0.0,
    horizontal_flip: float = 0.5,
    weights: str | None = None,
    smallest_crop: float = 0.1,
    blur: float = 0.0,
    **arguments: Any,
) -> ContrastiveModel:
    """Returns a built model whose weights depend on the seed alone.

    Args:
        shape: Shape of an image, `(height, width, channels)`.
        loss: The loss.
        optimizer: The optimizer.
        backbone: See `build_encoder`.
        seed: Seed of weights and views.
        framework: One of `FRAMEWORKS`. Defaults to `"simclr"`.
        boosts_views: Whether views are those of BCL. Defaults to `False`.
        rand_augment: See `simclr_views`. Defaults to `0.0`.
        horizontal_flip: Probability of a mirrored view. Defaults to `0.5`.
        weights: See `build_encoder`. Defaults to `None`.
        smallest_crop: Smallest share of an image's area in a view. Defaults
            to `0.1`.
        blur: Probability of blur. Defaults to `0.0`.
        **arguments: Those of the framework beyond its parts.
    """
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(backbone, shape, weights)
    augmenter: keras.layers.Layer = simclr_views(
        shape[:2],
        scale=(smallest_crop, 1.0),
        horizontal_flip=horizontal_flip,
        blur=blur,
        seed=seed,
        rand_augment=rand_augment,
    )
    if boosts_views:
        augmenter = BoostedViews(augmenter, seed=seed)
    model = FRAMEWORKS[framework](encoder, augmenter=augmenter, **arguments)
    model.compile(optimizer, loss=loss)
    model.build((None, *shape))
    return model


def part_of(epochs: int, part: int, least: int = 1) -> int:
    """Returns the epochs that a published share of a training comes to.

    Args:
        epochs: Epochs of the training.
        part: One over the share.
        least: Smallest number of epochs. Defaults to `1`.
    """
    return max(least, round(epochs / part))


def harmonization_of(epochs: int) -> dict[str, int]:
    """Returns when Geometric Harmonization begins, in the published shares.

    Args:
        epochs: Epochs of the training.
    """
    return {
        "warmup_epochs": part_of(epochs, 2),
        "ramp_epochs": part_of(epochs, 100),
    }


def build_callbacks(
    additions: set[str],
    epochs: int,
    temperatures: tuple[float, float],
    period: float | None = None,
) -> list[keras.callbacks.Callback]:
    """Returns what changes between the epochs.

    Args:
        additions: Those of the method.
        epochs: Epochs of the training.
        temperatures: Smallest and largest temperature of `ts`.
        period: Epochs in a cycle of `ts`. Defaults to `None`: five cycles, or
            fewer of three epochs.
    """
    callbacks: list[keras.callbacks.Callback] = []
    if "gh" in additions:
        callbacks.append(PriorEstimation(interval=part_of(epochs, 50)))
    if "ts" in additions:
        if period is None:
            period = max(3.0, epochs / 5)
        schedule = CosineTemperature(*temperatures, period)
        callbacks.append(TemperatureScheduler(schedule))
    return callbacks
