"""Rows of all ranks in one tensor, with gradients: for losses that compare every row with every other."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainers.distributed import gather_objects, rank, world_size


class _GatherRows(torch.autograd.Function):
    """Forward: the rows of all ranks. Backward: every rank gets the sum of all ranks' gradients of its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = gather_objects(len(rows))
        ctx.start = sum(counts[: rank()])
        ctx.count = len(rows)
        padded = rows.new_zeros(max(counts), rows.shape[1])
        padded[: len(rows)] = rows
        everything = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everything, padded)
        return torch.cat([part[:count] for part, count in zip(everything, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """[all rows, width] the rows of every rank, in the order of ranks; a collective call, forward and backward.

    A loss that every rank makes from the gathered rows gives, after averaging gradients over ranks, the gradient of
    that loss on a single rank: backward sums what every rank asks of a row, the average divides by the ranks.

    Args:
        rows: [rows of this rank, width]; ranks may have different numbers of rows.
    """
    return rows if world_size() == 1 else _GatherRows.apply(rows)
