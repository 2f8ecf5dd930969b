"""Stored predictions of a set, by target: errors of items and groups, and what is gained by leaving out unsure ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.errors import DataError
from trainers.scores.coverage import coverage_scores, risk_coverage

PRED, ENSEMBLE = "pred", "ensemble"


@dataclass(frozen=True)
class Predicted:
    """Predictions of one target, without the items whose target is not known.

    Attributes:
        name: of the target ("" when it is the only one). unit: of numbers.
        ids, groups: [items]; groups are "" where the table has none.
        target, pred: [items] numbers, or class numbers.
        classes: names of classes; empty for numbers. prob: [items, classes], where it was stored.
        confidence: [items] larger is surer; None where nothing tells. sure: what it is, in words.
    """

    name: str
    unit: str
    ids: np.ndarray
    groups: np.ndarray
    target: np.ndarray
    pred: np.ndarray
    classes: tuple[str, ...] = ()
    prob: np.ndarray | None = None
    confidence: np.ndarray | None = None
    sure: str = ""

    @property
    def error(self) -> np.ndarray:
        """[items] size of the error: of numbers in their unit, of classes 1 - probability of the right one (or 1)."""
        if not self.classes:
            return np.abs(self.pred - self.target)
        if self.prob is None:
            return (self.pred != self.target).astype(float)
        return 1 - self.prob[np.arange(len(self.target)), self.target.astype(int)]

    @property
    def lost(self) -> np.ndarray:
        """[items] what a mean over items is shown of: the error of numbers, 1 for a wrong class."""
        return (self.pred != self.target).astype(float) if self.classes else self.error

    def said(self, values: np.ndarray) -> list[str]:
        """Numbers, or names of classes, as text."""
        if not self.classes:
            return [f"{value:.4g}" for value in values]
        return [self.classes[int(v)] if 0 <= int(v) < len(self.classes) else str(int(v)) for v in values]

    def worst(self, most: int = 15) -> list[dict[str, str]]:
        """id, group, value, predicted and error of the items with the largest errors."""
        order = np.argsort(-self.error, kind="stable")[:most]
        sizes = [f"{value:.3g}" for value in self.error[order]]
        texts = (self.ids[order], self.groups[order], self.said(self.target[order]), self.said(self.pred[order]), sizes)
        names = ("id", "group", "value", "predicted", "error")
        return [dict(zip(names, map(str, row), strict=True)) for row in zip(*texts, strict=True)]

    def by_group(self) -> pd.DataFrame:
        """group, items, error (the mean of `lost`), bias (mean of predicted - value; numbers only), the worst first."""
        bias = np.full(len(self.ids), np.nan) if self.classes else self.pred - self.target
        table = pd.DataFrame({"group": self.groups, "error": self.lost, "bias": bias})
        found = table.groupby("group", as_index=False).agg(
            items=("error", "size"), error=("error", "mean"), bias=("bias", "mean")
        )
        return found.sort_values(["error", "items", "group"], ascending=[False, False, True], ignore_index=True)

    @property
    def gain(self) -> float:
        """What the confidence is worth: 1 when it orders items by their loss, 0 when it tells nothing."""
        return float("nan") if self.confidence is None else coverage_scores(self.confidence, self.lost)["gain"]

    def coverage(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Share of items kept, and mean of `lost` over them, when the surest are kept, and when the best would be.

        None without confidences, or when all are the same.
        """
        if self.confidence is None or len(self.ids) < 2 or np.ptp(self.confidence) == 0:
            return None
        share, risk, _ = risk_coverage(self.confidence, self.lost)
        kept = np.rint(share * len(self.ids)).astype(int)
        return share, risk, np.cumsum(np.sort(self.lost))[kept - 1] / kept


