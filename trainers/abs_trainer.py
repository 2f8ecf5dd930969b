"""The one training loop. A task subclasses `Trainer` and says what a step is: `share_step`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from configs.errors import ConfigError, Preempted
from trainers import resume
from trainers.agreement import check_same, check_weights
from trainers.batches import iterate, start_epoch
from trainers.callbacks import Callback, default_callbacks
from trainers.changes import tell_changes
from trainers.checkpoint import Checkpoints
from trainers.distributed import choose_device, from_main, is_main, say, to_device
from trainers.ema import MovingAverage
from trainers.evaluation import LEFT_OUT, evaluate
from trainers.finetune import to_store, train_mode
from trainers.gradient_step import SharedGradients, share_weights
from trainers.line_log import LineLog
from trainers.metrics import Meter
from trainers.monitor import choose_monitor
from trainers.preemption import stopped
from trainers.run_folder import choose_run_folder, prepare_run_folder, recorded_facts
from trainers.saving import Saving
from trainers.sharding import sharded
from trainers.steps import Steps
from trainers.train_config import TrainConfig
from trainers.training_state import TrainingState, read_state

__all__ = ["TrainConfig", "Trainer"]


class Trainer(Steps):
    """Trains a model: epochs, validation, schedules, checkpoints, early stopping, resume, any number of ranks.

    Args:
        model: called by `share_step`.
        train_loader: yields batches, has a length; a `batch_sampler` with `set_epoch` and `start_batch` is told both.
        valid_loader: the same, or None for no validation.
        config: options.
        resume_state: a stored state or its path, to go on from there.

    Attributes:
        epoch, batch: position; the next batch to train on. global_step: optimiser steps done.
        first_epoch, max_epoch: the run trains epochs first_epoch..max_epoch - 1 (from 0 unless resumed further).
        last_lr, last_gradient_norm: of the last step.
        monitor: the metric that is judged. best_valid_metric, best_epoch: its best value so far.
        patience: validations that may still pass without improvement.
        history: one dict an epoch.
        skipped_steps: batches left out because of memory or a loss or gradient that is not finite.
        split_steps: batches that took too much memory in one. bad_in_a_row: steps left out since the last good one.
    """

    def __init__(
        self,
        model: nn.Module,
        train_loader: Any,
        valid_loader: Any | None,
        config: TrainConfig,
        resume_state: TrainingState | str | Path | None = None,
    ) -> None:
        if config.save_dir is None:
            raise ConfigError("is required", "--save_dir")
        self.model, self.train_loader, self.valid_loader, self.config = model, train_loader, valid_loader, config
        self.resume_state = read_state(resume_state) if isinstance(resume_state, (str, Path)) else resume_state
        self.device = torch.device("cpu")
        self.epoch = self.batch = self.global_step = 0
        self.skipped_steps = self.split_steps = self.bad_in_a_row = 0
        self.first_epoch, self.max_epoch, self.patience = 0, config.max_epoch, config.patience
        self.monitor = choose_monitor(config, self.default_monitor)
        if valid_loader is not None and not config.callbacks and self.metric_names():  # callbacks may add metrics
            self.monitor.check(self.metric_names())
        self.best_valid_metric = self.monitor.worst
        self.best_epoch: int | None = None
        self.out_of_time = self.told_to_stop = False
        self.history: list[dict[str, Any]] = []
        self.last_gradient_norm, self.last_lr = 0.0, config.lr
        self.epoch_meter, self.window_meter = Meter(), Meter()
        self.average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        self.optimizer = sharded(self.get_optimizer(), config.shard)
        scheduler = self.get_scheduler(self.optimizer) or {}
        self.scheduler, self.scheduler_frequency = scheduler.get("scheduler"), scheduler.get("frequency", "epoch")
        restart = config.get("restart") == "auto"
        self.save_dir = choose_run_folder(config.save_dir, self.resume_state, self, restart)
        self.checkpoints = Checkpoints(
            self.save_dir / "checkpoint", config.save_topk, self.monitor.smaller_is_better, self.monitor.name
        )
        self.launches = LineLog(self.save_dir / "launches.jsonl")
        self.logs = {name: LineLog(self.save_dir / f"{name}.jsonl") for name in ("history", "bad_steps")}
        self.saving = Saving(stored=self.resume_state is not None and not self.resume_state.further)
        self.callbacks: list[Callback] = list(config.callbacks)
        self.shared_gradients = SharedGradients()
        self.facts: dict[str, Any] = {}  # what else train_config.json should say

    # The loop

    def train(
        self,
        device_ids: Sequence[int] | int | None = None,
        local_rank: int = -1,
        use_wandb: bool = False,
        use_raytune: bool = False,
        gpus: Sequence[int] | int | None = None,
    ) -> None:
        """Train up to the last epoch, or until patience, `max_steps` or `max_minutes` is used up.

        Args:
            device_ids: device numbers, -1 for the CPU, nothing for a GPU when there is one (`gpus` is the same).
            local_rank: position in `device_ids`; torchrun's environment wins.
            use_wandb, use_raytune: report there as well.
        """
        ids = device_ids if gpus is None else gpus
        self._prepare(() if ids is None else [ids] if isinstance(ids, int) else list(ids), local_rank)
        self.callbacks += default_callbacks(self.config, use_wandb, use_raytune)
        self.event("on_train_start")
        if self.resume_state is None or self.resume_state.further:
            self._save_state()
        try:
            while self.epoch < self.max_epoch and (self.batch or not self.finished):  # an epoch begun gets its end
                self.event("on_epoch_start")
                trained = self._train_epoch(self.device)
                self._finish_epoch(trained, self._valid_epoch(self.device))
        finally:
            self.event("on_train_end")

    @property
    def finished(self) -> bool:
        """Whether patience, time or the number of steps is used up."""
        out_of_patience = self.config.early_stopping and self.patience <= 0
        out_of_steps = self.config.max_steps is not None and self.global_step >= self.config.max_steps
        return out_of_patience or out_of_steps or self.out_of_time

    def _train_epoch(self, device: torch.device) -> dict[str, float]:
        """Train on the (remaining) batches of the epoch; returns the epoch's mean loss parts over all ranks."""
        train_mode(self.model)
        total = start_epoch(self.train_loader, self.epoch, self.batch)
        check_same("position in the run and number of batches", (self.epoch, self.batch, self.global_step, total))
        group: list[Any] = []
        for batch in () if self.finished else iterate(self.train_loader, self.batch):
            group.append(batch)
            self.batch += 1
            if len(group) < self.config.accumulate and self.batch < total:
                continue
            stepped = self._step(group, device)
            group = []
            if stepped:
                self._after_step()
            if self.finished:
                break
            if self.told_to_stop:
                self._save_state()
                raise stopped(f"the state is stored in {self.save_dir}")
        return self.epoch_meter.means()

    def _after_step(self) -> None:
        self.event("on_batch_end")
        if self.global_step % self.config.log_every == 0:
            parts = self.window_meter.means()
            self.window_meter = Meter()
            if is_main():
                self.log_step(parts)
        every = self.config.save_every_steps
        if every and self.global_step % every == 0 and not self.finished:
            self._save_state()

    def log_step(self, parts: dict[str, float]) -> None:
        """Hand the mean loss parts since the last logged step to the loggers."""
        record = {"event": "step", "epoch": self.epoch, "step": self.global_step, "lr": self.last_lr}
        record |= {"gradient_norm": self.last_gradient_norm, "train": parts}
        for callback in self.callbacks:
            callback.on_log(self, record)

    # Validation

    def _valid_epoch(self, device: torch.device) -> dict[str, float] | None:
        """Metrics over the whole validation set and all ranks; None when there is nothing to validate in this epoch."""
        last = self.epoch + 1 >= self.max_epoch or self.finished
        if self.valid_loader is None or (not last and (self.epoch + 1) % self.config.valid_every):
            return None
        try:
            return self.evaluate(self.valid_loader)
        except Preempted:  # between the last step of the epoch and its end
            self.told_to_stop = True  # there will be no other try to store it
            self._save_state()
            raise

    def evaluate(self, loader: Any, prefix: str = "") -> dict[str, float]:
        """Mean loss parts and metrics of all items of a loader over all ranks."""
        return {prefix + name: value for name, value in evaluate(self, loader).items()}

    # Epoch ends, best checkpoint, state

    def _finish_epoch(self, trained: dict[str, float], valid: dict[str, float] | None) -> None:
        """Judge the epoch, store checkpoint, history and state, and move on to the next. The same on all ranks."""
        check_weights(self.model, f"at the end of epoch {self.epoch}")
        if valid is not None:
            self.event("on_validation", valid)
            valid = from_main(valid)  # whatever callbacks did to it
        metric = None if valid is None else self._judged(valid)
        self._step_scheduler(metric)
        improved = metric is not None and self.monitor.improves(metric, self.best_valid_metric)
        if improved:
            assert metric is not None
            self.best_valid_metric, self.best_epoch, self.patience = metric, self.epoch, self.config.patience
        elif metric is not None and self.epoch >= self.config.warmup_epochs:
            self.patience -= 1
        self.patience = from_main(self.patience)
        if valid is not None or self.valid_loader is None:
            self._maintain_topk_checkpoint(metric, improved, {"train": trained, "valid": valid})
        record: dict[str, Any] = {
            "epoch": self.epoch,
            "step": self.global_step,
            "lr": self.last_lr,
            "skipped_steps": self.skipped_steps,
            "split_steps": self.split_steps,
        }
        record |= {"improved": improved, "train": trained}
        if valid is not None:
            record["valid"] = valid
        self.history.append(record)
        self.event("on_epoch_end")
        self.epoch, self.batch = self.epoch + 1, 0
        self.epoch_meter = Meter()
        self._save_state()

    def _judged(self, valid: dict[str, float]) -> float:
        """The monitored metric; NaN, which never is an improvement, when more items were left out than in the epoch
        with the fewest: scores of other sets don't compare."""
        fewest = min((record["valid"].get(LEFT_OUT, 0) for record in self.history if "valid" in record), default=None)
        left_out = valid.get(LEFT_OUT, 0)
        if left_out and (self.monitor.name not in valid or (fewest is not None and left_out > fewest)):
            return float("nan")
        return self.monitor.of(valid)

    def _step_scheduler(self, metric: float | None) -> None:
        """The step at the end of an epoch, of schedules that have one; a plateau is one of the monitored metric."""
        if self.scheduler is None or self.scheduler_frequency != "epoch":
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        elif metric is not None:
            self.scheduler.step(metric)

    def _maintain_topk_checkpoint(self, metric: float | None, improved: bool, metrics: dict[str, Any]) -> None:
        """Store the weights and what is known about them if they are among the best `save_topk`, and delete those that
        no longer are."""
        if not from_main(self.checkpoints.wanted(metric, improved)):  # only there a save that failed is known
            return

        def store() -> None:
            with self.averaged_weights():
                extra = self.facts | {"epoch": self.epoch, "step": self.global_step, self.monitor.name: metric}
                extra |= {"metrics": metrics, "training": recorded_facts(self.save_dir)}
                self.checkpoints.add(to_store(self.model, self.config), metric, self.epoch, self.global_step, extra)

        last = self.epoch + 1 >= self.max_epoch or self.finished
        stored = self.saving.attempt(f"the checkpoint of epoch {self.epoch}", store, last)
        self.checkpoints.load(from_main(self.checkpoints.state()))
        if stored:
            self.event("on_checkpoint")

    def _save_state(self) -> None:
        """Store everything that resuming needs."""
        self.saving.state(self)

    def _prepare(self, gpus: Sequence[int], local_rank: int) -> None:
        """Device, folder, stored state, and the wrapper for several ranks."""
        self.device = choose_device(gpus, local_rank)
        if self.config.mixed_precision and self.device.type != "cuda":
            say("--mixed_precision has no effect on the CPU")
        self.model.to(self.device)
        changes = tell_changes(self)
        if is_main():
            size = sum(p.numel() for p in self.model.parameters())
            facts = {"model": type(self.model).__name__, "parameters": size, "device": str(self.device)}
            prepare_run_folder(self.save_dir, self.config.to_dict(), facts | self.facts, changes, self.launches)
        if self.average is not None:
            self.average = MovingAverage(self.model, self.average.decay)
        if self.resume_state is not None:
            resume.apply(self, self.resume_state)
        share_weights(self.model)

    # Helpers

    def event(self, name: str, *arguments: Any) -> None:
        """Call one method of every callback."""
        for callback in self.callbacks:
            getattr(callback, name)(self, *arguments)

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 where torch holds it to be harmless, on CUDA with `mixed_precision`; else nothing."""
        if self.config.mixed_precision and self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def averaged_weights(self) -> AbstractContextManager[None]:
        """The moving average in the place of the weights, when there is one."""
        return self.average.in_model() if self.average is not None else nullcontext()

    def _is_main_proc(self) -> bool:
        return is_main()

    def to_device(self, value: Any, device: torch.device | None = None) -> Any:
        """Move every tensor of a nested value to the trainer's device."""
        return to_device(value, device or self.device)
