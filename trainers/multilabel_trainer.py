"""Sets of labels: which of many hold for a complex."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import ConfigError
from configs.multilabel_options import MultiLabelOptions
from data.label_checks import LabelCheck
from data.label_sets import LabelSets, frequencies
from data.labels import Labels
from models.losses import label_loss
from trainers.batches import entry
from trainers.monitor import choose_monitor
from trainers.scores import multilabel_metrics
from trainers.scores.multilabel import MULTILABEL
from trainers.supervised import SupervisedTrainer
from trainers.train_config import TrainConfig


def multilabel_options(config: TrainConfig) -> MultiLabelOptions:
    """The options of sets of labels among those of a run."""
    return MultiLabelOptions(**{f.name: config.get(f.name, f.default) for f in fields(MultiLabelOptions)})


class MultiLabelTrainer(SupervisedTrainer):
    """Trains a `MultiLabelModel`: the loss is a mean over all known pairs of item and label.

    Attributes:
        names: of the labels, those of the model. frequencies: share of the training items that have each, of those of
            which it is known; None without labels to count.
    """

    default_monitor = "macro_ap"
    names: tuple[str, ...]
    frequencies: tuple[float, ...] | None

    def learn_labels(self, labels: Labels | None) -> None:
        self.names, self.frequencies = tuple(self.model.config.labels), None  # type: ignore[union-attr, arg-type]
        self.loss = label_loss(multilabel_options(self.config))
        if labels is None:
            return
        if labels.names != self.names:
            mine, theirs = (f"{len(names)} ({', '.join(names[:5])} ...)" for names in (self.names, labels.names))
            hint = "data.label_sets.with_vocabulary brings data and model together"
            raise ConfigError(f"the model has the labels {mine}, the data {theirs}", "--targets", hint=hint)
        found = frequencies(LabelSets(labels.names, labels.values), self.names)
        self.frequencies = tuple(round(share, 6) for share in found)

    def keep_labels(self, recorded: dict[str, Any]) -> None:
        if recorded and tuple(recorded.get("labels") or ()) != self.names:
            hint = f"--targets {','.join(recorded.get('labels') or ())}"
            raise ConfigError("the run to continue learnt other labels", "--targets", hint=hint)

    def check(self, check: LabelCheck) -> list[str]:
        monitor = choose_monitor(self.config, self.default_monitor).name
        chooses = check.role == "validation set" and monitor in MULTILABEL
        return check.sets(monitor if chooses else None)

    def label_facts(self) -> dict[str, Any]:
        return {"labels": list(self.names), "frequencies": None if self.frequencies is None else list(self.frequencies)}

    def targets(self, batch: Any) -> tuple[Tensor, Tensor]:
        labels = self.raw_labels(batch)
        known = torch.isfinite(labels)
        return labels.masked_fill(~known, 0), known.to(labels.dtype)

    def losses(self, output: Any, targets: Tensor) -> Tensor:
        return self.loss(output.logits, targets)

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Any]:
        """`pred` [items, labels] probabilities, `target` of the same shape (NaN: not known), and `id`."""
        found = {"pred": output.pred, "target": self.raw_labels(batch)}
        return found | ({"id": ids} if (ids := entry(batch, "id")) else {})

    def no_predictions(self) -> dict[str, np.ndarray]:
        none = np.zeros((0, len(self.names)))
        return {"pred": none, "target": none}

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        """Average precision over labels, items and pairs, F1, and what naming labels by their frequency scores."""
        if "pred" not in predictions:
            return {}
        return multilabel_metrics(predictions["pred"], predictions["target"], self.names, self.frequencies)
