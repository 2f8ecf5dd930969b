"""The optimiser's state shared out over ranks: each keeps, and updates by, its share of the parameters.

Adam keeps two numbers for every weight. With `--shard optimizer` a rank keeps them for about 1/R of the weights, and
after a step all ranks are told the new weights of all shares. Updates are made for each weight on its own, so the
result is the same to the last bit, and a stored state is that of an optimiser that is whole: it is continued with or
without shards, on any number of ranks.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from trainers.distributed import communication_device, gather_objects, is_main, rank, world_size


def sharded(optimizer: Optimizer, shard: str) -> Optimizer:
    """The optimiser, or with several ranks and `--shard optimizer` the share of this rank of it."""
    return ShardedOptimizer(optimizer) if shard == "optimizer" and world_size() > 1 else optimizer


def owners_of(sizes: Sequence[int], ranks: int) -> list[int]:
    """The rank that owns each tensor, so that ranks own about as many numbers: the largest go out first."""
    loads, owners = [0] * ranks, [0] * len(sizes)
    for number in sorted(range(len(sizes)), key=lambda number: (-sizes[number], number)):
        owners[number] = min(range(ranks), key=lambda one: (loads[one], one))
        loads[owners[number]] += sizes[number]
    return owners


class ShardedOptimizer(Optimizer):
    """An optimiser over all parameters, of which `whole` keeps the state of this rank's share.

    Args:
        whole: made for all parameters, without any state yet; it must treat every number of a parameter by itself, as
            those of the Adam family do. It is used up.
    """

    def __init__(self, whole: Optimizer) -> None:
        groups = [dict(group) for group in whole.param_groups]
        super().__init__(groups, whole.defaults)
        self.parameters: list[nn.Parameter] = list(chain(*(group["params"] for group in whole.param_groups)))
        self.owners = owners_of([p.numel() for p in self.parameters], world_size())
        self._share = whole
        mine = {id(p) for p, owner in zip(self.parameters, self.owners) if owner == rank()}
        for group in whole.param_groups:
            group["params"] = [p for p in group["params"] if id(p) in mine]
        self.state = whole.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update this rank's share and exchange the new weights. A collective call; `closure` is not supported."""
        for group, mine in zip(self.param_groups, self._share.param_groups):
            mine.update({name: value for name, value in group.items() if name != "params"})
        self._share.step()
        for owner in range(world_size()):
            shares = [p for p, one in zip(self.parameters, self.owners) if one == owner and p.requires_grad]
            if not shares:
                continue
            flat = torch.cat([p.detach().reshape(-1) for p in shares])
            dist.broadcast(flat, src=owner)
            if owner != rank():
                for p, new in zip(shares, flat.split([p.numel() for p in shares])):
                    p.copy_(new.view_as(p))

    def state_dict(self) -> dict[str, Any]:
        """The state of the whole optimiser, with tensors on the CPU. A collective call; other ranks than the main one
        get no tensors."""
        numbers = {id(p): number for number, p in enumerate(self.parameters)}
        own = {numbers[id(p)]: state for p, state in self._share.state.items()}
        outlines = gather_objects({number: _outline(state) for number, state in own.items()})
        state: dict[int, dict[str, Any]] = {}
        for owner, outline in enumerate(outlines):
            for number, entries in outline.items():
                found = {name: self._bring(own, owner, number, name, entry) for name, entry in entries.items()}
                state |= {number: found} if is_main() else {}
        return {"state": dict(sorted(state.items())), "param_groups": self._groups()}

    def _groups(self) -> list[dict[str, Any]]:
        """The groups with numbers in the place of parameters, as torch stores them."""
        groups, first = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append(group | {"params": list(range(first, first + count))})
            first += count
        return groups

    def _bring(self, own: dict[int, dict[str, Any]], owner: int, number: int, name: str, entry: Any) -> Any:
        """One entry of a state, brought from its owner to the main rank."""
        if not isinstance(entry, _Outline):
            return entry
        if owner == rank() == 0:
            return own[number][name].detach().cpu()
        if owner == rank():
            dist.send(own[number][name].detach().contiguous().to(communication_device()), dst=0)
        elif is_main():
            brought = torch.empty(entry.shape, dtype=entry.dtype, device=communication_device())
            dist.recv(brought, src=owner)
            return brought.cpu()
        return None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this rank's share of the state of a whole optimiser.

        Raises:
            ValueError: the groups have other numbers of parameters.
        """
        groups = state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("the groups of parameters are others than those of the optimiser")
        mine = [number for number, owner in enumerate(self.owners) if owner == rank()]
        places = {number: place for place, number in enumerate(mine)}
        state = {places[number]: entries for number, entries in state_dict["state"].items() if number in places}
        shares = [g | {"params": [places[number] for number in g["params"] if number in places]} for g in groups]
        self._share.load_state_dict({"state": state, "param_groups": shares})
        for group, stored in zip(self.param_groups, groups):
            group.update({name: value for name, value in stored.items() if name != "params"})
        self.state = self._share.state


class _Outline:
    """Shape and type of a tensor that stays where it is."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.dtype = tuple(tensor.shape), tensor.dtype


def _outline(state: dict[str, Any]) -> dict[str, Any]:
    return {name: _Outline(value) if isinstance(value, Tensor) else value for name, value in state.items()}
