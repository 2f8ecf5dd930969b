"""Losses of pretraining (parity SPEC 6): pure functions; each has a base, the loss of predicting nothing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from models.graph import counted


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over all elements; zero for none."""
    return (prediction - target).square().sum() / max(target.numel(), 1)


def torsion_loss(prediction: Tensor, target: Tensor, graph: Tensor, n_graphs: int) -> Tensor:
    """Mean over graphs of the mean squared error over the bonds of each.

    Graphs behind the last one that has a bond do not count; one in between without bonds counts as zero, as published.

    Args:
        prediction, target: [bonds]. graph: [bonds] graph of each bond.
    """
    total = prediction.new_zeros(n_graphs).index_add(0, graph, (prediction - target).square())
    count = counted(graph, n_graphs)
    n_counted = count.flip(0).cummax(0).values.flip(0).gt(0).sum()
    return (total / count.clamp(min=1)).sum() / n_counted.clamp(min=1)


def atom_loss(prediction: Tensor, target: Tensor, noised: Tensor, graph: Tensor, n_graphs: int) -> Tensor:
    """Mean over graphs of the mean squared length of the error over the noised atoms.

    Args:
        prediction, target: [atoms, 3]. noised: [atoms] bool. graph: [atoms].
    """
    squared = (prediction - target).square().sum(1) * noised
    total = squared.new_zeros(n_graphs).index_add(0, graph, squared)
    count = torch.zeros_like(total).index_add(0, graph, noised.to(total.dtype))
    return (total / count.clamp(min=1)).mean()


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over masked blocks; zero for none.

    Args:
        logits: [masked, classes]. labels: [masked].
    """
    return F.cross_entropy(logits, labels, reduction="sum") / max(len(labels), 1)


def masked_base(logits: Tensor) -> Tensor:
    """Cross entropy of equal probabilities; zero when nothing is masked."""
    return logits.new_tensor(math.log(logits.shape[1]) if len(logits) else 0.0)
