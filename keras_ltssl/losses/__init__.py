"""Losses over `(batch, 2, dim)` projections: functions and Loss classes."""

from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.focal_nt_xent import FocalNTXentLoss, focal_nt_xent
from keras_ltssl.losses.nt_xent import NTXentLoss, nt_xent
from keras_ltssl.losses.tase import (
    TASELoss,
    sample_temperatures,
    sample_weights,
)

__all__ = [
    "ContrastiveLoss",
    "FocalNTXentLoss",
    "NTXentLoss",
    "TASELoss",
    "focal_nt_xent",
    "nt_xent",
    "sample_temperatures",
    "sample_weights",
]
