"""One optimiser step of a training loop, and what is done with one that went wrong."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from trainers import distributed
from trainers.batches import item_ids
from trainers.distributed import is_main, say, to_device
from trainers.ema import MovingAverage
from trainers.gradient_step import joint_loss, without_sync
from trainers.line_log import LineLog
from trainers.metrics import Meter, weigh
from trainers.preemption import told_to_stop
from trainers.task import Task


class Steps(Task):
    """The part of a trainer that turns batches into steps; `Trainer` describes the attributes."""

    optimizer: torch.optim.Optimizer
    scheduler: Any
    scheduler_frequency: str
    average: MovingAverage | None
    logs: dict[str, LineLog]
    epoch_meter: Meter
    window_meter: Meter
    epoch: int
    batch: int
    global_step: int
    skipped_steps: int
    told_to_stop: bool
    last_gradient_norm: float
    last_lr: float
    _step_module: nn.Module

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the forward pass."""
        raise NotImplementedError

    def _step(self, group: list[Any], device: torch.device) -> bool:
        """One optimiser step on the mean gradient of a group of batches; False when it was skipped."""
        good = 0
        for position, batch in enumerate(group):
            loss = self._forward(batch, self.batch - len(group) + position, device)
            if position == 0:
                self.optimizer.zero_grad(set_to_none=True)
            if loss is not None:
                loss.backward()
                good += 1
        if not good:
            return False
        if self.config.accumulate > 1:
            distributed.average_gradients(self.model.parameters())
            for p in self.model.parameters():
                if p.grad is not None:
                    p.grad /= good
        return self._update(group)

    def _forward(self, batch: Any, number: int, device: torch.device) -> Tensor | None:
        """The loss to go backward from; None when some rank's is not finite, and every rank leaves the batch out."""
        counts = self.part_counts(batch)  # before the batch is on the device, so that nothing waits for it
        batch = to_device(batch, device)
        with without_sync(self._step_module, self.config.accumulate), self.autocast():
            loss, box = self._step_module(batch, number)
        bad = not bool(torch.isfinite(loss))
        joint, flags = joint_loss(loss, (bad, told_to_stop()), self.loss_terms(box.output), counts)
        any_bad, told = flags
        self.told_to_stop |= told
        if any_bad:
            self._note_skip([batch], number, "loss", bad)
            return None
        parts = weigh(self.logged_parts(box.output, batch), counts)
        self.epoch_meter.add(parts)
        self.window_meter.add(parts)
        return joint

    def _update(self, group: list[Any]) -> bool:
        """Clip and apply the gradients; False when they are not finite (being averaged, they are so on all ranks)."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip or float("inf"))
        if not torch.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            self._note_skip(group, self.batch - 1, "gradient", True)
            return False
        self.last_gradient_norm, self.last_lr = float(norm), float(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        self.global_step += 1
        if self.scheduler is not None and self.scheduler_frequency == "batch":
            self.scheduler.step()
        return True

    def _note_skip(self, batches: list[Any], number: int, reason: str, here: bool) -> None:
        """Count skipped work and write which items it held. All ranks get here together."""
        self.skipped_steps += 1
        ids = [name for batch in batches for name in item_ids(batch)]
        ranks = distributed.gather_objects({"rank": distributed.rank(), "ids": ids} if here else None)
        say(f"skipped batch {number} of epoch {self.epoch}: non-finite {reason} (its items are in skipped.jsonl)")
        if is_main():
            record: dict[str, Any] = {
                "epoch": self.epoch,
                "batch": number,
                "step": self.global_step,
                "reason": f"non-finite {reason}",
            }
            self.logs["skipped"].append(record | {"ranks": [r for r in ranks if r]})
