"""Predictions of several test sets together: read from CSV, scored with intervals over groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from configs.errors import DataError
from trainers.scores import (
    Interval,
    binary_metrics,
    bootstrap,
    multiclass_metrics,
    regression_metrics,
    within_group_spearman,
)

PRED = "pred"


@dataclass(frozen=True)
class Pooled:
    """Predictions of a task.

    Attributes:
        ids, groups: [items]. target: [items]. pred: [items], or [items, classes] probabilities.
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
            task: regression, binary_classifier or multiclass_classifier. n: resamples.
        """
        if task == "binary_classifier":
            return bootstrap(binary_metrics, self.pred, self.target, groups=self.groups, n=n, seed=seed)
        if task == "multiclass_classifier":
            return bootstrap(
                lambda pred, target: multiclass_metrics(pred, target, self.classes),
                *(self.pred, self.target),
                groups=self.groups,
                n=n,
                seed=seed,
            )
        found = bootstrap(regression_metrics, self.pred, self.target, groups=self.groups, n=n, seed=seed)
        inside = within_group_spearman(self.pred, self.target, self.groups)
        return found | {name: Interval(value, np.nan, np.nan) for name, value in inside.items() if value == value}

    def write(self, path: Path) -> None:
        """A row for each item: id, group, target, prediction (or one column for each class)."""
        columns = {"id": self.ids, "group": self.groups, "target": self.target}
        pred = self.pred.reshape(len(self.pred), -1)
        names = [PRED] if self.pred.ndim == 1 else [f"{PRED} {name}" for name in self.classes]
        columns |= {name: pred[:, number] for number, name in enumerate(names)}
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(columns).to_csv(path, index=False)


def read_predictions(paths: Sequence[Path], groups: Mapping[str, str]) -> Pooled:
    """Predictions of several files, one after the other.

    Args:
        paths: CSV files with id, target and `pred`, or `pred NAME` for each class. groups: id -> group.

    Raises:
        DataError: no files; one without these columns; an item that is in two of them.
    """
    if not paths:
        raise DataError("no files of predictions were given")
    tables = []
    for path in paths:
        try:
            table = pd.read_csv(path, dtype={"id": str}, keep_default_na=True)
        except (OSError, ValueError) as error:
            raise DataError(f"can't be read: {error}", path) from error
        if not {"id", "target"} <= set(table) or not any(str(name).partition(" ")[0] == PRED for name in table):
            raise DataError("lacks the columns id, target and pred", path)
        tables.append(table)
    joined = pd.concat(tables)
    if joined["id"].duplicated().any():
        raise DataError("is predicted twice", joined["id"][joined["id"].duplicated()].iloc[0], *paths[:1])
    columns = [name for name in map(str, joined) if name.partition(" ")[0] == PRED]
    classes = tuple(name.partition(" ")[2] for name in columns) if columns != [PRED] else ()
    pred = joined[columns].to_numpy(float)
    ids = joined["id"].to_numpy(str)
    units = np.array([groups.get(name) or name for name in ids.tolist()])
    return Pooled(ids, units, joined["target"].to_numpy(float), pred if classes else pred[:, 0], classes)


def mean_of(several: Sequence[Pooled]) -> Pooled:
    """The mean prediction of runs that differ in their seed; DataError when they predicted different items."""
    order = [np.argsort(one.ids, kind="stable") for one in several]
    first = several[0]
    for one, places in zip(several, order):
        if not np.array_equal(one.ids[places], first.ids[order[0]]):
            raise DataError("runs predicted different items")
    pred = np.mean([one.pred[places] for one, places in zip(several, order)], axis=0)
    parts = {name: getattr(first, name)[order[0]] for name in ("ids", "groups", "target")}
    return replace(first, pred=pred, **parts)
