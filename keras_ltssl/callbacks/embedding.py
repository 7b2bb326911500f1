"""Embeds a set of samples between two epochs of training."""

from keras_ltssl.evaluation.embed_rows import VERBOSE
from keras_ltssl.evaluation.embed_rows import embed_rows as embed

__all__ = ["VERBOSE", "embed"]
