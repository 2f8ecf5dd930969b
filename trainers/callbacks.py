"""What happens beside training: logs, progress, reports. Every event gets the trainer; all ranks call all events."""

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from trainers.distributed import from_main, is_main, say
from trainers.folders import write_if_possible

if TYPE_CHECKING:
    from trainers.abs_trainer import Trainer
    from trainers.train_config import TrainConfig

MOST_SINGLE = 16


class Callback:
    """Base of callbacks: override the events that matter. `trainer.epoch` and `trainer.batch` tell the position."""

    def on_train_start(self, trainer: "Trainer") -> None:
        """The device is chosen and a stored state is loaded."""

    def on_epoch_start(self, trainer: "Trainer") -> None:
        """Before the first (or next, after a resume) batch of an epoch."""

    def on_batch_end(self, trainer: "Trainer") -> None:
        """After an optimiser step."""

    def on_log(self, trainer: "Trainer", record: dict[str, Any]) -> None:
        """On the main rank, every `log_every` steps: mean loss parts since the last time."""

    def on_validation(self, trainer: "Trainer", metrics: dict[str, float]) -> None:
        """After validation, before the metrics are judged; may add metrics (the same on every rank)."""

    def on_checkpoint(self, trainer: "Trainer") -> None:
        """After a checkpoint was stored."""

    def on_epoch_end(self, trainer: "Trainer") -> None:
        """The epoch's record is `trainer.history[-1]`."""

    def on_train_end(self, trainer: "Trainer") -> None:
        """Also after an error."""


class TimeLimit(Callback):
    """Ends training with the first step after some minutes; the main rank's clock decides for all ranks."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.minutes, self.clock = minutes, clock
        self.start = 0.0

    def on_train_start(self, trainer: "Trainer") -> None:
        self.start = self.clock()

    def on_batch_end(self, trainer: "Trainer") -> None:
        trainer.out_of_time = from_main(self.clock() - self.start >= 60 * self.minutes)


class HistoryWriter(Callback):
    """history.jsonl (a line for each logged step and each epoch) and training_history.json (epochs)."""

    def on_log(self, trainer: "Trainer", record: dict[str, Any]) -> None:
        trainer.logs["history"].append(record)

    def on_epoch_end(self, trainer: "Trainer") -> None:
        if is_main():
            trainer.logs["history"].append({"event": "epoch"} | trainer.history[-1])
            self.write(trainer)

    def on_train_start(self, trainer: "Trainer") -> None:
        if is_main() and trainer.history:  # whatever happened to the file meanwhile
            self.write(trainer)

    def write(self, trainer: "Trainer") -> None:
        """Put all epochs into training_history.json; on a full disk the next epoch's end tries again."""
        path = trainer.save_dir / "training_history.json"
        write_if_possible(path, json.dumps(trainer.history, indent=1) + "\n")


class ConsoleLogger(Callback):
    """A progress bar with the latest loss parts, and one line an epoch."""

    def __init__(self, progress: bool = True) -> None:
        self.progress = progress
        self.bar: tqdm | None = None
        self.start = 0.0

    def on_train_start(self, trainer: "Trainer") -> None:
        size = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        name = type(trainer.model).__name__
        say(f"{name}: {size:,} trainable parameters on {trainer.device}; run in {trainer.save_dir}")

    def on_epoch_start(self, trainer: "Trainer") -> None:
        self.start = time.perf_counter()
        if self.progress and is_main() and sys.stderr.isatty():
            total = len(trainer.train_loader)
            self.bar = tqdm(total=total, initial=trainer.batch, desc=f"epoch {trainer.epoch}", leave=False)

    def on_batch_end(self, trainer: "Trainer") -> None:
        if self.bar is not None:
            self.bar.update(trainer.batch - self.bar.n)

    def on_log(self, trainer: "Trainer", record: dict[str, Any]) -> None:
        if self.bar is not None:
            parts = {name: f"{value:.4g}" for name, value in record["train"].items() if not name.endswith("_base")}
            self.bar.set_postfix(parts)

    def on_epoch_end(self, trainer: "Trainer") -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        record = trainer.history[-1]
        words = [f"epoch {record['epoch']}", f"step {record['step']}", f"lr {record['lr']:.3g}"]
        words += [f"{time.perf_counter() - self.start:.1f} s", f"train {in_words(record['train'])}"]
        if "valid" in record:
            words.append(f"valid {in_words(record['valid'])}{' (best)' if record['improved'] else ''}")
        say("  ".join(words))

    def on_train_end(self, trainer: "Trainer") -> None:
        if self.bar is not None:
            self.bar.close()
        if trainer.best_epoch is not None:
            monitor = trainer.monitor.name
            say(f"best {monitor} {trainer.best_valid_metric:.4g} in epoch {trainer.best_epoch}")
            if trainer.checkpoints.kept and trainer.best_epoch not in {k.epoch for k in trainer.checkpoints.kept}:
                say(f"WARNING: the checkpoint of epoch {trainer.best_epoch} could not be stored")
        if trainer.saving.failed:
            say(f"WARNING: {trainer.saving.failed} saves failed; what is told to be stored is there")
        say(f"checkpoints in {trainer.save_dir / 'checkpoint'}")


def in_words(parts: dict[str, float]) -> str:
    """Loss parts and scores on one line, each with what has to be beaten, where that is known, in brackets: the base of
    predicting nothing, or what frequency scores. Scores of single targets or labels are left to the history where there
    are many."""
    words = []
    single = [name for name in parts if "/" in name]
    for name, value in parts.items():
        if name.endswith(("_base", "_by_frequency")) or ("/" in name and len(single) > MOST_SINGLE):
            continue
        base = parts.get(name.removesuffix("_loss") + "_base" if name.endswith("_loss") else f"{name}_by_frequency")
        words.append(f"{name} {value:.4g}" + (f" [{base:.4g}]" if base is not None else ""))
    return ", ".join(words)


def default_callbacks(config: "TrainConfig", use_wandb: bool, use_raytune: bool) -> list[Callback]:
    """The loggers, and the schedule of unfreezing, that the options ask for."""
    from trainers.finetune import UnfreezeSchedule, finetune_options
    from trainers.loggers import RayTuneReporter, TensorBoardLogger, WandbLogger
    from trainers.progress import ProgressWriter

    callbacks: list[Callback] = [HistoryWriter(), ProgressWriter(), ConsoleLogger(config.progress)]
    if finetune_options(config).stages:
        callbacks.append(UnfreezeSchedule(finetune_options(config)))
    if config.max_minutes is not None:
        callbacks.append(TimeLimit(config.max_minutes))
    if config.use_tensorboard:
        callbacks.append(TensorBoardLogger())
    if use_wandb or config.use_wandb:
        callbacks.append(WandbLogger())
    if use_raytune or config.use_raytune:
        callbacks.append(RayTuneReporter())
    return callbacks
