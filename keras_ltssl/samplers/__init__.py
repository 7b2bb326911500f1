"""Samplers choose which samples to add to a training set, or to label."""

from keras_ltssl.samplers.choose_to_label import choose_to_label
from keras_ltssl.samplers.cluster_budgets import (
    cluster_budgets,
    cluster_scores,
)
from keras_ltssl.samplers.colt import OODChoice, choose_colt
from keras_ltssl.samplers.greedy_k_centers import greedy_k_centers
from keras_ltssl.samplers.kmeans import kmeans
from keras_ltssl.samplers.mak import MAKChoice, choose_mak
from keras_ltssl.samplers.nearest_to_centers import nearest_to_centers
from keras_ltssl.samplers.pool_choice import PoolChoice
from keras_ltssl.samplers.rank_in_band import rank_in_band
from keras_ltssl.samplers.write_to_label import write_to_label

__all__ = [
    "MAKChoice",
    "OODChoice",
    "PoolChoice",
    "choose_colt",
    "choose_mak",
    "choose_to_label",
    "cluster_budgets",
    "cluster_scores",
    "greedy_k_centers",
    "kmeans",
    "nearest_to_centers",
    "rank_in_band",
    "write_to_label",
]
