"""Neighbours of the plain model, from the full matrix of distances of the whole batch (parity SPEC 3)."""

import torch
from torch import Tensor


def edges_of(
    positions: Tensor, graph: Tensor, segment: Tensor, special: Tensor, k: int, with_global: bool
) -> tuple[Tensor, Tensor]:
    """[2, edges] receiver and sender, and [edges] type: 0 intra, 1 inter, 2 global-normal, 3 global-global."""
    distance = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
    same_graph = graph[:, None] == graph[None]
    same_segment = segment[:, None] == segment[None]
    itself = torch.eye(len(graph), dtype=torch.bool, device=graph.device)
    candidates = same_graph & ~itself
    ordinary = ~special[:, None] & ~special[None]
    found = [
        nearest(distance, candidates & ordinary & same_segment, k),
        nearest(distance, candidates & ordinary & ~same_segment, k),
    ]
    if with_global:
        found.append((candidates & same_segment & (special[:, None] | special[None])).nonzero().T)
        found.append((candidates & special[:, None] & special[None]).nonzero().T)
    kinds = [torch.full((e.shape[1],), i, device=e.device) for i, e in enumerate(found)]
    return torch.cat(found, 1), torch.cat(kinds)


def nearest(distance: Tensor, allowed: Tensor, k: int) -> Tensor:
    """[2, edges] for each row the up to k allowed columns of smallest distance."""
    masked = distance.masked_fill(~allowed, torch.inf)
    values, columns = masked.sort(dim=1, stable=True)
    values, columns = values[:, :k], columns[:, :k]
    rows = torch.arange(len(distance), device=distance.device)[:, None].expand_as(columns)
    kept = values.isfinite()
    return torch.stack([rows[kept], columns[kept]])
