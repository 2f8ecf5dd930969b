"""One optimiser step of a training loop, and what is done with one that goes wrong.

Every rank works out its gradient alone, then all ranks share gradients, and with them whether a rank has failed: all
take the step, or all leave it out. A rank that runs out of memory first tries its batch again in halves, which is its
own affair.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from configs.errors import BrokenDown
from trainers import bad_steps
from trainers.bad_steps import GRADIENT, LOSS, OUT_OF_MEMORY, RankMissing
from trainers.batches import item_ids
from trainers.distributed import gather_objects, is_main, rank, say, sum_over_ranks, to_device
from trainers.ema import MovingAverage
from trainers.gradient_step import SharedGradients, add_gradients, joint_counts, joint_loss, take_gradients
from trainers.line_log import LineLog
from trainers.metrics import Meter, Weighted, weigh
from trainers.preemption import told_to_stop
from trainers.rng import random_streams, restore_random_streams
from trainers.task import Task


@dataclass
class Share:
    """What this rank made of a batch, beside the gradient.

    Attributes:
        logged: loss parts of the batch, or of each part of it. fault: why it can't be used. in_parts: whether it took
            several. too_large: the items that had no place alone.
    """

    logged: list[dict[str, Weighted]] = field(default_factory=list)
    fault: str | None = None
    in_parts: bool = False
    too_large: list[str] = field(default_factory=list)


class Steps(Task):
    """The part of a trainer that turns batches into steps; `Trainer` describes the attributes."""

    optimizer: torch.optim.Optimizer
    scheduler: Any
    scheduler_frequency: str
    average: MovingAverage | None
    logs: dict[str, LineLog]
    epoch_meter: Meter
    window_meter: Meter
    shared_gradients: SharedGradients
    epoch: int
    batch: int
    global_step: int
    skipped_steps: int
    split_steps: int
    bad_in_a_row: int
    told_to_stop: bool
    last_gradient_norm: float
    last_lr: float

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the forward pass."""
        raise NotImplementedError

    def _step(self, group: list[Any], device: torch.device) -> bool:
        """One optimiser step on the mean gradient of a group of batches; False when it was left out. The same on all
        ranks.

        Raises:
            BrokenDown: too many steps in a row were left out.
        """
        counts = [self.part_counts(batch) for batch in group]  # before batches are on the device: nothing waits for it
        totals, told = joint_counts(counts, told_to_stop())
        self.told_to_stop |= told
        good = self._gradients(group, totals, device)
        if good and self._update(group, good):
            self.bad_in_a_row = 0
            return True
        self.optimizer.zero_grad(set_to_none=True)
        self.bad_in_a_row += 1
        if 0 < self.config.max_bad_steps <= self.bad_in_a_row:
            where = f"epoch {self.epoch}, batch {self.batch - 1}"
            raise BrokenDown(
                f"{self.bad_in_a_row} steps in a row could not be used, the last in {where}; see bad_steps.jsonl in the"
                " run folder, where the newest good state is, too (--max_bad_steps)"
            )
        return False

    def _gradients(self, group: list[Any], totals: list[dict[str, float]], device: torch.device) -> int:
        """Give the parameters the sum of the gradients of a group, averaged over ranks; returns how many of its batches
        could be used."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        first, good = self.batch - len(group), 0
        for position, batch in enumerate(group):
            before = take_gradients(parameters) if position else []
            share = self._share(batch, first + position, totals[position], device)
            flags = [share.fault is not None, share.in_parts]
            if len(group) == 1:  # the flags travel with the gradients
                failed, in_parts = self.shared_gradients.share(parameters, flags)
            else:
                failed, in_parts = (count > 0 for count in sum_over_ranks(list(map(float, flags))))
            if in_parts:
                self._note_split(batch, first + position, share)
            if failed:
                take_gradients(parameters)
                self._note_skip([batch], first + position, share.fault, share.too_large)
            else:
                good += 1
                for parts in share.logged:
                    self.epoch_meter.add(parts)
                    self.window_meter.add(parts)
            if position:
                add_gradients(parameters, before)
        if len(group) > 1:
            self.shared_gradients.share(parameters, ())
        return good

    def _share(self, batch: Any, number: int, totals: Mapping[str, float], device: torch.device) -> Share:
        """Work out this rank's gradient of a batch; in parts when it takes too much memory in one."""
        streams = random_streams()
        share = Share()
        if self._tried(share, batch, number, totals, device) or share.fault != OUT_OF_MEMORY:
            return share
        keys = bad_steps.keys_of(self.train_loader, number) if self.splits_batches else None
        restore_random_streams(streams)
        waiting = [] if keys is None or len(keys) < 2 else bad_steps.halves(keys)
        if not waiting:
            return Share(fault=OUT_OF_MEMORY, too_large=item_ids(batch) if keys is not None else [])
        del batch
        share = Share(in_parts=True)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        while waiting:
            part = waiting.pop(0)
            before = take_gradients(parameters)
            items = bad_steps.load(self.train_loader, part)
            if self._tried(share, items, number, totals, device):
                add_gradients(parameters, before)
                continue
            if share.fault != OUT_OF_MEMORY or len(part) < 2:
                share.too_large = item_ids(items) if share.fault == OUT_OF_MEMORY else []
                break
            del items
            share.fault = None
            add_gradients(parameters, before)
            waiting = bad_steps.halves(part) + waiting
        if share.fault is not None:
            restore_random_streams(streams)
        return share

    def _tried(self, share: Share, batch: Any, number: int, totals: Mapping[str, float], device: torch.device) -> bool:
        """Go forward and backward; False, with the fault in `share` and no gradient, when that fails."""
        try:
            loss, logged = self._forward_and_backward(batch, number, totals, device)
        except RankMissing:
            share.fault = ""
        except (RuntimeError, MemoryError) as error:
            if not bad_steps.out_of_memory(error):
                raise
            share.fault = OUT_OF_MEMORY
        else:
            if bool(torch.isfinite(loss)):
                share.logged.append(logged)
                return True
            share.fault = LOSS
        take_gradients(list(self.model.parameters()))
        if share.fault == OUT_OF_MEMORY:
            bad_steps.free_memory()
        return False

    def _forward_and_backward(
        self, batch: Any, number: int, totals: Mapping[str, float], device: torch.device
    ) -> tuple[Tensor, dict[str, Weighted]]:
        counts = self.part_counts(batch)
        batch = to_device(batch, device)
        with self.autocast():
            output = self.train_step(batch, number)
        loss = output if isinstance(output, Tensor) else output.loss
        joint = joint_loss(loss, self.loss_terms(output), counts, totals)
        self.optimizer.zero_grad(set_to_none=True)
        joint.backward()
        parts = {name: value.detach() for name, value in self.logged_parts(output, batch).items()}
        return loss.detach(), weigh(parts, counts)

    def _update(self, group: list[Any], good: int) -> bool:
        """Clip and apply the gradients; False when they are not finite (being averaged, they are so on all ranks)."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        if good > 1:
            for p in parameters:
                p.grad.div_(good)  # type: ignore[union-attr]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip or float("inf"))
        if not torch.isfinite(norm):
            self._note_skip(group, self.batch - 1, GRADIENT)
            return False
        self.shared_gradients.forget_own()
        self.last_gradient_norm, self.last_lr = float(norm), float(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        self.global_step += 1
        if self.scheduler is not None and self.scheduler_frequency == "batch":
            self.scheduler.step()
        return True

    def _note_skip(
        self, batches: list[Any], number: int, fault: str | None, too_large: list[str] | None = None
    ) -> None:
        """Count work that is left out and write which items it held. All ranks get here together."""
        self.skipped_steps += 1
        if fault == GRADIENT and self.shared_gradients.own_are_finite():
            fault = None
        reasons = self._note("skipped", batches, number, fault, too_large)
        say(f"skipped batch {number} of epoch {self.epoch}: {reasons} (its items are in bad_steps.jsonl)")

    def _note_split(self, batch: Any, number: int, share: Share) -> None:
        """Count a batch that some rank took in parts. All ranks get here together."""
        self.split_steps += 1
        self._note("taken in parts", [batch], number, OUT_OF_MEMORY if share.in_parts else None, [])

    def _note(
        self, action: str, batches: list[Any], number: int, fault: str | None, too_large: list[str] | None
    ) -> str:
        """Write what was done with a batch and the items on the ranks where it was at fault; returns the reasons."""
        own: dict[str, Any] = {
            "rank": rank(),
            "reason": fault,
            "ids": [i for batch in batches for i in item_ids(batch)],
        }
        if too_large:
            own["too_large"] = too_large
        everywhere = gather_objects(own)
        # a sum of finite gradients may be infinite, which is no rank's own fault
        to_blame = [one for one in everywhere if one["reason"]] or [one | {"reason": GRADIENT} for one in everywhere]
        reasons = ", ".join(sorted({one["reason"] for one in to_blame}))
        if is_main():
            place = {"phase": "train", "epoch": self.epoch, "batch": number, "step": self.global_step}
            self.logs["bad_steps"].append(place | {"action": action, "reason": reasons, "ranks": to_blame})
        return reasons
