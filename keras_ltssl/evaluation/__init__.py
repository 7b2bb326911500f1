"""Is the encoder fair to rare classes? Probes, groups, report and pictures."""

from keras_ltssl.evaluation.comparison import compare_reports
from keras_ltssl.evaluation.groups import GroupAccuracy, group_accuracy
from keras_ltssl.evaluation.linear_probes import few_shot_probe, linear_probe
from keras_ltssl.evaluation.long_tail import LongTailData, long_tail_report
from keras_ltssl.evaluation.nearest_neighbors import knn_probe
from keras_ltssl.evaluation.pictures import (
    plot_class_accuracy,
    plot_embedding,
    plot_temperature,
)
from keras_ltssl.evaluation.probe_result import ProbeResult
from keras_ltssl.evaluation.report import LongTailReport

__all__ = [
    "GroupAccuracy",
    "LongTailData",
    "LongTailReport",
    "ProbeResult",
    "compare_reports",
    "few_shot_probe",
    "group_accuracy",
    "knn_probe",
    "linear_probe",
    "long_tail_report",
    "plot_class_accuracy",
    "plot_embedding",
    "plot_temperature",
]
