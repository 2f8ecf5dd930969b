"""Weighted sums of named numbers over batches and ranks: what a set scores does not depend on how it was batched."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.distributed import gather_objects
from trainers.scores import multiclass_metrics as classification_metrics
from trainers.scores import regression_metrics

__all__ = [
    "Meter",
    "Predictions",
    "Weighted",
    "classification_metrics",
    "majority_rate",
    "merge",
    "regression_metrics",
    "top_k_correct",
    "weigh",
]


class Weighted(NamedTuple):
    """A batch's value of a named quantity.

    Over a set the quantity is sum(value * multiplier) / sum(weight). For a mean over items both are the items' number.
    """

    value: Tensor | float
    multiplier: float
    weight: float


def weigh(parts: Mapping[str, Tensor | float], counts: Mapping[str, tuple[float, float]]) -> dict[str, Weighted]:
    """Give each part the multiplier and count of the first word of its name, or those of "" (items)."""
    return {name: Weighted(value, *counts.get(name.partition("_")[0], counts[""])) for name, value in parts.items()}


class Meter:
    """Running sums of named quantities. Values stay on their device until they are asked for."""

    def __init__(self, sums: Mapping[str, list[float]] | None = None) -> None:
        self._sums: dict[str, Any] = {name: tuple(pair) for name, pair in (sums or {}).items()}

    def add(self, parts: Mapping[str, Weighted]) -> None:
        """Add one batch."""
        for name, (value, multiplier, count) in parts.items():
            value = value.detach().double() if isinstance(value, Tensor) else value
            old, weight = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (old + value * multiplier, weight + count)

    def sums(self) -> dict[str, list[float]]:
        """Sum and count of each quantity on this rank, as plain numbers."""
        return {name: [float(total), float(count)] for name, (total, count) in self._sums.items()}

    def means(self) -> dict[str, float]:
        """Each quantity over all ranks. A collective call: every rank must make it, and gets the same numbers."""
        merged = merge(gather_objects(self.sums()))
        return {name: total / count for name, (total, count) in merged.items() if count > 0}


def merge(sums: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Add up the sums of several ranks."""
    merged: dict[str, list[float]] = {}
    for one in sums:
        for name, (total, count) in one.items():
            entry = merged.setdefault(name, [0.0, 0.0])
            entry[0] += total
            entry[1] += count
    return merged


class Predictions:
    """Per-sample arrays kept for metrics of the whole set (accuracy, correlation)."""

    def __init__(self) -> None:
        self._kept: dict[str, list[np.ndarray]] = {}

    def add(self, arrays: Mapping[str, Tensor | list[str]]) -> None:
        """Keep one batch's arrays, or lists of text; the first axis counts samples."""
        for name, array in arrays.items():
            if not isinstance(array, Tensor):
                self._kept.setdefault(name, []).append(np.asarray(array))
                continue
            array = array.detach().cpu()
            array = array.float() if array.dtype == torch.bfloat16 else array
            self._kept.setdefault(name, []).append(array.numpy())

    def gather(self) -> dict[str, np.ndarray]:
        """The arrays of all ranks, one after the other. A collective call."""
        everything = gather_objects({name: np.concatenate(parts) for name, parts in self._kept.items()})
        names = sorted({name for one in everything for name in one})
        return {name: np.concatenate([one[name] for one in everything if name in one]) for name in names}


def majority_rate(labels: np.ndarray) -> float:
    """Accuracy of always naming the most frequent of these labels."""
    return float(np.bincount(labels).max() / len(labels))


def top_k_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """[samples] whether the label is among the k classes with the highest logits.

    Args:
        logits: [samples, classes]. labels: [samples] class numbers.
    """
    return (logits.topk(min(k, logits.shape[1]), dim=1).indices == labels[:, None]).any(1)
