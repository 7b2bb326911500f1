"""Pictures of a run, as PNG files; they need the `plots` extra."""

from keras_ltssl.evaluation.pictures.class_accuracy import plot_class_accuracy
from keras_ltssl.evaluation.pictures.class_similarity import (
    plot_class_similarity,
)
from keras_ltssl.evaluation.pictures.embedding import plot_embedding
from keras_ltssl.evaluation.pictures.ood_choice import plot_ood_choice
from keras_ltssl.evaluation.pictures.tail_diagnosis import (
    plot_tail_diagnosis,
)
from keras_ltssl.evaluation.pictures.temperature import plot_temperature

__all__ = [
    "plot_class_accuracy",
    "plot_class_similarity",
    "plot_embedding",
    "plot_ood_choice",
    "plot_tail_diagnosis",
    "plot_temperature",
]
