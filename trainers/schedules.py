"""Learning rates as exact functions of the optimiser step.

With s steps of warm-up, T steps in all, lr0 = `lr` and lr1 = `final_lr`, the rate before step k (from 0) is

    warm-up (k < s)       start + (end - start) k / s
    cosine                lr1 + (lr0 - lr1) (1 + cos(pi u)) / 2,      u = min((k - s) / (T - s), 1)
    cosine_restarts       the same with u = ((k - s) mod cycle) / cycle
    exponential           lr0 (lr1 / lr0)^u                           u as for cosine
    step                  max(lr0 0.9^epoch, lr1 when given),         counted from the end of the warm-up
    none                  lr0

so `cosine` and `exponential` reach lr1 exactly after the last step and stay there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from configs.errors import ConfigError

STEP_FACTOR = 0.9  # of an epoch
KINDS = ("cosine", "cosine_restarts", "exponential", "step", "none")


@dataclass(frozen=True)
class Schedule:
    """A learning-rate curve; call it with the number of optimiser steps done.

    Attributes:
        kind: one of `KINDS`.
        lr, final_lr: start and end.
        total_steps: optimiser steps of the whole run, warm-up included.
        steps_per_epoch: optimiser steps of an epoch (`step` only).
        warmup_steps, warmup_start_lr, warmup_end_lr: linear warm-up.
        cycle_steps: length of one cycle of `cosine_restarts`.
    """

    kind: str
    lr: float
    final_lr: float
    total_steps: int
    steps_per_epoch: int = 1
    warmup_steps: int = 0
    warmup_start_lr: float = 1e-5
    warmup_end_lr: float | None = None
    cycle_steps: int = 100_000

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"must be one of {', '.join(KINDS)}, got {self.kind!r}", "--lr_schedule")
        if self.kind == "exponential" and self.final_lr <= 0:
            raise ConfigError("must be positive for an exponential schedule, which never reaches 0", "--final_lr")

    @property
    def ends(self) -> bool:
        """Whether the rates depend on how long the run is."""
        return self.kind in ("cosine", "exponential") and self.lr != self.final_lr

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            end = self.lr if self.warmup_end_lr is None else self.warmup_end_lr
            return self.warmup_start_lr + (end - self.warmup_start_lr) * step / self.warmup_steps
        done = step - self.warmup_steps
        share = min(done / max(self.total_steps - self.warmup_steps, 1), 1.0)
        if self.kind == "cosine":
            return self._cosine(share)
        if self.kind == "cosine_restarts":
            return self._cosine((done % self.cycle_steps) / self.cycle_steps)
        if self.kind == "exponential":
            return self.final_lr if share == 1 else self.lr * math.exp(share * math.log(self.final_lr / self.lr))
        if self.kind == "step":
            floor = self.final_lr if self.final_lr < self.lr else 0.0
            return max(self.lr * STEP_FACTOR ** (done // self.steps_per_epoch), floor)
        return self.lr

    def _cosine(self, share: float) -> float:
        if share == 1:
            return self.final_lr
        return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * share)) / 2


class StepScheduler(LRScheduler):
    """Sets each parameter group to curve(steps done), scaled by the group's own rate relative to `lr`."""

    def __init__(self, optimizer: Optimizer, curve: Callable[[int], float], lr: float) -> None:
        self.curve, self.lr = curve, lr
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        value = self.curve(self.last_epoch)
        return [value if base == self.lr else value * (base / self.lr) for base in map(float, self.base_lrs)]

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return {name: state[name] for name in ("base_lrs", "last_epoch", "_step_count", "_last_lr")}


def make_schedule(config: Any, kind: str, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The curve that the options ask for.

    Args:
        config: TrainOptions (lr, final_lr, warm-up, cycle_steps, max_steps).
        steps_per_epoch: optimiser steps of the first epoch.
        total_steps: of all epochs.
    """
    return Schedule(
        kind=kind,
        lr=config.lr,
        final_lr=config.lr if config.final_lr is None else config.final_lr,
        total_steps=total_steps if config.max_steps is None else min(total_steps, config.max_steps),
        steps_per_epoch=max(steps_per_epoch, 1),
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        warmup_start_lr=config.warmup_start_lr,
        warmup_end_lr=config.warmup_end_lr,
        cycle_steps=config.cycle_steps,
    )
