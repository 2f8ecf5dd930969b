"""Edges laid out by receiver: equally many slots for each receiver of a bucket, so that sums are dense products."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor


class Bucket(NamedTuple):
    """Receivers `first_node ...` of the layout have `degree` slots each, which start at slot `first_edge`."""

    first_node: int
    n: int
    degree: int
    first_edge: int


@dataclass(frozen=True)
class Slots:
    """Edges of a bipartite or ordinary graph in receiver order.

    Attributes:
        n_receivers: rows of the output; receivers without edges need not be listed and get zero.
        nodes: [listed] receiver of each row of the layout, every receiver at most once.
        receiver, sender: [slots] ends of each slot; empty slots have valid numbers too.
        filled: [slots] whether a slot holds an edge; None when all do.
        inverse_count: [listed] 1 / number of edges of each receiver, for the mean.
        buckets: sizes, as Python numbers, so that no loop asks the device.
    """

    n_receivers: int
    nodes: Tensor
    receiver: Tensor
    sender: Tensor
    filled: Tensor | None
    inverse_count: Tensor
    buckets: tuple[Bucket, ...]


def slots_from_edges(receiver: Tensor, sender: Tensor, n_receivers: int, waste: float = 1.25) -> Slots:
    """Lay out any edge list: receivers of similar degree share a bucket, padded by at most a factor `waste`.

    Args:
        receiver, sender: [edges] in any order.

    Note: asks the device for the degrees (one transfer).
    """
    order = receiver.argsort(stable=True)
    receiver, sender = receiver[order], sender[order]
    degree = torch.bincount(receiver, minlength=n_receivers)
    start = degree.cumsum(0) - degree
    nodes = degree.argsort(stable=True)
    nodes = nodes[degree[nodes] > 0]
    runs = groupby(degree[nodes].tolist())
    buckets = bucketed(((sum(1 for _ in same), width) for width, same in runs), waste)
    rows, filled = [], []
    for first, n, width, _ in buckets:
        chosen, slot = nodes[first : first + n], torch.arange(width, device=nodes.device)
        real = slot < degree[chosen, None]
        rows.append(torch.where(real, start[chosen, None] + slot, start[chosen, None]).flatten())
        filled.append(real.flatten())
    taken = torch.cat(rows) if rows else nodes
    inverse = 1 / degree[nodes].to(torch.get_default_dtype())
    real = torch.cat(filled) if filled else nodes > 0
    return Slots(n_receivers, nodes, receiver[taken], sender[taken], real, inverse, buckets)


def bucketed(runs: Iterable[tuple[int, int]], waste: float = 1.25, spare: int = 64) -> tuple[Bucket, ...]:
    """Join runs of (receivers, degree), degrees ascending, into buckets of one width.

    A run joins the bucket before it as long as that pads by at most a factor `waste`, or by `spare` slots.
    """
    buckets: list[Bucket] = []
    edges = 0
    for n, degree in runs:
        last = buckets[-1] if buckets else Bucket(0, 0, degree, 0)
        edges += n * degree
        if (last.n + n) * degree <= max(waste * edges, edges + spare):
            joined = Bucket(last.first_node, last.n + n, degree, last.first_edge)
            buckets[-1:] = [joined]
        else:
            edges = n * degree
            buckets.append(Bucket(last.first_node + last.n, n, degree, last.first_edge + last.n * last.degree))
    return tuple(buckets)
