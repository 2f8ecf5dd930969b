"""Scores of predicted classes: two classes by a score, several by their probabilities."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
    recall_score,
    roc_auc_score,
)

from trainers.scores.regression import Scores, known, mean_of_defined

NAN = float("nan")
BINARY = ("auroc", "average_precision", "f1", "mcc", "accuracy", "f1_macro")
MULTICLASS = ("accuracy", "balanced_accuracy", "macro_f1", "f1_macro", "mcc", "auroc", "average_precision")


def binary_metrics(score: np.ndarray, label: np.ndarray, threshold: float | None = None) -> Scores:
    """AUROC, average precision, F1, Matthews correlation, accuracy, and the mean F1 of the classes that occur.

    With one class only, all but the accuracy and the mean F1 (and F1, if it is the positive class) are NaN.

    Args:
        score: [items] probabilities or logits of class 1. label: [items] 0 or 1; NaN is missing.
        threshold: scores above it are class 1 (default: 0.5 when all scores are in [0, 1], else 0).
    """
    score, label = known(np.reshape(score, -1), np.reshape(label, -1))
    if not len(score) or not np.isfinite(score).all():
        return dict.fromkeys(BINARY, NAN)
    if threshold is None:
        threshold = 0.5 if score.min() >= 0 and score.max() <= 1 else 0.0
    said, label = (score > threshold).astype(int), label.astype(int)
    both = len(np.unique(label)) == 2
    return {
        "auroc": float(roc_auc_score(label, score)) if both else NAN,
        "average_precision": float(average_precision_score(label, score)) if both else NAN,
        "f1": float(f1_score(label, said, zero_division=np.nan)) if label.any() else NAN,
        "mcc": matthews(label, said),
        "accuracy": float(accuracy_score(label, said)),
        "f1_macro": f1_of_classes_present(label, said),
    }


def multiclass_metrics(prob: np.ndarray, label: np.ndarray, names: Sequence[str] = ()) -> Scores:
    """Accuracy, balanced accuracy, macro F1, Matthews correlation, AUROC, average precision.

    AUROC and average precision are those of each class against the rest, averaged over the classes that occur, as is
    the balanced accuracy; macro_f1 averages over the classes that occur or are predicted, f1_macro over those
    that occur.

    Args:
        prob: [items, classes] probabilities. label: [items] class numbers; NaN is missing.
        names: of the classes (default: their numbers).

    Returns:
        The scores, and `accuracy/NAME` of each class: the share of its items that is recognised (NaN: none occurs).
    """
    prob = np.asarray(prob, float)
    classes = range(prob.shape[1])
    names = names or [str(number) for number in classes]
    label = np.asarray(label, float).reshape(-1)
    there = np.isfinite(label)
    prob, label = prob[there], label[there].astype(int)
    if not len(label) or not np.isfinite(prob).all():
        return dict.fromkeys((*MULTICLASS, *(f"accuracy/{name}" for name in names)), NAN)
    said = prob.argmax(axis=1)
    recalled = recall_score(label, said, labels=list(classes), average=None, zero_division=np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about predicted classes that don't occur
        balanced = float(balanced_accuracy_score(label, said))
    scores = {
        "accuracy": float(accuracy_score(label, said)),
        "balanced_accuracy": balanced,
        "macro_f1": float(f1_score(label, said, average="macro", zero_division=0)),
        "f1_macro": f1_of_classes_present(label, said),
        "mcc": matthews(label, said),
        "auroc": mean_of_defined([area(prob[:, c], label == c) for c in classes]),
        "average_precision": mean_of_defined([average_precision(prob[:, c], label == c) for c in classes]),
    }
    return scores | {f"accuracy/{name}": float(value) for name, value in zip(names, recalled, strict=True)}


def f1_of_classes_present(label: np.ndarray, said: np.ndarray) -> float:
    """Mean F1 over the classes that occur among the labels."""
    return float(f1_score(label, said, labels=np.unique(label), average="macro", zero_division=0))


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of one class against the rest; NaN when either is empty."""
    return float(roc_auc_score(positive, score)) if positive.any() and not positive.all() else NAN


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Average precision of one class against the rest; NaN when either is empty."""
    return float(average_precision_score(positive, score)) if positive.any() and not positive.all() else NAN


def matthews(label: np.ndarray, said: np.ndarray) -> float:
    """Matthews correlation coefficient; NaN when all labels or all predictions are equal."""
    return float(matthews_corrcoef(label, said)) if np.ptp(label) and np.ptp(said) else NAN
