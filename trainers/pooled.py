"""Predictions of several test sets together, scored with intervals over groups."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from configs.errors import DataError
from configs.files import atomic_write
from trainers.scores import (
    Interval,
    binary_metrics,
    bootstrap,
    multiclass_metrics,
    multilabel_metrics,
    regression_metrics,
    within_group_spearman,
)

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Pooled:
    """Predictions of a task.

    Attributes:
        ids, groups: [items]. target: [items], or [items, labels]. pred: [items], or [items, classes or labels]
            probabilities.
        classes: their names.
    """

    ids: np.ndarray
    groups: np.ndarray
    target: np.ndarray
    pred: np.ndarray
    classes: tuple[str, ...] = ()

    def of_prefix(self, prefix: str) -> "Pooled":
        """The items whose id begins so."""
        chosen = np.array([name.startswith(prefix) for name in self.ids.tolist()], bool)
        parts = {name: getattr(self, name)[chosen] for name in ("ids", "groups", "target", "pred")}
        return replace(self, **parts)

    def scores(self, task: str, n: int = 1000, seed: int = 0) -> dict[str, Interval]:
        """Every metric of the task with its 95 % interval; whole groups are resampled.

        Args:
            task: regression (or PDBBind), binary_classifier, multiclass_classifier or multilabel. n: resamples.
        """
        metrics: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
            "binary_classifier": binary_metrics,
            "multiclass_classifier": lambda pred, target: multiclass_metrics(pred, target, self.classes),
            "multilabel": lambda pred, target: multilabel_metrics(pred, target, self.classes),
        }
        metric = metrics.get(task, regression_metrics)
        found = bootstrap(metric, self.pred, self.target, groups=self.groups, n=n, seed=seed)
        if task in metrics:
            return found
        inside = within_group_spearman(self.pred, self.target, self.groups)
        return found | {name: Interval(value, np.nan, np.nan) for name, value in inside.items() if value == value}

    def write(self, path: Path) -> None:
        """A row for each item: id, group, target, prediction (or one column for each class or label)."""
        columns = {"id": self.ids, "group": self.groups}
        if self.target.ndim == 1:
            columns["target"] = self.target
        else:
            columns |= {f"target {name}": self.target[:, number] for number, name in enumerate(self.classes)}
        pred = self.pred.reshape(len(self.pred), -1)
        names = ["pred"] if self.pred.ndim == 1 else [f"pred {name}" for name in self.classes]
        columns |= {name: pred[:, number] for number, name in enumerate(names)}
        atomic_write(path, pd.DataFrame(columns).to_csv(index=False))


def read_cross_validation(path: Path) -> dict[str, Pooled]:
    """The predictions.csv of scripts/cross_validate.py: those of every seed over all folds, and of `ensemble`.

    Raises:
        DataError: no such file, or other columns.
    """
    try:
        table = pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False, na_values={"target": [""]})
    except (OSError, ValueError) as error:
        raise DataError(f"can't be read: {error}", path) from error
    if not {"id", "group", "target"} <= set(table):
        raise DataError("lacks the columns id, group and target", path, hint="scripts/cross_validate.py makes it")
    ids, groups, target = (table[name].to_numpy() for name in ("id", "group", "target"))
    found = {}
    for kind in dict.fromkeys(str(name).partition(" ")[0] for name in table):
        if kind != ENSEMBLE and not kind.startswith("seed_"):
            continue
        columns = [name for name in map(str, table) if name.partition(" ")[0] == kind]
        classes = tuple(name.partition(" ")[2] for name in columns) if columns != [kind] else ()
        pred = table[columns].to_numpy(float)
        found[kind] = Pooled(ids, groups, target.astype(float), pred if classes else pred[:, 0], classes)
    if ENSEMBLE not in found:
        raise DataError("has no predictions of an ensemble", path, hint="scripts/cross_validate.py makes it")
    return found
