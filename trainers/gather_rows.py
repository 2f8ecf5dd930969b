"""Rows of all ranks in one tensor, with gradients: for losses that compare every row with every other."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainers.bad_steps import RankMissing
from trainers.distributed import gather_objects, rank, world_size

MISSING = -1


class _GatherRows(torch.autograd.Function):
    """Forward: the rows of all ranks. Backward: as many times the gradient of the own rows as there are ranks, which is
    the sum of what all ranks ask of them, since all make the same loss of all rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = _counts(len(rows))
        ctx.start = sum(counts[: rank()])
        ctx.count = len(rows)
        padded = rows.new_zeros(max(counts), rows.shape[1])
        padded[: len(rows)] = rows
        everything = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everything, padded)
        return torch.cat([part[:count] for part, count in zip(everything, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0][ctx.start : ctx.start + ctx.count] * world_size()


def _counts(own: int) -> list[int]:
    counts = gather_objects(own)
    if MISSING in counts and own != MISSING:
        raise RankMissing("another rank has no rows")
    return counts


def gather_rows(rows: Tensor) -> Tensor:
    """[all rows, width] the rows of every rank, in the order of ranks; a collective call, forward only.

    All ranks must make the same loss of the rows and go backward from it with the same factor. After averaging
    gradients over ranks each then has the gradient of that loss on a single rank.

    Args:
        rows: [rows of this rank, width]; ranks may have different numbers of rows.

    Raises:
        RankMissing: another rank has called `tell_missing` instead.
    """
    return rows if world_size() == 1 else _GatherRows.apply(rows)


def tell_missing() -> None:
    """Take part in `gather_rows` without rows, for a rank that failed before: the others must not wait for it."""
    if world_size() > 1:
        _counts(MISSING)
