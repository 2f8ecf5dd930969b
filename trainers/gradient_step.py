"""What ranks do together for a step: numbers before it, gradients after it.

No rank talks to another inside a forward or backward pass. So whatever happens to one of them in there, all ranks meet
at the next of these calls, and learn of it.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainers.distributed import sum_over_ranks, world_size

Counts = Mapping[str, tuple[float, float]]


def joint_counts(counts: Sequence[Counts], flag: bool) -> tuple[list[dict[str, float]], bool]:
    """The counts of each batch of a step summed over ranks, and whether a flag is up on any. A collective call.

    Args:
        counts: (multiplier, count) of each part of a batch (`metrics.Weighted`), the same names on all ranks.
    """
    names = [sorted(one) for one in counts]
    own = [one[name][1] for one, of_batch in zip(counts, names) for name in of_batch]
    raised, *sums = sum_over_ranks([float(flag), *own])
    left = iter(sums)
    return [{name: next(left) for name in of_batch} for of_batch in names], raised > 0


def joint_loss(loss: Tensor, terms: Mapping[str, Tensor], counts: Counts, totals: Mapping[str, float]) -> Tensor:
    """The loss to go backward from, for a batch that is a part of what all ranks train on in this step.

    With term t_r and multiplier m_r of the part on each of R ranks and count C of the whole, t_r * m_r * R / C has the
    whole's term as its mean over ranks, and gradients are averaged over ranks.

    Args:
        loss: of the part. terms: differentiable terms that add up to it.
        counts: (multiplier, count) of the part. totals: counts of the whole (`joint_counts`).
    """
    factors = {name: counts[name][0] * world_size() / totals[name] if totals[name] else 0.0 for name in terms}
    if all(factor == 1 for factor in factors.values()):
        return loss
    joint = loss * 0
    for name, term in terms.items():
        if factors[name]:
            joint = joint + term * factors[name]
    return joint


def share_weights(model: nn.Module) -> None:
    """Give all ranks the weights of the first. A collective call."""
    if world_size() == 1:
        return
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.numel():
            dist.broadcast(tensor.data, src=0)


class SharedGradients:
    """Averages gradients over ranks through memory that is kept: a rank that ran out of it can still take part."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None
        self._own: list[Tensor | None] = []

    def share(self, parameters: Sequence[nn.Parameter], flags: Sequence[bool]) -> list[bool]:
        """Replace gradients by their mean over ranks; returns whether each flag is up on any. One collective call.

        A parameter that no rank used keeps having no gradient.
        """
        if world_size() == 1:
            return list(flags)
        self._own = [p.grad for p in parameters]
        sizes = [p.numel() for p in parameters]
        notes = [*(p.grad is not None for p in parameters), *flags]
        flat = self._take(sum(sizes) + len(notes), parameters[0])
        *places, of_notes = flat.split([*sizes, len(notes)])
        for p, place in zip(parameters, places):
            place.zero_() if p.grad is None else place.copy_(p.grad.reshape(-1))
        of_notes.copy_(torch.tensor(notes, dtype=flat.dtype))
        dist.all_reduce(flat)
        found = of_notes.tolist()
        flat /= world_size()
        for p, place, used in zip(parameters, places, found):
            p.grad = place.view_as(p).to(p.dtype) if used else None
        return [count > 0 for count in found[len(parameters) :]]

    def own_are_finite(self) -> bool:
        """Whether the gradients that this rank shared last were finite."""
        return bool(self._own) and all(bool(torch.isfinite(own).all()) for own in self._own if own is not None)

    def forget_own(self) -> None:
        """Free the memory of the gradients that this rank shared last."""
        self._own = []

    def _take(self, size: int, like: Tensor) -> Tensor:
        if self._memory is None or len(self._memory) != size or self._memory.device != like.device:
            self._memory = torch.empty(size, dtype=like.dtype, device=like.device)
        return self._memory


def take_gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """The gradients of parameters, which have none afterwards."""
    taken = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    return taken


def add_gradients(parameters: Sequence[nn.Parameter], others: Sequence[Tensor | None]) -> None:
    """Add gradients that were taken before to those of parameters."""
    for p, other in zip(parameters, others):
        if other is not None:
            p.grad = other if p.grad is None else p.grad.add_(other)
