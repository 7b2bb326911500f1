"""Makes the model of a run from its settings."""

from typing import Any

import keras

from keras_ltssl.command import recipe
from keras_ltssl.datasets import DirectoryBatches
from keras_ltssl.models import ContrastiveModel


def model_of(
    settings: dict[str, Any], photos: DirectoryBatches
) -> tuple[ContrastiveModel, list[keras.callbacks.Callback]]:
    """Returns the model and what changes between its epochs."""
    _, additions = recipe.split_method(settings["method"])
    epochs, temperature = settings["epochs"], settings["temperature"]
    num_images = len(photos.paths)
    loss = recipe.build_loss(
        settings["method"],
        temperature,
        num_samples=num_images,
        framework=settings["framework"],
        **_given(
            recipe.harmonization_of(epochs),
            warmup_epochs=settings["gh_warmup"],
            ramp_epochs=settings["gh_ramp"],
        ),
    )
    optimizer = recipe.build_optimizer(
        settings["optimizer"],
        settings["learning_rate"],
        epochs * len(photos),
        settings["weight_decay"],
        None
        if settings["warmup_epochs"] is None
        else settings["warmup_epochs"] * len(photos),
    )
    shape = photos.rows.shape
    arguments = {}
    if settings["framework"] == "moco":
        # More keys than images would be keys of the same images.
        size = min(settings["queue_size"] or 4096, num_images)
        arguments = {"queue_size": size}
    elif settings["framework"] == "sdclr":
        arguments = _given({}, pruned_share=settings["pruned_share"])
    model = recipe.build_model(
        (shape[0], shape[1], shape[2]),
        loss,
        optimizer,
        settings["backbone"],
        settings["seed"],
        settings["framework"],
        boosts_views="bcl" in additions,
        rand_augment=0.0 if "bcl" in additions else settings["rand_augment"],
        horizontal_flip=0.5 if settings["horizontal_flip"] else 0.0,
        weights=settings["weights"],
        smallest_crop=settings["smallest_crop"],
        blur=settings["blur"],
        **arguments,
    )
    smallest, largest = settings["temperature_min"], settings["temperature_max"]
    return model, recipe.build_callbacks(
        additions,
        epochs,
        (
            temperature / 2 if smallest is None else smallest,
            temperature * 3 / 2 if largest is None else largest,
        ),
        settings["period"],
    )


def _given(defaults: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Returns the defaults, and in their place what is not None."""
    given = {name: value for name, value in values.items() if value is not None}
    return {**defaults, **given}
