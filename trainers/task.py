"""What differs between tasks: optimiser, schedule, the step, and what is measured. `Trainer` adds the loop."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from trainers.batches import n_items, steps_of_run
from trainers.finetune import finetune_options, parameter_groups
from trainers.schedules import STEP_FACTOR, StepScheduler, make_schedule
from trainers.train_config import TrainConfig


class Task:
    """The methods that a trainer may override; only `share_step` has to be."""

    model: nn.Module
    train_loader: Any
    config: TrainConfig
    default_monitor = "loss"
    default_weight_decay = 0.0
    splits_batches = True  # whether the loss of a batch is made of its items, each for itself
    reports = False  # whether train.py measures the best checkpoint once more at the end

    def metric_names(self) -> Collection[str]:
        """What `evaluate` measures, known before anything is measured; empty: not known."""
        return ()

    def check_test_set(self, loader: Any | None) -> None:
        """Refuse a test set that the task can't use, before training."""

    @property
    def weight_decay(self) -> float:
        """That of the options, or of the task."""
        given = self.config.weight_decay
        return self.default_weight_decay if given is None else given

    def get_optimizer(self) -> torch.optim.Optimizer:
        """Adam, or AdamW when weight_decay is set; frozen parameters get no gradient, and so no decay."""
        config = self.config
        groups = parameter_groups(self.model, finetune_options(config), config.lr)
        if self.weight_decay:
            return torch.optim.AdamW(groups, lr=config.lr, weight_decay=self.weight_decay)
        return torch.optim.Adam(groups, lr=config.lr)

    def get_scheduler(self, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """`{"scheduler", "frequency"}` with frequency "epoch" or "batch".

        Without `lr_schedule` and warm-up: lr * 0.9^epoch. Otherwise the curve that the options ask for.
        """
        if self.config.lr_schedule is None and not self.config.warmup_epochs and self.config.final_lr is None:
            return {"scheduler": StepLR(optimizer, 1, STEP_FACTOR), "frequency": "epoch"}
        return self.curve_scheduler(optimizer, self.config.lr_schedule or "step")

    def curve_scheduler(self, optimizer: torch.optim.Optimizer, kind: str) -> dict[str, Any]:
        """One of the curves of `trainers.schedules`, stepped with the optimiser."""
        steps = steps_of_run(self.train_loader, self.config.max_epoch, self.config.accumulate)
        curve = make_schedule(self.config, kind, *steps)
        return {"scheduler": StepScheduler(optimizer, curve, self.config.lr), "frequency": "batch"}

    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        """Loss tensor, or an object with `.loss`, of one batch: what training and validation have in common."""
        raise NotImplementedError(f"{type(self).__name__} must define share_step")

    def train_step(self, batch: Any, batch_idx: int) -> Any:
        """`share_step` while training."""
        return self.share_step(batch, batch_idx, val=False)

    def valid_step(self, batch: Any, batch_idx: int) -> Any:
        """`share_step` while validating."""
        return self.share_step(batch, batch_idx, val=True)

    def part_counts(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Multiplier and count (`metrics.Weighted`) of loss parts by the first word of their names; "" is the rest."""
        items = float(n_items(batch))
        return {"": (items, items)}

    def loss_terms(self, output: Any) -> dict[str, Tensor]:
        """Differentiable terms that add up to the loss, under names of `part_counts`.

        Each is averaged over ranks by its own count, so that N ranks get the gradient of their joint batch.
        """
        return {"": output if isinstance(output, Tensor) else output.loss}

    def logged_parts(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """Scalars to log of a step: the output's `parts()`, or its loss."""
        if isinstance(output, Tensor):
            return {"loss": output}
        return output.parts() if hasattr(output, "parts") else {"loss": output.loss}

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Any]:
        """Per-sample tensors (or lists of text) of a validation step that `metrics` needs."""
        return {}

    def sample_scores(self, predictions: dict[str, Any]) -> Mapping[str, Any]:
        """Name of a metric that is a mean over samples -> [samples] what each adds: what a final report resamples.

        Empty: the report resamples the predictions and computes `metrics` anew.
        """
        return {}

    def metrics(self, predictions: dict[str, Any], means: dict[str, float]) -> dict[str, float]:
        """Metrics over the whole set, from the gathered predictions and the mean loss parts."""
        return {}
