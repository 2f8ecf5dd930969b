"""Losses of pretraining (parity SPEC 6): pure functions; each has a base, the loss of predicting nothing."""

import math
from collections.abc import Callable

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


REGRESSION_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda prediction, target: (prediction - target).square(),
    "mae": lambda prediction, target: (prediction - target).abs(),
    "huber": lambda prediction, target: F.huber_loss(prediction, target, reduction="none"),
}
"""Loss of each value by name (`--regression_loss`), on the scale that the model learns."""


def mean_of_known(losses: Tensor, weights: Tensor) -> Tensor:
    """Mean of losses by their weights; zero, with a gradient of zero, where all weights are.

    Args:
        losses, weights: of equal shape.
    """
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """How badly each row finds its partner among all others (parity SPEC 7); 0 for a single pair.

    With a = z y^T / t, s = z z^T / t, r = y y^T / t the loss is the mean over both sides of
    -a_ii + log(sum_{j != i} exp(s_ij) + sum_j exp(a_ij)), and the same with r and a transposed.

    Args:
        first, second: z and y, [pairs, width], rows of length 1.
    """
    across = first @ second.T / temperature
    itself = torch.eye(len(first), dtype=torch.bool, device=first.device)
    terms = []
    for side, own in ((across, first), (across.T, second)):
        others = (own @ own.T / temperature).masked_fill(itself, -torch.inf)
        terms.append(torch.cat([others, side], 1).logsumexp(1) - side.diagonal())
    return torch.cat(terms).mean()
