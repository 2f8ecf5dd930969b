"""The predictions of several runs on one test set as one, and the scores of folds and seeds together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.errors import DataError
from configs.files import read_json
from data.labels import LabelScale
from trainers.report import REPORT
from trainers.scores import (
    METRIC_DIRECTION,
    Interval,
    binary_metrics,
    bootstrap,
    multiclass_metrics,
    regression_metrics,
    spearman_by_group,
    within_group_spearman,
)

# Scores of (pred, target, names of targets or classes) by task; other tasks have no predictions for each item.
TASK_SCORES: dict[str, Callable[[np.ndarray, np.ndarray, Sequence[str]], dict[str, float]]] = {
    "PDBBind": regression_metrics,
    "regression": regression_metrics,
    "binary_classifier": lambda pred, target, names: binary_metrics(pred, target),
    "multiclass_classifier": multiclass_metrics,
}
SETS = ("valid", "test")


@dataclass(frozen=True)
class RunResult:
    """What a finished run left behind.

    Attributes:
        fold, seed: which run. folder: of the run.
        report: its final report. predictions: rows of its predictions_test.csv by id; None where the task has none.
    """

    fold: str
    seed: int
    folder: Path
    report: dict[str, Any]
    predictions: pd.DataFrame | None

    @property
    def scale(self) -> LabelScale | None:
        """How the run's labels were transformed; None for classes."""
        labels = read_json(self.folder / "train_config.json").get("labels") or {}
        return LabelScale.from_dict(labels) if "transform" in labels else None

    def scores(self, name: str) -> dict[str, float]:
        """Scores of one set ("valid", "test") by name; NaN where undefined."""
        found = self.report["sets"].get(name, {}).get("scores", {})
        return {metric: np.nan if score["value"] is None else score["value"] for metric, score in found.items()}


def read_run(fold: str, seed: int, folder: Path) -> RunResult:
    """Read the report and the test predictions of a run folder; DataError when they are damaged."""
    table, path = None, folder / "predictions_test.csv"
    if path.exists():
        table = pd.read_csv(path, dtype={"id": str}, keep_default_na=False, na_values={"": [""]})
        values = [name for name in table.columns if name != "id"]
        table[values] = table[values].apply(pd.to_numeric, errors="coerce")
        if table["id"].duplicated().any():
            raise DataError("has an id twice", path, hint="ids of items must be unique in a data set")
        table = table.set_index("id")
    return RunResult(fold, seed, folder, read_json(folder / REPORT), table)


@dataclass(frozen=True)
class Ensemble:
    """The predictions of all seeds for the items of one fold.

    Attributes:
        fold: name. ids: [items]. groups: [items]. seeds: of the runs. names: of the targets or classes.
        target: [items, targets]. pred: [seeds, items, outputs].
    """

    fold: str
    ids: list[str]
    groups: list[str]
    seeds: list[int]
    names: list[str]
    target: np.ndarray
    pred: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """[items, outputs] the ensemble's prediction."""
        return self.pred.mean(axis=0)

    @property
    def spread(self) -> np.ndarray:
        """[items, outputs] standard deviation over seeds (NaN for a single one)."""
        return self.pred.std(axis=0, ddof=1) if len(self.seeds) > 1 else np.full(self.pred.shape[1:], np.nan)

    def table(self, scale: LabelScale | None = None) -> pd.DataFrame:
        """A row an item: id, fold, group, target, prediction of each seed, ensemble, ensemble_sd.

        Args:
            scale: of transformed labels; adds `ensemble_in_data_unit`, the prediction before the transform.
        """
        columns: dict[str, Any] = {"id": self.ids, "fold": self.fold, "group": self.groups}
        columns |= named("target", self.target, self.names)
        for seed, pred in zip(self.seeds, self.pred):
            columns |= named(f"seed_{seed}", pred, self.names)
        columns |= named("ensemble", self.mean, self.names) | named("ensemble_sd", self.spread, self.names)
        if scale is not None and scale.transform != "none":
            plain = replace(scale, mean=(0.0,) * len(scale.names), std=(1.0,) * len(scale.names))
            columns |= named("ensemble_in_data_unit", plain.inverse(self.mean), self.names)
        return pd.DataFrame(columns)


