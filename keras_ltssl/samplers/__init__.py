"""Which samples to add to a training set: arrays in, chosen rows out."""

from keras_ltssl.samplers.cluster_budgets import (
    cluster_budgets,
    cluster_scores,
)
from keras_ltssl.samplers.kmeans import kmeans
from keras_ltssl.samplers.nearest_to_centers import nearest_to_centers
from keras_ltssl.samplers.ood_choice import OODChoice, choose_ood

__all__ = [
    "OODChoice",
    "choose_ood",
    "cluster_budgets",
    "cluster_scores",
    "kmeans",
    "nearest_to_centers",
]
