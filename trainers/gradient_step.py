"""One forward pass on all ranks: the loss whose averaged gradient is that of the ranks' joint batch."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainers.distributed import sum_over_ranks, world_size


class Opaque:
    """A model output that DistributedDataParallel doesn't look into: only the loss decides what gets gradients."""

    def __init__(self, output: Any) -> None:
        self.output = output


class StepModule(nn.Module):
    """A trainer's step as a module, so that DistributedDataParallel sees a batch in, a loss out.

    Args:
        model: whose parameters are trained.
        step: (batch, batch_idx) -> loss tensor, or an object with `.loss`.
    """

    def __init__(self, model: nn.Module, step: Callable[[Any, int], Any]) -> None:
        super().__init__()
        self.model, self._step = model, step

    def forward(self, batch: Any, batch_idx: int) -> tuple[Tensor, Opaque]:
        output = self._step(batch, batch_idx)
        return output if isinstance(output, Tensor) else output.loss, Opaque(output)


def distribute(module: nn.Module, device: torch.device, find_unused_parameters: bool) -> DistributedDataParallel:
    """Wrap a step so that every backward pass averages gradients over ranks; weights start as those of rank 0."""
    with warnings.catch_warnings():  # newer versions of torch rename broadcast_buffers
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            find_unused_parameters=find_unused_parameters,
            broadcast_buffers=False,
        )


def joint_loss(
    loss: Tensor, flags: Sequence[bool], terms: Mapping[str, Tensor], counts: Mapping[str, tuple[float, float]]
) -> tuple[Tensor, list[bool]]:
    """The loss to go backward from, and whether each flag is up on any rank. A collective call, and the only one.

    With term t_r and counts (m_r, c_r) on each of R ranks, t_r * m_r * R / sum(c) has the joint batch's term as its
    mean over ranks; DistributedDataParallel takes that mean of the gradients.

    Args:
        loss: this rank's loss. flags: what all ranks have to know of each (a loss that is not finite, say).
        terms: differentiable terms that add up to the loss.
        counts: (multiplier, count) of each term and perhaps others (`metrics.Weighted`), the same names on all ranks.
    """
    if world_size() == 1:
        return loss, list(flags)
    names = sorted(counts)
    sums = sum_over_ranks([*map(float, flags), *(counts[name][1] for name in names)])
    raised, totals = sums[: len(flags)], sums[len(flags) :]
    joint = loss * 0
    for name, term in terms.items():
        total = totals[names.index(name)]
        if total:
            joint = joint + term * (counts[name][0] * world_size() / total)
    return joint, [count > 0 for count in raised]


def without_sync(module: nn.Module, accumulate: int) -> AbstractContextManager[Any]:
    """With accumulation, gradients are averaged over ranks once a step instead of in every backward pass."""
    if isinstance(module, DistributedDataParallel) and accumulate > 1:
        return module.no_sync()
    return nullcontext()
