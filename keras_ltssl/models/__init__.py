"""Models: the framework that trains, and two encoders to start with."""

from keras_ltssl.models.contrastive_model import ContrastiveModel
from keras_ltssl.models.resnet18 import resnet18
from keras_ltssl.models.small_convnet import small_convnet

__all__ = ["ContrastiveModel", "resnet18", "small_convnet"]
