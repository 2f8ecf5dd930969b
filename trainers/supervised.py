"""What tasks with labels share: labels read and checked before the first step, missing ones left out of every mean."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from configs.errors import CheckpointError, DataError
from configs.files import read_json
from configs.task_options import LabelOptions
from data.confidence import seen_blocks, seen_kinds
from data.dataset import InterfaceDataset
from data.label_checks import LabelCheck
from data.labels import Labels, read_labels
from models.answers import SEEN_BLOCKS, SEEN_KINDS
from models.losses import mean_of_known
from trainers.abs_trainer import Trainer
from trainers.batches import entry
from trainers.distributed import say
from trainers.train_config import TrainConfig
from trainers.training_state import TrainingState

CONFIG = "train_config.json"


def label_options(config: TrainConfig) -> LabelOptions:
    """The options of labels among those of a run."""
    return LabelOptions(**{f.name: config.get(f.name, f.default) for f in fields(LabelOptions)})


def labels_of(loader: Any, options: LabelOptions) -> Labels | None:
    """The labels behind a loader; None when its data set is not one of ours."""
    dataset = getattr(loader, "dataset", None)
    return read_labels(dataset, options) if isinstance(dataset, InterfaceDataset) else None


def seen_behind(loader: Any) -> dict[str, Any]:
    """Block types and kinds of complexes of a training set, which tell how far to trust a prediction
    (`models.answers`)."""
    dataset = getattr(loader, "dataset", None)
    if not isinstance(dataset, InterfaceDataset):
        return {SEEN_BLOCKS: None, SEEN_KINDS: None}
    return {SEEN_BLOCKS: sorted(seen_blocks(dataset)), SEEN_KINDS: seen_kinds(dataset)}


class SupervisedTrainer(Trainer):
    """Base of trainers of models that predict labels.

    The loss is a mean over known labels (weighted by class where asked for), so it depends neither on batches nor on
    ranks. A subclass says how labels are read (`learn_labels`), what a batch's targets and their weights are
    (`targets`), what a prediction costs (`losses`), and what is scored.

    Attributes:
        options: of labels. labels: of the training set; None for loaders of other data.
    """

    reports = True

    def __init__(
        self,
        model: nn.Module,
        train_loader: Any,
        valid_loader: Any | None,
        config: TrainConfig,
        resume_state: TrainingState | str | Path | None = None,
    ) -> None:
        self.model, self.config, self.options = model, config, label_options(config)
        self.train_loader, self.labels = train_loader, labels_of(train_loader, self.options)
        self.learn_labels(self.labels)
        for role, loader in (("training set", train_loader), ("validation set", valid_loader)):
            for warning in self.check_set(loader, role):
                say(f"warning: {warning}")
        super().__init__(model, train_loader, valid_loader, config, resume_state)
        self.keep_labels(recorded_labels(self.resume_state))
        self.facts |= {"labels": self.label_facts()} | seen_behind(train_loader)

    def learn_labels(self, labels: Labels | None) -> None:
        """Take from the training labels what the task needs."""
        raise NotImplementedError

    def keep_labels(self, recorded: dict[str, Any]) -> None:
        """Go on with what a run that is continued learnt its labels by, whatever its training set is now."""

    def check(self, check: LabelCheck) -> list[str]:
        """Refuse labels of a set that the task can't use; returns warnings."""
        raise NotImplementedError

    def label_facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of the labels, to give predictions their meaning."""
        raise NotImplementedError

    def targets(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Targets of a batch as the model learns them, finite even where missing, and their weights (0: missing)."""
        raise NotImplementedError

    def losses(self, output: Any, targets: Tensor) -> Tensor:
        """The loss of each target."""
        raise NotImplementedError

    def check_set(self, loader: Any, role: str) -> list[str]:
        """Check the labels behind a loader before anything is trained; returns warnings.

        Raises:
            DataError, ConfigError: labels that the task can't use, by item.
        """
        if self.labels is None or loader is None:
            return []
        labels = labels_of(loader, self.options)
        if labels is None:
            return []
        if (labels.names, labels.classes) != (self.labels.names, self.labels.classes):
            mine, theirs = (", ".join(one.classes or one.names) for one in (self.labels, labels))
            raise DataError(f"has other targets or classes ({theirs}) than the training set ({mine})", role)
        if labels.unit and self.labels.unit and labels.unit != self.labels.unit:
            raise DataError(f"has labels in {labels.unit}, the training set in {self.labels.unit}", role)
        return self.check(LabelCheck(loader.dataset, labels, self.options, role))

    def check_test_set(self, loader: Any | None) -> None:
        for warning in self.check_set(loader, "test set"):
            say(f"warning: {warning}")

    def get_scheduler(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Exponential from lr to final_lr, which is reached with the last step, unless another is asked for."""
        return self.curve_scheduler(optimizer, self.config.lr_schedule or "exponential")

    def share_step(self, batch: Any, batch_idx: int, val: bool = False) -> Any:
        """The model's output with the loss over the known labels of the batch."""
        output = self.model(dict(without_labels(batch)))
        targets, weights = self.targets(batch)
        output.loss = mean_of_known(self.losses(output, targets), weights)
        return output

    def part_counts(self, batch: Any) -> dict[str, tuple[float, float]]:
        """The sum of the weights of the known labels."""
        known = float(self.targets(batch)[1].sum())
        return {"": (known, known)}

    def metric_names(self) -> Collection[str]:
        """The loss, and what is scored of made-up predictions."""
        return ["loss", *self.metrics(self.no_predictions(), {})]

    def no_predictions(self) -> dict[str, np.ndarray]:
        """Predictions of no items, as `predictions` would give them."""
        raise NotImplementedError

    def raw_labels(self, batch: Any) -> Tensor:
        """[graphs, targets] labels of a batch as they are in the data.

        Raises:
            DataError: the batch has none of the targets.
        """
        columns = None if self.labels is None else self.labels.columns
        values = entry(batch, "label" if columns is None else "targets")
        if values is None:
            raise DataError(f"has no {'label' if columns is None else 'targets'}", *list(entry(batch, "id") or ())[:1])
        if columns is None:
            return values.float().reshape(-1, 1)
        return values[:, list(columns)]


def recorded_labels(state: TrainingState | None) -> dict[str, Any]:
    """What a run that is continued kept of its labels; empty for a new run."""
    path = None if state is None or state.run_folder is None else state.run_folder / CONFIG
    return read_json(path, error=CheckpointError).get("labels", {}) if path is not None and path.exists() else {}


def without_labels(batch: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a batch that a model may see: the trainer judges, so the answer stays with it."""
    names = batch.keys() if not isinstance(batch, Mapping) else batch
    return ((name, batch[name]) for name in names if name not in ("label", "targets"))
