"""Scores of labels of which any number may hold, by their probabilities.

A label without a positive among the items scored has no average precision: it takes no part in the means, and
`labels_scored` tells how many labels do.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from trainers.scores.regression import Scores, mean_of_defined

NAN = float("nan")
CUTS = {"f1": 0.5, "f1_5pct": 0.05, "f1_10pct": 0.10, "f1_25pct": 0.25}
"""Probabilities above which a label is predicted, of each F1."""
TOP = 10
MULTILABEL = ("macro_ap", "micro_ap", "sample_ap", *CUTS, f"recall_top{TOP}", "labels_scored")
BY_FREQUENCY = ("macro_ap", "micro_ap", "sample_ap")
"""Scores that are also given of naming every label by its frequency, as `NAME_by_frequency`."""


def multilabel_metrics(
    prob: np.ndarray, label: np.ndarray, names: Sequence[str] = (), frequency: Sequence[float] | None = None
) -> Scores:
    """Average precision over labels, over items and over all pairs, F1 over all pairs, and recall of the ten likeliest.

    `macro_ap` is the mean over labels that hold for some items and not for others; `micro_ap` is of all pairs of item
    and label together; `sample_ap` is the mean over items that have a label: how high these rank among all. F1 is of
    all pairs, with labels predicted above a probability of 0.5, 0.05, 0.10 or 0.25. `recall_top10` is the mean share
    of an item's labels that are among its ten likeliest.

    Args:
        prob: [items, labels] probabilities. label: of the same shape; 0, 1, or NaN where it is not known.
        names: of the labels (default: their numbers).
        frequency: [labels] how often each holds in training; adds `macro_ap_by_frequency` and so on, the scores of
            predicting just that for every item: what a model has to beat.

    Returns:
        The scores, and `ap/NAME` of each label. NaN: not defined.
    """
    prob, label = np.asarray(prob, float), np.asarray(label, float)
    names = names or [str(number) for number in range(prob.shape[1])]
    known = np.isfinite(label)
    if not known.any() or not np.isfinite(prob).all():
        scores = dict.fromkeys(MULTILABEL, NAN) | {f"ap/{name}": NAN for name in names}
    else:
        each = label_precisions(prob, label)
        scores = precisions(prob, label, each)
        scores |= {name: micro_f1(prob[known] > cut, label[known] > 0) for name, cut in CUTS.items()}
        scores[f"recall_top{TOP}"] = top_recall(prob, label)
        scores["labels_scored"] = float(np.isfinite(each).sum())
        scores |= {f"ap/{name}": float(value) for name, value in zip(names, each, strict=True)}
    if frequency is not None:
        same = np.broadcast_to(np.asarray(frequency, float), prob.shape)
        found = precisions(same, label, label_precisions(same, label)) if known.any() else {}
        scores |= {f"{name}_by_frequency": found.get(name, NAN) for name in BY_FREQUENCY}
    return scores


def precisions(prob: np.ndarray, label: np.ndarray, each: np.ndarray) -> Scores:
    """Average precision in three ways; `each`: [labels] that of each label."""
    known = np.isfinite(label)
    pairs, positive = prob[known], label[known] > 0
    return {
        "macro_ap": mean_of_defined(each.tolist()),
        "micro_ap": float(average_precision_score(positive, pairs)) if positive.any() else NAN,
        "sample_ap": mean_of_defined(average_precisions(prob.T, label.T).tolist()),
    }


def label_precisions(prob: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[labels] average precision; NaN of a label that holds for all items or for none."""
    found = average_precisions(prob, label)
    return np.where((label == 0).any(axis=0), found, NAN)


def average_precisions(prob: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Average precision of each column, over its known rows; NaN of one without a positive.

    It equals `sklearn.metrics.average_precision_score` of each column, which knows no missing labels and takes a call a
    column: the mean, over the positives, of the share of positives among all rows that score at least as high.
    """
    prob, positive = np.asarray(prob, float), np.asarray(label) == 1
    above = rankdata(np.where(np.isfinite(label), -prob, np.inf), method="max", axis=0)
    hits = rankdata(np.where(positive, -prob, np.inf), method="max", axis=0)
    sums = np.where(positive, hits / above, 0.0).sum(axis=0)
    count = positive.sum(axis=0)
    return np.divide(sums, count, out=np.full(len(count), NAN), where=count > 0)


def micro_f1(said: np.ndarray, holds: np.ndarray) -> float:
    """F1 of all pairs of item and label; NaN where no label holds."""
    return float(2 * (said & holds).sum() / (said.sum() + holds.sum())) if holds.any() else NAN


def top_recall(prob: np.ndarray, label: np.ndarray, k: int = TOP) -> float:
    """Mean, over items that have a label, of the share of their labels among the k likeliest (all, where there are
    fewer)."""
    holds = label == 1
    chosen = np.argsort(-np.where(np.isfinite(label), prob, -np.inf), axis=1, kind="stable")[:, :k]
    found, count = np.take_along_axis(holds, chosen, axis=1).sum(axis=1), holds.sum(axis=1)
    return float((found[count > 0] / count[count > 0]).mean()) if count.any() else NAN
