"""A model that fails on purpose: with a real allocation that no machine grants, or with numbers that are not finite."""

from typing import Any

import torch
from stand_ins import Output, TinyModel
from torch import Tensor

from trainers.distributed import rank

TOO_MUCH = 2**60  # bytes


class _FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        torch.empty(TOO_MUCH)
        return gradients[0]


class FaultyModel(TinyModel):
    """Fails on one rank, with batches that hold a certain item.

    Args:
        fault: "memory" or "memory backward" (out of memory), "loss" or "gradient" (not finite), "error" (a bug).
        item: the item, or None for all. rank: the rank. most: as many items don't fail. phase: train or valid.
    """

    def __init__(
        self, fault: str, item: int | None = 7, rank: int = 0, most: int = 0, phase: str = "train", dropout: float = 0
    ) -> None:
        super().__init__(dropout=dropout)
        self.fault, self.item, self.rank, self.most, self.phase = fault, item, rank, most, phase
        self.tried: list[int] = []  # sizes of the batches that failed

    def forward(self, batch: dict[str, Any]) -> Output:
        output = super().forward(batch)
        held = self.item is None or f"item{self.item}" in batch["id"]
        if not held or rank() != self.rank or len(batch["id"]) <= self.most or self.training != (self.phase == "train"):
            return output
        self.tried.append(len(batch["id"]))
        if self.fault == "error":
            raise RuntimeError("a bug")
        if self.fault == "memory":
            torch.empty(TOO_MUCH)
        if self.fault == "memory backward":
            output.loss = _FailsBackward.apply(output.loss)
        if self.fault == "loss":
            output.loss = output.loss * float("nan")
        if self.fault == "gradient":
            output.loss = output.loss + torch.sqrt((output.loss - output.loss.detach()).clamp(min=0))
        return output
