"""Losses over `(batch, 2, dim)` projections: functions and Loss classes."""

from keras_ltssl.losses.colt import COLTLoss
from keras_ltssl.losses.contrastive_loss import ContrastiveLoss
from keras_ltssl.losses.distribution_supcon import distribution_supcon
from keras_ltssl.losses.focal_nt_xent import FocalNTXentLoss, focal_nt_xent
from keras_ltssl.losses.geometric_harmonization import (
    GeometricHarmonizationLoss,
)
from keras_ltssl.losses.harmonization_term import (
    geometric_harmonization,
    harmonization_from_scores,
    target_scores,
)
from keras_ltssl.losses.nt_xent import NTXentLoss, nt_xent
from keras_ltssl.losses.sinkhorn import sinkhorn
from keras_ltssl.losses.tail_score import tail_score
from keras_ltssl.losses.tase import (
    TASELoss,
    sample_temperatures,
    sample_weights,
)

__all__ = [
    "COLTLoss",
    "ContrastiveLoss",
    "FocalNTXentLoss",
    "GeometricHarmonizationLoss",
    "NTXentLoss",
    "TASELoss",
    "distribution_supcon",
    "focal_nt_xent",
    "geometric_harmonization",
    "harmonization_from_scores",
    "nt_xent",
    "sample_temperatures",
    "sample_weights",
    "sinkhorn",
    "tail_score",
    "target_scores",
]
