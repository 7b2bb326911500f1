"""From samples to two views of each, as a model needs them."""

from typing import Any

import keras

from keras_ltssl.types import Tensor
from keras_ltssl.views.simclr_views import simclr_views
from keras_ltssl.views.two_views import TwoViews


def holds_views(
    shape: tuple[int | None, ...], encoder: keras.layers.Layer
) -> bool:
    """Returns whether data of this shape are ready-made views, not samples.

    Args:
        shape: Shape of the data, `(batch, ...)`.
        encoder: The encoder. If its input shape is known, views have one axis
            more.
    """
    has_two = len(shape) > 2 and shape[1] == 2
    if getattr(encoder, "inputs", None):
        return has_two and len(shape) == len(encoder.input_shape) + 1
    return has_two


def default_augmenter(shape: tuple[int | None, ...]) -> TwoViews:
    """Returns SimCLR's views for images of this shape.

    Args:
        shape: `(batch, height, width, channels)`.
    """
    height, width, channels = shape[1:]
    if height is None or width is None:
        raise ValueError(
            "The default views need images of one size. Received: "
            f"x.shape={tuple(shape)}. Pass an `augmenter`."
        )
    if channels not in (1, 3):
        raise ValueError(
            "The default views take images of 1 or 3 channels. Pass "
            "an `augmenter`, such as `TwoViews([RandomResizedCrop("
            "height, width)])`: RandomResizedCrop and RandomBlur take "
            "any number of channels, RandomColorDistortion takes 1 or "
            f"3. Received: x.shape={tuple(shape)}"
        )
    return simclr_views((height, width))


def needs_ids(augmenter: keras.layers.Layer | None) -> bool:
    """Returns whether an augmenter is called with sample ids.

    Args:
        augmenter: Layer that makes the views, or `None`.
    """
    return bool(getattr(augmenter, "needs_ids", False))


def takes_views(augmenter: keras.layers.Layer | None) -> bool:
    """Returns whether an augmenter is called with two views of each sample.

    Args:
        augmenter: Layer that makes the views, or `None`.
    """
    return bool(getattr(augmenter, "takes_views", False))


def check_crops(data: Any, augmenter: keras.layers.Layer | None) -> None:
    """Raises if an augmenter would not be called with the crops of the data.

    Args:
        data: Argument `x` of `fit`.
        augmenter: Layer that makes the views, or `None`.
    """
    if getattr(data, "crop_scale", None) and not takes_views(augmenter):
        raise ValueError(
            "`augmenter` must take the random crops of the data, such as "
            "`simclr_views(size, scale=None)` or `TwoViews(layers, "
            "takes_views=True)`; without, they would be used as they are. "
            f"Received: augmenter={type(augmenter).__name__}, data with "
            f"crop_scale={data.crop_scale}"
        )


def make_views(
    augmenter: keras.layers.Layer | None,
    samples: Tensor,
    ids: Tensor | None,
    training: bool | None,
) -> Tensor:
    """Returns two views of each sample, `(batch, 2, ...)`.

    Args:
        augmenter: Layer that makes the views, or `None`, which is an error.
        samples: `(batch, ...)`.
        ids: Sample ids, `(batch,)`, or `None` at inference.
        training: Whether the model trains.
    """
    if augmenter is None:
        raise ValueError(
            "`x` must hold ready-made views, (batch, 2, ...), or "
            "images, (batch, height, width, channels); for other "
            "samples pass an `augmenter` that makes views. "
            f"Received: x.shape={tuple(samples.shape)}"
        )
    if ids is None:
        return augmenter(samples, training=training)
    return augmenter(samples, training=training, ids=ids)


def check_ready_made(augmenter: keras.layers.Layer | None, views: Any) -> None:
    """Raises if views are ready-made but depend on ids.

    Args:
        augmenter: Layer that would make the views, or `None`.
        views: What the model was called with, `(batch, 2, ...)`.
    """
    if needs_ids(augmenter):
        raise ValueError(
            f"{type(augmenter).__name__} makes the views of each "
            "sample by its id, so `x` must hold samples, (batch, ...). "
            f"Received ready-made views: x.shape={tuple(views.shape)}"
        )


def check_two(views: Any) -> None:
    """Raises if an augmenter has not made two views of each sample."""
    if len(views.shape) < 3 or views.shape[1] != 2:
        raise ValueError(
            "`augmenter` must return two views of each sample, "
            f"(batch, 2, ...). Received: shape={tuple(views.shape)}"
        )
