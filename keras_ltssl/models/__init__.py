"""Models: the frameworks that train, and encoders to start with."""

from keras_ltssl.models.backbone_encoder import backbone_encoder
from keras_ltssl.models.byol import BYOL
from keras_ltssl.models.contrastive_model import ContrastiveModel
from keras_ltssl.models.momentum_contrast import MomentumContrast
from keras_ltssl.models.resnet18 import resnet18
from keras_ltssl.models.self_damaging_contrast import SelfDamagingContrast
from keras_ltssl.models.small_convnet import small_convnet
from keras_ltssl.models.torch_encoder import torch_encoder
from keras_ltssl.models.torch_kernels import use_torch_kernels

__all__ = [
    "BYOL",
    "ContrastiveModel",
    "MomentumContrast",
    "SelfDamagingContrast",
    "backbone_encoder",
    "resnet18",
    "small_convnet",
    "torch_encoder",
    "use_torch_kernels",
]
