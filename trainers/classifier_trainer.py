"""Classification of complexes: two classes, or several."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import ConfigError
from data.label_checks import LabelCheck, class_weights
from data.labels import Labels
from trainers.batches import entry
from trainers.monitor import choose_monitor
from trainers.scores import binary_metrics, multiclass_metrics
from trainers.supervised import SupervisedTrainer

NEED_TWO_CLASSES = ("auroc", "average_precision", "mcc")


class MultiClassClassifierTrainer(SupervisedTrainer):
    """Trains a `MultiClassClassifierModel`: cross entropy, weighted by class where asked for.

    Attributes:
        classes: names of the classes. weights: [classes] weight of each in the loss.
    """

    default_monitor = "macro_f1"
    option = "--num_classifier_classes"
    classes: tuple[str, ...]
    weights: Tensor

    def learn_labels(self, labels: Labels | None) -> None:
        n_classes = self.n_classes()
        self.classes, self.weights = tuple(map(str, range(n_classes))), torch.ones(n_classes)
        if labels is None:
            return
        if labels.classes:
            if n_classes != len(labels.classes):
                raise ConfigError(
                    f"the model tells {n_classes} classes apart, the data name {', '.join(labels.classes)}", self.option
                )
            self.classes = labels.classes
        self.weights = torch.tensor(class_weights(labels, n_classes, self.options.class_weights), dtype=torch.float32)

    def n_classes(self) -> int:
        """Classes that the model tells apart."""
        return int(self.model.config.num_classes)  # type: ignore[union-attr, arg-type]

    def check(self, check: LabelCheck) -> list[str]:
        monitor = choose_monitor(self.config, self.default_monitor).name
        if check.role == "training set":
            return check.classes(len(self.classes), "what to learn")
        check.classes(len(self.classes), monitor if monitor in NEED_TWO_CLASSES else None)
        return []

    def label_facts(self) -> dict[str, Any]:
        return {"classes": list(self.classes)}

    def targets(self, batch: Any) -> tuple[Tensor, Tensor]:
        labels = self.raw_labels(batch).squeeze(1)
        known = torch.isfinite(labels)
        numbers = torch.where(known, labels, torch.zeros_like(labels)).long()
        return numbers, self.weights.to(labels.device)[numbers] * known

    def losses(self, output: Any, targets: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, targets, reduction="none")

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Any]:
        """`pred` [items, classes] probabilities, `target` [items] class numbers (NaN: missing), and `id`."""
        found = {"pred": output.pred, "target": self.raw_labels(batch).squeeze(1)}
        return found | ({"id": ids} if (ids := entry(batch, "id")) else {})

    def no_predictions(self) -> dict[str, np.ndarray]:
        return {"pred": np.zeros((0, len(self.classes))), "target": np.zeros(0)}

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        """Accuracy, F1, Matthews correlation, AUROC, average precision, and the accuracy of each class."""
        if "pred" not in predictions:
            return {}
        return multiclass_metrics(predictions["pred"], predictions["target"], self.classes)


class ClassifierTrainer(MultiClassClassifierTrainer):
    """Trains a `ClassifierModel`: binary cross entropy, weighted by class where asked for."""

    default_monitor = "auroc"
    option = "--task binary_classifier"

    def n_classes(self) -> int:
        return 2

    def losses(self, output: Any, targets: Tensor) -> Tensor:
        logits = output.logits.squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits), reduction="none")

    def no_predictions(self) -> dict[str, np.ndarray]:
        return {"pred": np.zeros(0), "target": np.zeros(0)}

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        """AUROC, average precision, F1, Matthews correlation, accuracy."""
        if "pred" not in predictions:
            return {}
        return binary_metrics(predictions["pred"], predictions["target"])
