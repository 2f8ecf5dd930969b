"""Scores of a whole set: every part averaged by its own count, metrics over all predictions of all ranks."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainers.batches import iterate, start_epoch
from trainers.distributed import to_device
from trainers.finetune import train_mode
from trainers.metrics import Meter, Predictions, weigh
from trainers.preemption import stop_together, told_to_stop

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer


def evaluate(trainer: "Trainer", loader: Any) -> dict[str, float]:
    """Mean loss parts and the trainer's metrics of all items of a loader. A collective call, the same on all ranks."""
    means, predictions = predict(trainer, loader)
    return means | trainer.metrics(predictions, means)


@torch.no_grad()
def predict(trainer: "Trainer", loader: Any) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Mean loss parts over all items of a loader, and its predictions. A collective call, the same on all ranks.

    Ranks may have different numbers of batches: they meet only at the end. Preempted is raised there, on all ranks,
    when one of them was told to stop.
    """
    meter, kept = Meter(), Predictions()
    start_epoch(loader, 0, 0)
    trainer.model.eval()
    with trainer.averaged_weights():
        for number, batch in enumerate(iterate(loader)):
            if told_to_stop():
                break
            counts = trainer.part_counts(batch)
            batch = to_device(batch, trainer.device)
            with trainer.autocast():
                output = trainer.valid_step(batch, number)
            meter.add(weigh(trainer.logged_parts(output, batch), counts))
            kept.add(trainer.predictions(output, batch))
    train_mode(trainer.model)
    stop_together("while measuring")
    return meter.means(), kept.gather()