def named(what: str, values: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of [items, n] values, with the name of the target or class when there are several."""
    if values.shape[1] == 1:
        return {what: values[:, 0]}
    return {f"{what} {name}": values[:, number] for number, name in enumerate(names)}


def join_seeds(runs: Sequence[RunResult], groups: Mapping[str, str]) -> Ensemble:
    """The runs of one fold as an ensemble.

    Args:
        groups: id -> group.

    Raises:
        DataError: runs that were tested on other items or targets than the first.
    """
    tables = [run.predictions for run in runs if run.predictions is not None]
    first = tables[0]
    for run, table in zip(runs, tables):
        if set(table.index) != set(first.index) or said_of(table) != said_of(first):
            raise DataError(f"predicts other items than {runs[0].folder}", run.folder, hint="delete it to run it again")
    given, said = said_of(first)
    wide = max((given, said), key=len)
    ids = first.index.tolist()
    return Ensemble(
        fold=runs[0].fold,
        ids=ids,
        groups=[groups.get(name, "") for name in ids],
        seeds=[run.seed for run in runs],
        names=[name.partition(" ")[2] for name in wide],
        target=first[given].to_numpy(float),
        pred=np.stack([table.loc[ids, said].to_numpy(float) for table in tables]),
    )


def said_of(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names of the columns with targets, and of those with predictions."""
    given, said = ([name for name in table.columns if name.partition(" ")[0] == kind] for kind in ("target", "pred"))
    return given, said


def score(task: str, pred: np.ndarray, target: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Scores of [items, outputs] predictions of a task."""
    pred, target = (values[:, 0] if values.shape[1] == 1 else values for values in (pred, target))
    return TASK_SCORES[task](pred, target, names)


def pooled_scores(task: str, folds: Sequence[Ensemble], by_group: bool, n: int, seed: int = 0) -> dict[str, Interval]:
    """Scores of the ensembles' predictions of all folds together, with bootstrap intervals.

    Of a single measured number also how items are ranked inside their groups (`within_group_spearman`); its interval
    resamples groups.

    Args:
        by_group: resample whole groups rather than items. n: resamples.
    """
    pred, target = np.concatenate([f.mean for f in folds]), np.concatenate([f.target for f in folds])
    groups = [group for fold in folds for group in fold.groups]
    found = bootstrap(
        lambda p, t: score(task, p, t, folds[0].names),
        pred,
        target,
        groups=groups if by_group else None,
        n=n,
        seed=seed,
    )
    if TASK_SCORES[task] is regression_metrics and target.shape[1] == 1 and len(set(groups)) > 1:
        inside = np.array(list(spearman_by_group(pred[:, 0], target[:, 0], groups).values()))
        if len(inside):
            ends = bootstrap(lambda values: {"mean": float(values.mean())}, inside, n=n, seed=seed)["mean"]
            value = within_group_spearman(pred[:, 0], target[:, 0], groups)["within_group_spearman"]
            found["within_group_spearman"] = Interval(value, ends.low, ends.high)
    return found


def mean_and_sd(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation and number of the defined values of each score."""
    names = dict.fromkeys(name for one in scores for name in one)
    found = {}
    for name in names:
        values = np.array([one[name] for one in scores if name in one and one[name] == one[name]])
        if len(values):
            sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
            found[name] = {"mean": float(values.mean()), "sd": sd, "n": len(values)}
    return found


def shown(names: Sequence[str]) -> list[str]:
    """The metrics of a table: those with a known direction, without those of single targets or classes."""
    return [name for name in names if name in METRIC_DIRECTION]
