"""Neighbour edges of one level (parity SPEC 3), laid out by receiver.

Nodes of a graph fall into four sets: ordinary and special (global) nodes of each segment. All receivers of a set have
equally many edges, and how many follows from the sizes of the sets, so the layout is dense and its shape known
without asking the device. All graphs are handled together: nothing here loops over them but arithmetic on sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.graph import Level, on_same_device, runs, starts
from models.layers.slots import Slots, bucketed
from models.neighbour_blocks import PointSets
from models.neighbours import nearest_neighbours

INTRA, INTER, GLOBAL_NORMAL, GLOBAL_GLOBAL = range(4)


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


class Rows(NamedTuple):
    """Receivers, each with its edges: `degree` senders and types, from `first` on.

    counts, degrees: [runs] on the host: so many rows, one after another, have so many edges each.
    node, first: [rows]. sender, kind: [any].
    """

    counts: np.ndarray
    degrees: np.ndarray
    node: Tensor
    first: Tensor
    sender: Tensor
    kind: Tensor


def neighbour_edges(level: Level, k: int, with_global: bool) -> Edges:
    """All edges of a level.

    Args:
        k: nearest neighbours inside the segment, and as many across (fewer where there are fewer).
        with_global: add the edges of special nodes (types 2 and 3).
    """
    parts = [ordinary_rows(level, k, with_global)]
    if with_global:
        parts.append(special_rows(level))
    return lay_out(parts, level.n, level.positions)


def ordinary_rows(level: Level, k: int, with_global: bool) -> Rows:
    """Ordinary nodes and their nearest neighbours, and the special nodes of their segment."""
    counts = level.counts
    begin = starts(counts.reshape(-1)).reshape(-1, 2)  # of ordinary and of special nodes of a segment in `order`
    ordinary, special = counts.reshape(-1, 2).T
    segment, place = runs(ordinary, level.order)
    begins = on_same_device(begin, level.order)
    nodes = level.order[begins[segment, 0] + place]
    near, across = nearest_neighbours(PointSets(level.positions.detach().float()[nodes], ordinary), k)
    senders, kinds = [nodes[near], nodes[across]], [INTRA] * k + [INTER] * k
    degrees = [np.clip(ordinary - 1, 0, k), np.clip(counts[:, ::-1, 0].reshape(-1), 0, k)]
    n_special = int(special.max(initial=0)) if with_global else 0
    if n_special:
        column = torch.arange(n_special, device=nodes.device)
        senders.append(level.order[(begins[segment, 1, None] + column).clamp(max=level.n - 1)])
        kinds += [GLOBAL_NORMAL] * n_special
        degrees.append(special)
    sender, kind = torch.cat(senders, 1), on_same_device(np.array(kinds), nodes).expand(len(nodes), -1)
    width = sender.shape[1]
    used = [np.arange(w) < d[:, None] for w, d in zip((k, k, n_special), degrees)]
    taken = np.concatenate(used, 1)
    if not taken[ordinary > 0].all():  # small sets: move what there is to the front
        column = on_same_device(np.argsort(~taken, 1, kind="stable"), nodes)[segment]
        sender, kind = sender.gather(1, column), kind.gather(1, column)
    first = torch.arange(len(nodes), device=nodes.device) * width
    return Rows(ordinary, sum(degrees), nodes, first, sender.flatten(), kind.flatten())


def special_rows(level: Level) -> Rows:
    """Special nodes: all nodes of their segment, then all special nodes of their graph, always but themselves."""
    counts = level.counts
    ordinary, special = counts.reshape(-1, 2).T
    of_graph = counts[:, :, 1].sum(1)
    segment, place = runs(special, level.order)
    same, across = ordinary + special - 1, np.repeat(of_graph, 2) - 1
    row, column = runs(np.repeat(same + across, special), level.order)
    tables = [starts(counts.reshape(-1))[1::2], starts(ordinary + special), np.repeat(starts(of_graph), 2), same]
    begin, begin_segment, begin_special, n_same = on_same_device(np.stack(tables), level.order)
    nodes = level.order[begin[segment] + place]

    everyone = level.segment_order()
    specials = (level.graph + (~level.special) * len(counts)).argsort(stable=True)
    at = segment[row]
    own, n_same = nodes[row], n_same[at]
    in_segment, among_special = column < n_same, column - n_same
    among_segment = column + (column >= (_inverse(everyone)[own] - begin_segment[at]))
    among_special = among_special + (among_special >= (_inverse(specials)[own] - begin_special[at]))
    place = torch.where(in_segment, begin_segment[at] + among_segment, begin_special[at] + among_special)
    sender = torch.where(in_segment, everyone[place], specials[place])
    kind = torch.where(in_segment, GLOBAL_NORMAL, GLOBAL_GLOBAL)
    first = on_same_device(starts(np.repeat(same + across, special)), level.order)
    return Rows(special, same + across, nodes, first, sender, kind)


def _inverse(permutation: Tensor) -> Tensor:
    """Where each number stands."""
    place = torch.arange(len(permutation), device=permutation.device)
    return torch.empty_like(permutation).scatter_(0, permutation, place)


def lay_out(parts: Sequence[Rows], n_receivers: int, like: Tensor) -> Edges:
    """Rows of equal (or, for few rows, similar) degree share a bucket.

    Args:
        like: gives device and precision.
    """
    counts, degrees = (np.concatenate([getattr(p, name) for p in parts]) for name in ("counts", "degrees"))
    nodes = torch.cat([p.node for p in parts])
    pools = starts(np.array([len(p.sender) for p in parts]))
    firsts = torch.cat([p.first + int(begin) for p, begin in zip(parts, pools)])
    sender, kind = torch.cat([p.sender for p in parts]), torch.cat([p.kind for p in parts])

    order = np.argsort(degrees, kind="stable")
    order = order[(counts[order] > 0) & (degrees[order] > 0)]
    run, place = runs(counts[order], like)
    begin, degree = on_same_device(np.stack([starts(counts)[order], degrees[order]]), like)
    row, degree = begin[run] + place, degree[run]
    nodes, firsts = nodes[row], firsts[row]
    buckets = bucketed(zip(counts[order].tolist(), degrees[order].tolist(), strict=True))
    receivers, places, filled = [nodes[:0]], [nodes[:0]], [nodes[:0] > 0]
    for bucket in buckets:
        rows = slice(bucket.first_node, bucket.first_node + bucket.n)
        column = torch.arange(bucket.degree, device=nodes.device)
        receivers.append(nodes[rows, None].expand(-1, bucket.degree).flatten())
        places.append((firsts[rows, None] + torch.minimum(column, degree[rows, None] - 1)).flatten())
        filled.append((column < degree[rows, None]).flatten())
    taken = torch.cat(places)
    slots = Slots(
        n_receivers=n_receivers,
        nodes=nodes,
        receiver=torch.cat(receivers),
        sender=sender[taken],
        filled=torch.cat(filled) if len(taken) > (counts * degrees).sum() else None,
        inverse_count=1 / degree.to(like.dtype),
        buckets=buckets,
    )
    return Edges(slots, kind[taken])
