"""Self-supervised learning on long-tailed data, in Keras 3."""

from keras_ltssl import (
    callbacks,
    datasets,
    evaluation,
    initializers,
    layers,
    losses,
    models,
    report,
    samplers,
    schedules,
)
from keras_ltssl.version import __version__

__all__ = [
    "__version__",
    "callbacks",
    "datasets",
    "evaluation",
    "initializers",
    "layers",
    "losses",
    "models",
    "report",
    "samplers",
    "schedules",
]