def read_predicted(path: Path, labels: Mapping[str, Any], unit: str = "") -> list[Predicted]:
    """The targets of a table of predictions (predictions_NAME.csv of a run, predictions.csv of a cross-validation).

    Args:
        labels: what train_config.json keeps of them: `classes`, or `targets` of mixed types, or names of numbers.

    Raises:
        DataError: the table can't be read, or lacks columns.
    """
    try:
        table = pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise DataError(f"can't be read: {error}", path) from error
    columns = [str(name) for name in table]
    kind = ENSEMBLE if any(name.partition(" ")[0] == ENSEMBLE for name in columns) else PRED
    targets = [name for name in columns if name.partition(" ")[0] == "target"]
    said = [name for name in columns if name.partition(" ")[0] == kind]
    if "id" not in columns or not targets or not said:
        raise DataError("lacks the columns id, target and pred", path)
    numbers = table[[*targets, *said]].apply(pd.to_numeric, errors="coerce")
    if len(targets) == 1 and labels.get("classes"):
        return [_classes(table, numbers[targets[0]], numbers[said], tuple(labels["classes"]))]
    if names := labels.get("labels"):
        return _labels(table, numbers, tuple(map(str, names)), kind)
    if len(targets) != len(said):
        raise DataError(f"has {len(targets)} targets and {len(said)} predictions", path)
    mixed = labels.get("targets") or {}
    return [_single(table, numbers, *pair, mixed, unit) for pair in zip(targets, said, strict=True)]


def _labels(table: pd.DataFrame, numbers: pd.DataFrame, names: tuple[str, ...], kind: str) -> list[Predicted]:
    """Labels of which any number may hold: each is a class of its own, that holds or not; the most frequent first."""
    found = []
    own = table.drop(columns="confidence", errors="ignore")  # it is that of all labels together
    for name in names:
        after = f" {name}" if len(names) > 1 else ""
        if not {f"target{after}", f"{kind}{after}"} <= set(numbers):
            raise DataError(f"has no predictions of the label {name}")
        one = _classes(own, numbers[f"target{after}"], numbers[[f"{kind}{after}"]], ("no", "yes"))
        found.append(replace(one, name=name))
    return sorted(found, key=lambda one: -one.target.sum())


def _single(
    table: pd.DataFrame, numbers: pd.DataFrame, target: str, pred: str, mixed: Mapping[str, Any], unit: str
) -> Predicted:
    """A target that has one column of predictions: numbers, or class numbers of mixed targets."""
    name = target.partition(" ")[2]
    known = numbers[target].notna() & numbers[pred].notna()
    spread = f"{ENSEMBLE}_sd" + pred.removeprefix(ENSEMBLE) if pred.startswith(ENSEMBLE) else ""
    confidence, sure = _told(table, known)
    if confidence is None and spread in table and table[spread].notna().all():
        confidence, sure = -table.loc[known, spread].to_numpy(float), "agreement of the ensemble's members"
    own = mixed.get(name) or {}
    ids, groups = _names(table, known)
    return Predicted(
        name,
        str((own.get("scale") or {}).get("unit") or ("" if mixed else unit)),
        ids,
        groups,
        target=numbers.loc[known, target].to_numpy(float),
        pred=numbers.loc[known, pred].to_numpy(float),
        classes=tuple(own.get("classes") or ()),
        confidence=confidence,
        sure=sure,
    )


def _classes(table: pd.DataFrame, target: pd.Series, pred: pd.DataFrame, classes: tuple[str, ...]) -> Predicted:
    """Classes with the probability of each; a single column is that of class 1."""
    known = target.notna() & pred.notna().all(axis=1)
    prob = pred[known].to_numpy(float)
    if prob.shape[1] == 1:
        prob = np.concatenate([1 - prob, prob], axis=1)
    if prob.shape[1] != len(classes) or not target[known].isin(range(len(classes))).all():
        raise DataError(f"does not fit the {len(classes)} classes of the run")
    confidence, sure = _told(table, known)
    if confidence is None:
        confidence, sure = prob.max(axis=1, initial=0.0), "probability of the likeliest class"
    ids, groups = _names(table, known)
    value, said = target[known].to_numpy(float), prob.argmax(axis=1).astype(float)
    return Predicted("", "", ids, groups, value, said, tuple(map(str, classes)), prob, confidence, sure)


def _told(table: pd.DataFrame, known: pd.Series) -> tuple[np.ndarray | None, str]:
    """The table's own column of confidences."""
    if "confidence" not in table or not pd.to_numeric(table["confidence"], errors="coerce").notna().all():
        return None, ""
    return table.loc[known, "confidence"].to_numpy(float), "confidence that the run stored"


def _names(table: pd.DataFrame, known: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    groups = table["group"].fillna("") if "group" in table else pd.Series("", table.index)
    return table.loc[known, "id"].fillna("").to_numpy(object), groups[known].to_numpy(object)
