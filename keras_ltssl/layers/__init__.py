"""Layers: views of images, the projection head, and the state of losses."""

from keras_ltssl.layers.projection_head import ProjectionHead
from keras_ltssl.state.density_headness import DensityHeadness
from keras_ltssl.state.geometric_targets import GeometricTargets
from keras_ltssl.state.headness import Headness
from keras_ltssl.state.key_queue import KeyQueue
from keras_ltssl.state.loss_state import LossState
from keras_ltssl.state.mixed_headness import MixedHeadness
from keras_ltssl.state.prototypes import Prototypes
from keras_ltssl.state.random_tags import RandomTags
from keras_ltssl.state.ranked_headness import RankedHeadness
from keras_ltssl.state.sample_memory import SampleMemory
from keras_ltssl.state.share_headness import ShareHeadness
from keras_ltssl.state.typicality_headness import TypicalityHeadness
from keras_ltssl.views.boosted_views import BoostedViews
from keras_ltssl.views.per_sample_rand_augment import PerSampleRandAugment
from keras_ltssl.views.random_blur import RandomBlur
from keras_ltssl.views.random_color_distortion import RandomColorDistortion
from keras_ltssl.views.random_resized_crop import RandomResizedCrop
from keras_ltssl.views.simclr_views import simclr_views
from keras_ltssl.views.two_views import TwoViews

__all__ = [
    "BoostedViews",
    "DensityHeadness",
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
    "RandomTags",
    "RankedHeadness",
    "SampleMemory",
    "ShareHeadness",
    "TwoViews",
    "TypicalityHeadness",
    "simclr_views",
]
