"""Neighbours by all distances: sets of similar size are searched together, a bounded number of distances at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.graph import on_same_device, starts

DISTANCES_AT_A_TIME = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Bounds the temporaries: about 30 bytes a distance."""
PADDED, SPARE = 1.5, 4096
"""Sets searched together may be padded by this factor, or by so many distances."""
FAR = 0x7FFFFFFF << 32
"""Sorts behind every distance."""


class PointSets(NamedTuple):
    """points: [n, 3] float32, one set after another. counts: [sets] size of each set, on the host."""

    points: Tensor
    counts: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        return starts(self.counts)


class Block(NamedTuple):
    """Sets of similar size, padded to the largest by repeating the last point.

    receiver: [sets, rows], sender: [sets, columns] places. real: [sets, 1, columns] whether a column is no padding.
    first: [sets, 1, 1] place of the first sender. column: [columns].
    """

    receiver: Tensor
    sender: Tensor
    real: Tensor
    first: Tensor
    column: Tensor


def distances(receivers: Tensor, senders: Tensor) -> Tensor:
    """[sets, rows, columns] Å; a pair gets the same bits in any block."""
    return torch.cdist(receivers, senders, compute_mode="donot_use_mm_for_euclid_dist")


def sort_keys(away: Tensor, number: Tensor) -> Tensor:
    """What sorts by (distance, number): a non-negative float sorts like its bits."""
    return (away.view(torch.int32).long() << 32) | number


def smallest(keys: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest keys along the last axis, ascending, and where they are; padded with FAR."""
    taken = min(k, keys.shape[-1])
    values, columns = keys.topk(taken, dim=-1, largest=False)
    return F.pad(values, (0, k - taken), value=FAR), F.pad(columns, (0, k - taken))


def nearest_by_blocks(sets: PointSets, sender_set: np.ndarray, k: int) -> Tensor:
    """[n, k] places of the nearest points.

    Args:
        sender_set: [sets] where the points of each set look for neighbours: everywhere in their own set, or nowhere.
    """
    out = torch.zeros(len(sets.points), k, dtype=torch.long, device=sets.points.device)
    for block in blocks(sets, sets, sender_set):
        away = distances(sets.points[block.receiver], sets.points[block.sender])
        itself = block.receiver[..., None] == block.sender[:, None]
        keys, columns = smallest(sort_keys(away, block.column).where(block.real & ~itself, FAR), k)
        out[block.receiver.flatten()] = (block.first + columns).where(keys < FAR, 0).flatten(0, 1)
    return out


def within_by_blocks(
    centres: PointSets, sets: PointSets, reach: float, k: int, nearest_first: bool
) -> tuple[Tensor, Tensor]:
    """`neighbours.neighbours_within` by all distances."""
    chosen = torch.zeros(len(centres.points), k, dtype=torch.long, device=centres.points.device)
    found = torch.zeros_like(chosen, dtype=torch.bool)
    for block in blocks(centres, sets, np.arange(len(sets.counts))):
        away = distances(centres.points[block.receiver], sets.points[block.sender])
        keys = sort_keys(away, block.column) if nearest_first else block.column.expand(away.shape)
        keys, columns = smallest(keys.where(block.real & (away < reach), FAR), k)
        rows = block.receiver.flatten()
        chosen[rows] = (block.first + columns).where(keys < FAR, 0).flatten(0, 1)
        found[rows] = (keys < FAR).flatten(0, 1)
    return chosen, found


def blocks(receivers: PointSets, senders: PointSets, sender_set: np.ndarray) -> Iterator[Block]:
    """Cut the pairs (set of receivers, its set of senders) into blocks; a padded receiver repeats the last one."""
    like = receivers.points
    n, m = receivers.counts, senders.counts[sender_set]
    pairs = np.stack([receivers.starts, n, senders.starts[sender_set], m])[:, (n > 0) & (m > 0)]
    pairs = pairs[:, np.argsort(pairs[1] * pairs[3], kind="stable")]
    budget = DISTANCES_AT_A_TIME.get(like.device.type, DISTANCES_AT_A_TIME["cuda"])
    for first, last in _similar(pairs[1].tolist(), pairs[3].tolist(), budget):
        rows, columns = pairs[1, first:last].max(), pairs[3, first:last].max()
        start, n_rows, sender_start, n_columns = on_same_device(pairs[:, first:last], like)[..., None]
        column = torch.arange(columns, device=like.device)
        sender = sender_start + torch.minimum(column, n_columns - 1)
        step = max(1, budget // int(columns * (last - first)))
        for row in range(0, rows, step):
            row_number = torch.arange(row, min(rows, row + step), device=like.device)
            receiver = start + torch.minimum(row_number, n_rows - 1)
            yield Block(receiver, sender, (column < n_columns)[:, None], sender_start[..., None], column)


def _similar(rows: list[int], columns: list[int], budget: int) -> Iterator[tuple[int, int]]:
    """Cut a list of pairs of sets into stretches that fit the budget and pad little."""
    first = needed = height = width = 0
    for last, (n, m) in enumerate(zip(rows, columns, strict=True)):
        height, width, needed = max(height, n), max(width, m), needed + n * m
        padded = (last + 1 - first) * height * width
        if last > first and (padded > budget or padded > PADDED * needed + SPARE):
            yield first, last
            first, needed, height, width = last, n * m, n, m
    if rows:
        yield first, len(rows)
