"""Neighbour edges of one level (parity SPEC 3), laid out by receiver.

Nodes of a graph fall into four sets: ordinary and special (global) nodes of each segment. All receivers of a set have
equally many edges, and how many follows from the sizes of the sets, so the layout is dense and its shape known
without asking the device. Distances are computed graph by graph, in blocks of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.graph import Level
from models.layers.slots import Slots, bucketed

INTRA, INTER, GLOBAL_NORMAL, GLOBAL_GLOBAL = range(4)
ROWS_OF_DISTANCES = 1 << 22
"""Distances held at a time."""


@dataclass(frozen=True)
class Edges:
    """Edges of a level: the layout and the type of each slot."""

    slots: Slots
    kind: Tensor  # [slots]

    def listed(self) -> tuple[Tensor, Tensor]:
        """[2, edges] receiver and sender, and [edges] types, in the order of parity SPEC 3 (for inspection)."""
        slots = self.slots
        real = slice(None) if slots.filled is None else slots.filled
        receiver, sender, kind = slots.receiver[real], slots.sender[real], self.kind[real]
        by_distance = torch.arange(len(kind), device=kind.device)  # slots of types 0 and 1 are in order of distance
        last = torch.where(kind <= INTER, by_distance, sender)
        order = last.argsort(stable=True)
        order = order[receiver[order].argsort(stable=True)]
        order = order[kind[order].argsort(stable=True)]
        return torch.stack([receiver, sender])[:, order], kind[order]


@dataclass(frozen=True)
class ReceiverSet:
    """Receivers with equally many edges: their senders and the types of the edges."""

    nodes: Tensor  # [n]
    senders: Tensor  # [n, degree]
    kinds: list[int]  # [degree]


def neighbour_edges(level: Level, k: int, with_global: bool) -> Edges:
    """All edges of a level.

    Args:
        k: nearest neighbours inside the segment, and as many across (fewer where there are fewer).
        with_global: add the edges of special nodes (types 2 and 3).
    """
    positions = level.positions.detach().float()
    sets = [s for graph in _graphs(level) for s in _sets(positions, graph, k, with_global)]
    return lay_out(sets, level.n, level.positions)


def _graphs(level: Level) -> Iterator[list[list[Tensor]]]:
    """For each graph [[ordinary, special] of segment 0, the same of segment 1], node numbers ascending."""
    start = 0
    for sizes in level.sizes:
        graph = []
        for pair in sizes:
            graph.append([level.order[start : start + pair[0]], level.order[start + pair[0] : start + sum(pair)]])
            start += sum(pair)
        yield graph


def _sets(positions: Tensor, graph: list[list[Tensor]], k: int, with_global: bool) -> Iterator[ReceiverSet]:
    """The receiver sets of one graph."""
    every_special = torch.cat([graph[0][1], graph[1][1]])
    for segment, (ordinary, special) in enumerate(graph):
        other = graph[1 - segment][0]
        senders = [nearest(positions, ordinary, ordinary, k), nearest(positions, ordinary, other, k)]
        kinds = [INTRA] * senders[0].shape[1] + [INTER] * senders[1].shape[1]
        if with_global:
            senders.append(special.expand(len(ordinary), -1))
            kinds += [GLOBAL_NORMAL] * len(special)
        if len(ordinary):
            yield ReceiverSet(ordinary, torch.cat(senders, 1), kinds)
        if with_global and len(special):
            same = _all_but_itself(special, torch.cat([ordinary, special]).sort().values)
            across = _all_but_itself(special, every_special.sort().values)
            kinds = [GLOBAL_NORMAL] * same.shape[1] + [GLOBAL_GLOBAL] * across.shape[1]
            yield ReceiverSet(special, torch.cat([same, across], 1), kinds)


def _all_but_itself(nodes: Tensor, others: Tensor) -> Tensor:
    """[nodes, others - 1] for each node all others in ascending order; every node is one of the others."""
    itself = torch.searchsorted(others, nodes)
    column = torch.arange(len(others) - 1, device=nodes.device).expand(len(nodes), -1)
    return others[column + (column >= itself[:, None])]


def nearest(positions: Tensor, receivers: Tensor, senders: Tensor, k: int) -> Tensor:
    """[receivers, degree] the nearest senders, ascending by (distance, number); a node is no neighbour of itself.

    Args:
        positions: [nodes, 3] float32. receivers, senders: node numbers; either the same tensor or disjoint.
    """
    same = receivers is senders
    degree = min(k, len(senders) - same)
    if degree <= 0 or not len(receivers):
        return receivers.new_empty(len(receivers), 0)
    number = torch.arange(len(senders), device=senders.device)
    out = []
    step = max(1, ROWS_OF_DISTANCES // len(senders))
    targets = positions[senders]
    for start in range(0, len(receivers), step):
        rows = receivers[start : start + step]
        away = torch.cdist(positions[rows], targets, compute_mode="donot_use_mm_for_euclid_dist")
        if same:
            away[number[: len(rows)], number[start : start + len(rows)]] = torch.inf
        # A non-negative float sorts like its bits; the sender's number below them settles equal distances.
        keys = (away.view(torch.int32).long() << 32) | number
        out.append(keys.topk(degree, dim=1, largest=False).indices)
    return senders[torch.cat(out)]


def lay_out(sets: Sequence[ReceiverSet], n_receivers: int, like: Tensor) -> Edges:
    """Sets of equal (or, for few receivers, similar) degree share a bucket.

    Args:
        like: gives device and precision.
    """
    sets = sorted((s for s in sets if s.kinds and len(s.nodes)), key=lambda s: len(s.kinds))
    buckets = bucketed((len(s.nodes), len(s.kinds)) for s in sets)
    nodes, receiver, sender, kind, filled = [], [], [], [], []
    number = 0
    for bucket in buckets:
        stop = bucket.first_node + bucket.n
        done = bucket.first_node
        while done < stop:
            current = sets[number]
            n, degree = current.senders.shape
            done, number, empty = done + n, number + 1, bucket.degree - degree
            nodes.append(current.nodes)
            receiver.append(current.nodes[:, None].expand(n, bucket.degree).flatten())
            sender.append(F.pad(current.senders, (0, empty)).flatten())
            kind.append(torch.tensor(current.kinds + [0] * empty, device=like.device).repeat(n))
            filled.append((torch.arange(bucket.degree, device=like.device) < degree).repeat(n))
    none = torch.zeros(0, dtype=torch.long, device=like.device)
    degrees = [len(s.kinds) for s in sets for _ in range(len(s.nodes))]
    n_slots = sum(bucket.n * bucket.degree for bucket in buckets)
    slots = Slots(
        n_receivers=n_receivers,
        nodes=torch.cat([none, *nodes]),
        receiver=torch.cat([none, *receiver]),
        sender=torch.cat([none, *sender]),
        filled=torch.cat(filled) if n_slots > sum(degrees) else None,
        inverse_count=1 / torch.tensor(degrees, dtype=like.dtype, device=like.device),
        buckets=buckets,
    )
    return Edges(slots, torch.cat([none, *kind]))
