"""Callbacks that change or measure something between steps and epochs."""

from keras_ltssl.callbacks.feature_monitor import FeatureMonitor
from keras_ltssl.callbacks.knn_probe import KNNProbe
from keras_ltssl.callbacks.mak_sampler import MAKSampler
from keras_ltssl.callbacks.ood_sampler import OODSampler
from keras_ltssl.callbacks.pool_sampler import PoolSampler
from keras_ltssl.callbacks.prior_estimation import PriorEstimation
from keras_ltssl.callbacks.prototype_refit import PrototypeRefit
from keras_ltssl.callbacks.resumable_checkpoint import ResumableCheckpoint
from keras_ltssl.callbacks.temperature_scheduler import TemperatureScheduler

__all__ = [
    "FeatureMonitor",
    "KNNProbe",
    "MAKSampler",
    "OODSampler",
    "PoolSampler",
    "PriorEstimation",
    "PrototypeRefit",
    "ResumableCheckpoint",
    "TemperatureScheduler",
]
