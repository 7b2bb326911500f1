"""Losses over `(batch, 2, dim)` projections: functions and Loss classes."""

from keras_ltssl.losses.boosted import BoostedLoss, boosted_weights
from keras_ltssl.losses.byol import BYOLLoss, normalized_mse
from keras_ltssl.losses.colt import COLTLoss
from keras_ltssl.losses.con_mix import ConMixLoss, con_mix
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.distribution_supcon import distribution_supcon
from keras_ltssl.losses.dystress import (
    DySTreSSLoss,
    dystress,
    pair_temperatures,
)
from keras_ltssl.losses.focal_nt_xent import FocalNTXentLoss, focal_nt_xent
from keras_ltssl.losses.geometric_harmonization import (
    GeometricHarmonizationLoss,
)
from keras_ltssl.losses.harmonization_term import (
    geometric_harmonization,
)
from keras_ltssl.losses.isogclr import ISogCLRLoss
from keras_ltssl.losses.kernels.queue import queue_nt_xent
from keras_ltssl.losses.kernels.sinkhorn import sinkhorn
from keras_ltssl.losses.kernels.sinkhorn_options import SinkhornOptions
from keras_ltssl.losses.macl import MACLLoss, aligned_temperature, macl
from keras_ltssl.losses.nt_xent import NTXentLoss, nt_xent
from keras_ltssl.losses.requirements import Requirements
from keras_ltssl.losses.sogclr import SogCLRLoss
from keras_ltssl.losses.step import Step
from keras_ltssl.losses.tail_score import tail_score
from keras_ltssl.losses.target_prior import power_law_prior
from keras_ltssl.losses.tase import TASELoss
from keras_ltssl.losses.tase_terms import (
    inverse_headness_weights,
    inverse_share_weights,
    sample_temperatures,
)
from keras_ltssl.losses.temperature_loss import TemperatureLoss
from keras_ltssl.losses.wrapping_loss import WrappingLoss, find_loss

__all__ = [
    "BYOLLoss",
    "BoostedLoss",
    "COLTLoss",
    "ConMixLoss",
    "ContrastiveLoss",
    "DySTreSSLoss",
    "FocalNTXentLoss",
    "GeometricHarmonizationLoss",
    "ISogCLRLoss",
    "MACLLoss",
    "NTXentLoss",
    "Requirements",
    "SinkhornOptions",
    "SogCLRLoss",
    "Step",
    "TASELoss",
    "TemperatureLoss",
    "WrappingLoss",
    "aligned_temperature",
    "boosted_weights",
    "con_mix",
    "distribution_supcon",
    "dystress",
    "find_loss",
    "focal_nt_xent",
    "geometric_harmonization",
    "inverse_headness_weights",
    "inverse_share_weights",
    "macl",
    "normalized_mse",
    "nt_xent",
    "pair_temperatures",
    "power_law_prior",
    "queue_nt_xent",
    "sample_temperatures",
    "sinkhorn",
    "tail_score",
]
