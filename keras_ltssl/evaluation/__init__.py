"""Is the encoder fair to rare classes? Probes, groups, report and pictures."""

from keras_ltssl.evaluation.class_similarity import (
    ClassSimilarity,
    class_similarity,
)
from keras_ltssl.evaluation.comparison import compare_reports
from keras_ltssl.evaluation.effective_rank import effective_rank
from keras_ltssl.evaluation.embedding import embed
from keras_ltssl.evaluation.groups import GroupAccuracy, group_accuracy
from keras_ltssl.evaluation.headness_estimate import headness_estimate
from keras_ltssl.evaluation.imbalance_curve import ImbalanceCurve
from keras_ltssl.evaluation.linear_probes import few_shot_probe, linear_probe
from keras_ltssl.evaluation.long_tail import LongTailData, long_tail_report
from keras_ltssl.evaluation.minibatch_probe import (
    LinearProbeSweep,
    minibatch_linear_probe,
)
from keras_ltssl.evaluation.near_duplicates import near_duplicates
from keras_ltssl.evaluation.nearest_neighbors import knn_probe
from keras_ltssl.evaluation.outliers import outliers
from keras_ltssl.evaluation.pictures import (
    plot_class_accuracy,
    plot_class_similarity,
    plot_embedding,
    plot_ood_choice,
    plot_tail_diagnosis,
    plot_temperature,
)
from keras_ltssl.evaluation.probe_result import ProbeResult
from keras_ltssl.evaluation.report import LongTailReport
from keras_ltssl.evaluation.tail_agreement import (
    GroupShare,
    TailAgreement,
    budget_shares,
    tail_agreement,
)
from keras_ltssl.evaluation.tail_diagnosis import tail_diagnosis
from keras_ltssl.evaluation.tail_diagnosis_result import TailDiagnosis

__all__ = [
    "ClassSimilarity",
    "GroupAccuracy",
    "GroupShare",
    "ImbalanceCurve",
    "LinearProbeSweep",
    "LongTailData",
    "LongTailReport",
    "ProbeResult",
    "TailAgreement",
    "TailDiagnosis",
    "budget_shares",
    "class_similarity",
    "compare_reports",
    "effective_rank",
    "embed",
    "few_shot_probe",
    "group_accuracy",
    "headness_estimate",
    "knn_probe",
    "linear_probe",
    "long_tail_report",
    "minibatch_linear_probe",
    "near_duplicates",
    "outliers",
    "plot_class_accuracy",
    "plot_class_similarity",
    "plot_embedding",
    "plot_ood_choice",
    "plot_tail_diagnosis",
    "plot_temperature",
    "tail_agreement",
    "tail_diagnosis",
]
