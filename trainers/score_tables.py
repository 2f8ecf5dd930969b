"""Scores as plain numbers for JSON and as Markdown tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.scores import Interval

SHOWN: dict[str, tuple[str, ...]] = {
    "regression": ("rmse", "mae", "pearson", "spearman", "within_group_spearman"),
    "binary_classifier": ("auroc", "average_precision", "f1", "mcc", "accuracy"),
    "multiclass_classifier": ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "auroc"),
    "multilabel": ("macro_ap", "micro_ap", "sample_ap", "f1_10pct", "f1_25pct", "macro_ap_by_frequency"),
    "masking": ("masked_accuracy", "masked_accuracy_top5", "loss"),
    "prot_interface": ("recall_at_1", "recall_at_5", "recall_at_10", "mean_reciprocal_rank"),
}
"""Scores of a task that its tables show, in this order."""


def scored_as(task: str) -> str:
    """The task whose scores a task's tables show: both kinds of regression have the same."""
    return "regression" if task == "PDBBind" else task


def plain_scores(scores: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    """Name -> [value, low, high], with None for what is not a number."""
    return {name: [None if math.isnan(v) else round(float(v), 6) for v in score] for name, score in scores.items()}


def cell(score: Sequence[float | None] | None) -> str:
    """A value with its interval [value, low, high] or deviation [value, deviation], as far as they are defined."""
    if not score or score[0] is None:
        return "-"
    value, *rest = score
    if not rest or None in rest:
        return f"{value:.3f}"
    return f"{value:.3f} ± {rest[0]:.3f}" if len(rest) == 1 else f"{value:.3f} ({rest[0]:.3f} to {rest[1]:.3f})"


def markdown_table(rows: Sequence[Mapping[str, Any]], task: str) -> str:
    """A table with a row for each predictor (and subset), and the task's scores that any row has."""
    names = [name for name in SHOWN[task] if any(row["scores"].get(name, [None])[0] is not None for row in rows)]
    lines = [f"| predictor | items | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        label = f"{row['predictor']} ({row['subset']}...)" if row.get("subset") else row["predictor"]
        lines.append(f"| {label} | {row['items']} | {' | '.join(cell(row['scores'].get(name)) for name in names)} |")
    return "\n".join(lines) + "\n"
