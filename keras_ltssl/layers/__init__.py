"""Layers: views of an image, projection head, and the state of losses."""

from keras_ltssl.layers.boosted_views import BoostedViews
from keras_ltssl.layers.geometric_targets import GeometricTargets
from keras_ltssl.layers.headness import Assignment, Headness
from keras_ltssl.layers.key_queue import KeyQueue
from keras_ltssl.layers.loss_state import LossState
from keras_ltssl.layers.mixed_headness import MixedHeadness
from keras_ltssl.layers.per_sample_rand_augment import PerSampleRandAugment
from keras_ltssl.layers.projection_head import ProjectionHead
from keras_ltssl.layers.prototypes import Prototypes
from keras_ltssl.layers.random_blur import RandomBlur
from keras_ltssl.layers.random_color_distortion import RandomColorDistortion
from keras_ltssl.layers.random_resized_crop import RandomResizedCrop
from keras_ltssl.layers.sample_memory import SampleMemory
from keras_ltssl.layers.share_headness import ShareHeadness
from keras_ltssl.layers.simclr_views import simclr_views
from keras_ltssl.layers.two_views import TwoViews
from keras_ltssl.layers.typicality_headness import TypicalityHeadness

__all__ = [
    "Assignment",
    "BoostedViews",
    "GeometricTargets",
    "Headness",
    "KeyQueue",
    "LossState",
    "MixedHeadness",
    "PerSampleRandAugment",
    "ProjectionHead",
    "Prototypes",
    "RandomBlur",
    "RandomColorDistortion",
    "RandomResizedCrop",
    "SampleMemory",
    "ShareHeadness",
    "TwoViews",
    "TypicalityHeadness",
    "simclr_views",
]
