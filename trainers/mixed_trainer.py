"""Several targets at once, numbers and classes side by side, with holes."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from configs.errors import ConfigError
from data.composition_schema import REGRESSION, check_whole, class_names_of
from data.label_checks import LabelCheck
from data.labels import Labels, LabelScale, fit_scale
from models.composition import CompositionModel
from trainers.batches import entry
from trainers.regression_loss import regression_loss
from trainers.scores import multiclass_metrics, regression_metrics
from trainers.scores.regression import mean_of_defined
from trainers.supervised import SupervisedTrainer

OVERALL = "relative_error"


class MixedTrainer(SupervisedTrainer):
    """Trains a `CompositionModel` on targets of both types.

    The loss is the mean over known values of the regression loss, on the scale that the model learns, and of the cross
    entropy; a value that is missing takes no part. The metric `relative_error`, which chooses the best checkpoint, is
    the mean over targets of the mean absolute error by the deviation of the training labels, and of one minus the
    accuracy.

    Attributes:
        scales: of each regression target. classes: names of the classes of each classification target.
    """

    default_monitor = OVERALL
    default_weight_decay = 1e-3
    model: CompositionModel

    def learn_labels(self, labels: Labels | None) -> None:
        config = self.model.config
        self.places = config.slices()
        self.loss = regression_loss(self.options)
        self.scales: dict[str, LabelScale] = {}
        self.classes: dict[str, tuple[str, ...]] = {}
        if labels is not None and labels.names != config.targets:
            told = f"the model has {', '.join(config.targets)}, the data {', '.join(labels.names)}"
            raise ConfigError(told, "--targets")
        for place, (name, kind, size) in enumerate(zip(config.targets, config.kinds, config.outputs)):
            if kind != REGRESSION:
                self.classes[name] = class_names_of(getattr(self.train_loader, "dataset", None), name, size)
            elif labels is None:
                self.scales[name] = LabelScale((name,))
            else:
                own = replace(labels, values=labels.values[:, [place]], names=(name,))
                self.scales[name] = fit_scale(own, self.options)

    def keep_labels(self, recorded: dict[str, Any]) -> None:
        if recorded:
            stored = {n: LabelScale.from_dict(one["scale"]) for n, one in recorded["targets"].items() if "scale" in one}
            if set(stored) != set(self.scales):
                raise ConfigError("the run to continue learnt other numbers", "--target_types")
            self.scales = stored

    def check(self, check: LabelCheck) -> list[str]:
        warnings: list[str] = []
        for place, name in enumerate(self.model.config.targets):
            values = check.labels.values[:, [place]]
            own = replace(check, labels=replace(check.labels, values=values, names=(name,)))
            own = replace(own, options=replace(own.options, missing_labels="ignore"))
            if check.role != "training set" and np.isnan(values).all():
                warnings.append(f"the {check.role} has no values of {name}")
                continue
            if name in self.scales:
                warnings += own.numbers(self.scales[name])
            else:
                check_whole(values[:, 0], name)
                warnings += own.classes(len(self.classes[name]))
        return warnings

    def label_facts(self) -> dict[str, Any]:
        told: dict[str, Any] = {name: {"scale": scale.to_dict()} for name, scale in self.scales.items()}
        told |= {name: {"classes": list(names)} for name, names in self.classes.items()}
        names = self.model.config.targets
        return {"names": list(names), "targets": {name: told[name] for name in names}}

    def targets(self, batch: Any) -> tuple[Tensor, Tensor]:
        """[items, targets] values on the scale that is learnt or class numbers, and 1 where they are known."""
        labels = self.raw_labels(batch)
        columns = []
        for place, name in enumerate(self.model.config.targets):
            column = labels[:, [place]]
            columns.append(self.scales[name].forward(column) if name in self.scales else column)
        values = torch.cat(columns, 1)
        known = torch.isfinite(values)
        return values.masked_fill(~known, 0), known.to(values.dtype)

    def losses(self, output: Any, targets: Tensor) -> Tensor:
        columns = []
        for place, name in enumerate(self.model.config.targets):
            said, wanted = output.logits[:, self.places[name]], targets[:, [place]]
            if name in self.scales:
                columns.append(self.loss(said, wanted, self.scales[name], getattr(self, "epoch", 0)))
            else:
                columns.append(F.cross_entropy(said, wanted.squeeze(1).long(), reduction="none")[:, None])
        return torch.cat(columns, 1)

    def predictions(self, output: Any, batch: Any) -> Mapping[str, Any]:
        """`pred` and `target` [items, targets], in the unit of the transformed labels or as class numbers, and `id`;
        `probability NAME` [items, classes] of each classification."""
        labels = self.raw_labels(batch)
        pred, target, found = [], [], {}
        for place, name in enumerate(self.model.config.targets):
            said, column = output.logits[:, self.places[name]], labels[:, [place]]
            if name in self.scales:
                pred.append(self.scales[name].values(said))
                target.append(self.scales[name].transformed(column))
            else:
                found[f"probability {name}"] = said.softmax(1)
                pred.append(said.argmax(1, keepdim=True).to(said.dtype))
                target.append(column)
        found |= {"pred": torch.cat(pred, 1), "target": torch.cat(target, 1)}
        return found | ({"id": ids} if (ids := entry(batch, "id")) else {})

    def no_predictions(self) -> dict[str, np.ndarray]:
        n = len(self.model.config.targets)
        none = {"pred": np.zeros((0, n)), "target": np.zeros((0, n))}
        return none | {f"probability {name}": np.zeros((0, len(names))) for name, names in self.classes.items()}

    def metric_names(self) -> Collection[str]:
        return ["loss", *self.metrics(self.no_predictions(), {})]

    def metrics(self, predictions: dict[str, np.ndarray], means: dict[str, float]) -> dict[str, float]:
        """`relative_error`, and the metrics of each target as METRIC/NAME."""
        if "pred" not in predictions:
            return {}
        each = self.metrics_by_target(predictions)
        errors = [
            scores["mae"] / self.scales[name].std[0] if name in self.scales else 1 - scores["accuracy"]
            for name, scores in each.items()
        ]
        named = {f"{metric}/{name}": value for name, scores in each.items() for metric, value in scores.items()}
        return {OVERALL: mean_of_defined(errors)} | named

    def metrics_by_target(self, predictions: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """Target -> metric -> value."""
        found = {}
        for place, name in enumerate(self.model.config.targets):
            target = predictions["target"][:, place]
            if name in self.scales:
                found[name] = regression_metrics(predictions["pred"][:, place], target)
            else:
                scores = multiclass_metrics(predictions[f"probability {name}"], target)
                found[name] = {metric: value for metric, value in scores.items() if "/" not in metric}
        return found
