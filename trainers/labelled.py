"""Predictions beside labels that the input has: scores, risk-coverage curve, and how well intervals hold."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from configs.files import write_json
from configs.words import count_of
from data.labels import LabelScale
from data.splits import group_of
from models.answers import scales_of
from models.predict import Prediction, Predictor
from trainers import sureness
from trainers.calibration import share_held
from trainers.report import without_nan
from trainers.scores import binary_metrics, bootstrap, multiclass_metrics, regression_metrics

LEAST = 2  # labels, below which nothing is scored


class Labelled:
    """Takes up predictions with their labels, for models of one target, a number or classes.

    Sets of labels are scored by `train.py` alone: an input does not name them.

    Args:
        level: of the intervals; None: without.
        resamples: behind the intervals of the scores, which draw whole groups.
    """

    def __init__(self, predictor: Predictor, level: float | None = None, resamples: int = 1000) -> None:
        self.predictor, self.level, self.resamples = predictor, level, resamples
        self.single = len(predictor.answers) == 1 and not predictor.answers[0].labels
        self.scale: LabelScale | None = scales_of(predictor.models[0])[0] if self.single else None
        self._labels: list[float] = []
        self._groups: list[str] = []
        self._parts: dict[str, list[np.ndarray]] = {"values": [], "confidence": [], "low": [], "high": []}

    def add(self, found: Prediction) -> None:
        """Keep the predictions of interfaces whose label is known."""
        labels = np.array([entry.item.label for entry in found.entries], float)
        known = np.isfinite(labels)
        if not self.single or not known.any():
            return
        self._labels += labels[known].tolist()
        self._groups += [group_of(e.name, e.item.group) for e, there in zip(found.entries, known) if there]
        confidence = found.confidence(0)
        values = {"values": found.values[0]} | ({} if confidence is None else {"confidence": confidence})
        if self.level is not None:
            values["low"], values["high"] = self.predictor.intervals(found, self.level)[0]
        for name, array in values.items():
            self._parts[name].append(array[known])

    def told(self) -> dict[str, Any] | None:
        """Scores as JSON values; None with fewer than two labels, of several targets or sets, or of no classes."""
        if len(self._labels) < LEAST:
            return None
        target, values = np.array(self._labels), np.concatenate(self._parts["values"])
        answer, draws = self.predictor.answers[0], partial(bootstrap, groups=self._groups, n=self.resamples)
        told: dict[str, Any] = {"target": answer.name, "items": len(target), "groups": len(set(self._groups))}
        if answer.classes:
            if not np.isin(target, range(len(answer.classes))).all():
                return None
            sure: sureness.Sureness | None = sureness.of_classes(answer.name, values, target)
            two = values.shape[1] == 2
            scores = draws(
                lambda v, t: binary_metrics(v[:, 1], t) if two else multiclass_metrics(v, t, answer.classes),
                values,
                target,
            )
        else:
            target, values = self._in_unit(target), values[:, 0]
            unknown = 1 - np.concatenate(self._parts["confidence"]) if self._parts["confidence"] else None
            sure = sureness.of_numbers(answer.name, values, target, unknown, self._unit())
            scores = draws(regression_metrics, values, target)
        told["scores"] = {name: score._asdict() for name, score in scores.items()}
        curve = None if sure is None else sure.told(self._groups, self.resamples, 0)
        told["coverage"] = [] if curve is None else [curve]
        return told | self._interval(target)

    def _unit(self) -> str:
        if self.scale is None:
            return ""
        return self.scale.unit if self.predictor.transformed else self.scale.data_unit

    def _in_unit(self, target: np.ndarray) -> np.ndarray:
        transformed = self.predictor.transformed and self.scale is not None
        return self.scale.transformed(target) if transformed else target  # type: ignore[union-attr]

    def _interval(self, target: np.ndarray) -> dict[str, Any]:
        if not self._parts["low"]:
            return {}
        low, high = np.concatenate(self._parts["low"]), np.concatenate(self._parts["high"])
        shares = share_held((low <= target) & (target <= high), self._groups, self.resamples, 0)
        held = {name: share._asdict() for name, share in shares.items()}
        return {"interval": {"level": self.level, **held, "width": float(np.mean(high - low))}}


def tell_scores(labelled: Labelled, out: Path) -> str:
    """Write OUT.scores.json and, where the confidence differs, OUT.coverage.png; what they say, in words, or ""."""
    told = labelled.told()
    path, picture = out.with_suffix(".scores.json"), out.with_suffix(".coverage.png")
    path.unlink(missing_ok=True)  # of an earlier input
    picture.unlink(missing_ok=True)
    if told is None:
        return ""
    write_json(path, without_nan(told))
    shown = [n for n in ("rmse", "mae", "pearson", "accuracy", "auroc", "macro_f1") if n in told["scores"]]
    text = ", ".join(f"{name} {sureness.span(told['scores'][name])}" for name in shown)
    lines = [f"against the {count_of(told['items'], 'label')} of the input, in {path}: {text}"]
    lines.append("(only items that the model was not trained on tell how good it is)")
    lines += [sureness.in_words(curve) for curve in told["coverage"]]
    if "interval" in told:
        one = told["interval"]
        held = f"{sureness.span(one['held'])} of them, {sureness.span(one['held_by_group'])} in the mean over groups"
        lines.append(f"{one['level']:g} intervals hold {held}, mean width {one['width']:.3g}")
    if curves := [curve for curve in told["coverage"] if len(curve["curve"]["risk"]) > 1]:
        sureness.draw(curves, picture)
    return "\n".join(lines)
