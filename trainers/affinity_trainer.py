"""Regression: affinity as a sum of block energies, and numbers from the representation of a complex."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import ConfigError
from data.label_checks import LabelCheck
from data.labels import Labels, LabelScale, fit_scale
from trainers.batches import entry
from trainers.regression_loss import check_monitor, regression_loss
from trainers.scores import regression_metrics
from trainers.supervised import SupervisedTrainer


class AffinityTrainer(SupervisedTrainer):
    """Trains an `AffinityPredictor` or a `RegressionPredictor` (tasks `PDBBind` and `regression`).

    The model learns labels that were transformed and brought to mean 0 and deviation 1 by the training set; the loss is
    on that scale, scores and predictions are in the unit of the transformed labels. Missing values among several
    targets take no part.

    Attributes:
        scale: between labels and what the model learns; kept with every checkpoint.
    """

    default_weight_decay = 1e-3
    scale: LabelScale

    @property
    def default_monitor(self) -> str:  # type: ignore[override]
        """A metric that means the same in all phases of a loss."""
        return "mae" if self.options.phased else "rmse"

    def learn_labels(self, labels: Labels | None) -> None:
        self.loss = regression_loss(self.options)
        check_monitor(self.options, self.config.monitor or self.default_monitor)
        width = int(getattr(self.model.config, "num_targets", 1))  # type: ignore[union-attr]
        if labels is None:
            names = tuple(str(number) for number in range(width)) if width > 1 else ("label",)
            self.scale = LabelScale(names, mean=(0.0,) * width, std=(1.0,) * width)
            return
        if width != len(labels.names):
            hint = "leave the option out, or choose --targets"
            held = ", ".join(labels.names)
            raise ConfigError(f"the model predicts {width}, the data have {held}", "--num_targets", hint=hint)
        self.scale = fit_scale(labels, self.options)

    def keep_labels(self, recorded: dict[str, Any]) -> None:
        if not recorded:
            return
        scale = LabelScale.from_dict(recorded)
        mine, theirs = ((s.names, s.transform, s.data_unit) for s in (self.scale, scale))
        if mine != theirs:
            raise ConfigError(
                f"the run to continue learnt {theirs}, these options and data say {mine}", "--label_transform"
            )
        self.scale = scale

    def check(self, check: LabelCheck) -> list[str]:
        return check.numbers(self.scale)

    def label_facts(self) -> dict[str, Any]:
        return self.scale.to_dict()

    def targets(self, batch: Any) -> tuple[Tensor, Tensor]:
        labels = self.raw_labels(batch)
        known = torch.isfinite(labels)
        return self.scale.forward(labels).masked_fill(~known, 0), known.to(labels.dtype)

    def outputs(self, output: Any) -> Tensor:
        """[graphs, targets] what the model says, on its own scale."""
        return output.pred.reshape(-1, len(self.scale.names))

    def losses(self, output: Any, targets: Tensor) -> Tensor:
        return self.loss(self.outputs(output), targets, self.scale, getattr(self, "epoch", 0))

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Any]:
        """`pred` and `target` [items, targets] in the unit of the transformed labels, and `id`."""
        pred, target = self.scale.values(self.outputs(output)), self.scale.transformed(self.raw_labels(batch))
        return {"pred": pred, "target": target} | ({"id": ids} if (ids := entry(batch, "id")) else {})

    def no_predictions(self) -> dict[str, np.ndarray]:
        none = np.zeros((0, len(self.scale.names)))
        return {"pred": none, "target": none}

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        """RMSE, MAE and correlations; of several targets also those of each, as `rmse/NAME`."""
        if "pred" not in predictions:
            return {}
        return regression_metrics(predictions["pred"], predictions["target"], self.scale.names)
