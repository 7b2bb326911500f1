"""Pictures of a run, as PNG files; they need the `plots` extra."""

from keras_ltssl.evaluation.pictures.class_accuracy import plot_class_accuracy
from keras_ltssl.evaluation.pictures.embedding import plot_embedding
from keras_ltssl.evaluation.pictures.ood_choice import plot_ood_choice
from keras_ltssl.evaluation.pictures.temperature import plot_temperature

__all__ = [
    "plot_class_accuracy",
    "plot_embedding",
    "plot_ood_choice",
    "plot_temperature",
]
