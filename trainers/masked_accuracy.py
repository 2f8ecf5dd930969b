"""Scores of naming masked blocks: what the trainers that mask have in common."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.batches import entry
from trainers.metrics import majority_rate, top_k_correct

TOP_K = 5
MASKED_METRICS = ("masked_accuracy", f"masked_accuracy_top{TOP_K}", "masked_majority_rate")


def masked_hits(logits: Tensor | None, batch: Any) -> dict[str, Tensor]:
    """[masked] whether each masked block was named, by the first and by the first five guesses; empty without any."""
    labels = entry(batch, "masked_labels")
    if logits is None or labels is None or not len(labels):
        return {}
    logits = logits.detach()
    return {
        "accuracy": top_k_correct(logits, labels, 1),
        f"accuracy_top{TOP_K}": top_k_correct(logits, labels, TOP_K),
    }


def masked_parts(logits: Tensor | None, batch: Any) -> dict[str, Tensor]:
    """Accuracies of a step, to log beside its losses."""
    return {f"masked_{name}": hits.float().mean() for name, hits in masked_hits(logits, batch).items()}


def masked_labels(batch: Any) -> Mapping[str, Tensor]:
    """The labels of a validation step, from which the majority rate of the whole set is made."""
    labels = entry(batch, "masked_labels")
    return {} if labels is None or not len(labels) else {"masked_labels": labels}


def masked_predictions(logits: Tensor | None, batch: Any) -> Mapping[str, Any]:
    """Labels and hits of every masked block, and the `id` of its item where items have one."""
    found = dict(masked_labels(batch)) | {f"masked_{name}": hits for name, hits in masked_hits(logits, batch).items()}
    ids = entry(batch, "id")
    if not found or not ids:
        return found
    graph = torch.arange(len(ids)).repeat_interleave(batch["lengths"].cpu())
    owners = graph[batch["masked_blocks"].bool().cpu()]
    return found | {"id": [ids[i] for i in owners.tolist()]}


def masked_metrics(predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How often the most frequent class would be right; the accuracies are already means over masked blocks."""
    if "masked_labels" not in predictions:
        return {}
    return {"masked_majority_rate": majority_rate(predictions["masked_labels"])}
