"""Scores of predictions: numpy arrays in, plain numbers under fixed names out. What is undefined is NaN."""

from trainers.scores.bootstrap import Interval, bootstrap
from trainers.scores.classification import binary_metrics, multiclass_metrics
from trainers.scores.multilabel import multilabel_metrics
from trainers.scores.regression import regression_metrics, spearman_by_group, within_group_spearman
from trainers.scores.retrieval import retrieval_metrics, retrieval_scores

__all__ = [
    "METRIC_DIRECTION",
    "Interval",
    "binary_metrics",
    "bootstrap",
    "multiclass_metrics",
    "multilabel_metrics",
    "regression_metrics",
    "retrieval_metrics",
    "retrieval_scores",
    "smaller_is_better",
    "spearman_by_group",
    "within_group_spearman",
]

# Whether a smaller value is better, for every metric; what is not here is a loss.
METRIC_DIRECTION: dict[str, bool] = {
    **dict.fromkeys(("rmse", "mae", "smape", "relative_error"), True),
    **dict.fromkeys(("band_5pct", "band_10pct", "band_20pct", "f1_macro"), False),
    **dict.fromkeys(("pearson", "spearman", "kendall"), False),
    **dict.fromkeys(("within_group_spearman", "within_group_spearman_median"), False),
    **dict.fromkeys(("auroc", "average_precision", "f1", "macro_f1", "mcc", "accuracy", "balanced_accuracy"), False),
    **dict.fromkeys(("masked_accuracy", "masked_accuracy_top5", "masked_majority_rate"), False),
    **dict.fromkeys(("macro_ap", "micro_ap", "sample_ap", "ap", "recall_top10", "labels_scored"), False),
    **dict.fromkeys(("macro_ap_by_frequency", "micro_ap_by_frequency", "sample_ap_by_frequency"), False),
    **dict.fromkeys(("f1_5pct", "f1_10pct", "f1_25pct"), False),
    **dict.fromkeys(("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank"), False),
}


def smaller_is_better(name: str) -> bool:
    """Direction of a metric by its name; `rmse/NAME` goes by `rmse`, and an unknown name counts as a loss."""
    return METRIC_DIRECTION.get(name.partition("/")[0], True)
