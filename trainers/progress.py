"""How far a training is, in a file for people and scripts."""

import json
from typing import TYPE_CHECKING, Any

from trainers.callbacks import Callback
from trainers.distributed import is_main
from trainers.folders import write_if_possible
from trainers.report import without_nan

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer

PROGRESS = "progress.json"


class ProgressWriter(Callback):
    """Writes progress.json into the run folder after every epoch."""

    def on_epoch_end(self, trainer: "Trainer") -> None:
        if is_main():
            write_if_possible(
                trainer.save_dir / PROGRESS, json.dumps(without_nan(progress_of(trainer)), indent=1) + "\n"
            )


def progress_of(trainer: "Trainer") -> dict[str, Any]:
    """The epoch that has ended, how many there are to be, and the best so far."""
    config, since = trainer.config, trainer.config.patience - trainer.patience
    return {
        "epoch": trainer.epoch,
        "max_epochs": trainer.max_epoch,
        "best_epoch": trainer.best_epoch,
        "monitor": trainer.monitor.name,
        "best_metric": trainer.best_valid_metric if trainer.best_epoch is not None else None,
        "epochs_without_improvement": since,
        "patience": config.patience if config.early_stopping else None,
        "progress_pct": round(100 * (trainer.epoch + 1) / trainer.max_epoch, 2),
    }
