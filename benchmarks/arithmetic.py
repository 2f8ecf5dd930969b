"""How much arithmetic the convolutions need, counted by formula, and how fast this machine multiplies matrices.

Counted are the two products of `models.layers.aggregate`, the bulk of the work: for every edge and output block
2 (2l+1) n (h+1) operations to aggregate, for every receiver 2 (2l+1) n (h+1) c to project (n input channels over all
paths, h hidden units of the weight network, c output channels). A backward pass needs each product twice more. What a
program computes beyond that (couplings, weight network, attention, a chunk made again in the backward pass) is not
counted, so the rate in useful operations is comparable between programs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from benchmarks.clock import Clock, seconds_of
from models.layers.convolution import Convolution
from models.layers.paths import TensorProductPaths
from models.layers.slots import Slots


class Counted:
    """Floating-point operations of forward passes so far, by product."""

    def __init__(self) -> None:
        self.aggregate = self.project = 0

    @property
    def forward(self) -> int:
        return self.aggregate + self.project

    @property
    def training(self) -> int:
        """Forward and backward."""
        return 3 * self.forward

    def add(self, paths: TensorProductPaths, hidden: int, edges: int, receivers: int) -> None:
        for block, fan_in in zip(paths.space_out.blocks, paths.fan_in, strict=True):
            entries = block.dim * fan_in * (hidden + 1)
            self.aggregate += 2 * edges * entries
            self.project += 2 * receivers * entries * block.channels


def edges_of(slots: Slots) -> int:
    """Edges of a layout, without its empty slots."""
    return len(slots.sender) if slots.filled is None else int(slots.filled.sum())


@contextmanager
def counting(model: nn.Module) -> Iterator[Counted]:
    """Count the convolutions of a model while it runs.

    Convolutions of another kind (channelwise) have other products and are not counted.
    """
    counted = Counted()

    def see(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(module, Convolution)
        hidden = int(module.fc[0].out_features)  # type: ignore[arg-type]
        slots: Slots = arguments[1]
        counted.add(module.paths, hidden, edges_of(slots), len(slots.nodes))

    hooks = [m.register_forward_pre_hook(see) for m in model.modules() if type(m) is Convolution]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def product_rate(dtype: torch.dtype, clock: Clock, size: int = 2048, repeat: int = 9) -> float:
    """Operations a second of the best product of two [size, size] matrices."""
    left, right = (torch.randn(size, size, device=clock.device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(seconds_of(lambda: left @ right, clock, repeat))


def copy_rate(clock: Clock, megabytes: int = 512, repeat: int = 9) -> float:
    """Bytes read and written a second by the best large copy."""
    source = torch.ones(megabytes << 18, device=clock.device)
    target = torch.empty_like(source)
    return 2 * 4 * len(source) / min(seconds_of(lambda: target.copy_(source), clock, repeat))
