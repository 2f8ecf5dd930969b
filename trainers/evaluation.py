"""Scores of a whole set: every part averaged by its own count, metrics over all predictions of all ranks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers import bad_steps
from trainers.bad_steps import LOSS, OUT_OF_MEMORY
from trainers.batches import item_ids, iterate, start_epoch
from trainers.distributed import from_main, gather_objects, is_main, rank, say, to_device
from trainers.finetune import train_mode
from trainers.metrics import Meter, Predictions, weigh
from trainers.preemption import stop_together, told_to_stop

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer

LEFT_OUT = "left_out"  # a metric: items that could not be measured; absent when there are none


def evaluate(trainer: "Trainer", loader: Any) -> dict[str, float]:
    """Mean loss parts and the trainer's metrics of all items of a loader. A collective call, the same on all ranks: the
    main rank computes the metrics."""
    means, predictions = predict(trainer, loader)
    measured = is_main() and any(name != LEFT_OUT for name in means)
    return from_main(means | (trainer.metrics(predictions, means) if measured else {}))


@torch.no_grad()
def predict(trainer: "Trainer", loader: Any) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Mean loss parts over all items of a loader, and its predictions. A collective call, the same on all ranks.

    Ranks may have different numbers of batches: they meet only at the end. Preempted is raised there, on all ranks,
    when one of them was told to stop. Items that take too much memory even alone, or whose loss is not finite, are left
    out, counted as `left_out` and written to bad_steps.jsonl.
    """
    meter, kept = Meter(), Predictions()
    left_out: list[dict[str, Any]] = []
    start_epoch(loader, 0, 0)
    trainer.model.eval()
    with trainer.averaged_weights():
        for number, batch in enumerate(iterate(loader)):
            if told_to_stop():
                break
            for output, part, counts in _measured(trainer, loader, batch, number, left_out):
                meter.add(weigh(trainer.logged_parts(output, part), counts))
                kept.add(trainer.predictions(output, part))
    train_mode(trainer.model)
    stop_together("while measuring")
    return meter.means() | _tell_left_out(trainer, left_out), kept.gather()


def _measured(
    trainer: "Trainer", loader: Any, batch: Any, number: int, left_out: list[dict[str, Any]]
) -> Iterator[tuple[Any, Any, dict[str, tuple[float, float]]]]:
    """Outputs, batches and counts of a batch in one, or of the parts of it that can be measured."""
    done, fault = _tried(trainer, batch, number)
    if done is not None:
        yield done
        return
    keys = bad_steps.keys_of(loader, number) or []
    if len(keys) < 2 or not trainer.splits_batches:
        left_out.append({"reason": fault, "ids": item_ids(batch)})
        return
    del batch
    waiting = bad_steps.halves(keys)
    while waiting:
        keys = waiting.pop(0)
        part = bad_steps.load(loader, keys)
        done, fault = _tried(trainer, part, number)
        if done is not None:
            yield done
        elif len(keys) > 1:
            waiting = bad_steps.halves(keys) + waiting
        else:
            left_out.append({"reason": fault, "ids": item_ids(part)})


def _tried(trainer: "Trainer", batch: Any, number: int) -> tuple[tuple[Any, Any, Any] | None, str]:
    """Output, batch on the device and counts; or None and why there are none."""
    counts = trainer.part_counts(batch)
    try:
        batch = to_device(batch, trainer.device)
        with trainer.autocast():
            output = trainer.valid_step(batch, number)
    except (RuntimeError, MemoryError) as error:
        if not bad_steps.out_of_memory(error):
            raise
    else:
        loss = output if isinstance(output, Tensor) else output.loss
        return ((output, batch, counts), "") if bool(torch.isfinite(loss).all()) else (None, LOSS)
    bad_steps.free_memory()
    return None, OUT_OF_MEMORY


def _tell_left_out(trainer: "Trainer", left_out: list[dict[str, Any]]) -> dict[str, float]:
    """Write which items were left out on all ranks, and return their number as a metric if there are any."""
    everywhere = gather_objects([{"rank": rank()} | one for one in left_out])
    ranks = [one for of_rank in everywhere for one in of_rank]
    if not ranks:
        return {}
    count = sum(len(one["ids"]) or 1 for one in ranks)
    reasons = ", ".join(sorted({one["reason"] for one in ranks}))
    say(f"{count} items could not be measured: {reasons} (they are in bad_steps.jsonl)")
    if is_main():
        place = {"phase": "validation", "epoch": trainer.epoch, "batch": None, "step": trainer.global_step}
        trainer.logs["bad_steps"].append(place | {"action": "left out", "reason": reasons, "ranks": ranks})
    return {LEFT_OUT: float(count)}
