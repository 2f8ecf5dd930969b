"""How sure the predictions of a set are, how wrong they are, and what it is worth to answer only the surest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.files import atomic_file
from data.composition import counts_of_items
from data.dataset import InterfaceDataset
from data.shards import ShardReader
from models.composition_predict import unknown_fractions
from trainers.calibration import column_of, numbers_of
from trainers.scores import bootstrap
from trainers.scores.coverage import coverage_scores, risk_coverage

KNOWN_BLOCKS, PROBABILITY = "share of blocks that training saw", "probability of the likeliest class"
LEAST_SURE = "probability that the least certain label is told rightly"
ERROR, WRONG, WRONG_LABELS = "mean absolute error", "share of wrong classes", "share of wrong labels"
MOST_POINTS = 200


@dataclass(frozen=True)
class Sureness:
    """The predictions of one target.

    Attributes:
        name: of the target. confidence: [items] from 0 to 1. loss: [items] absolute error, or 1 for a wrong class; NaN
            where the label is missing.
        sure, risk: what confidence and the mean of the losses are, in words. unit: of the losses.
    """

    name: str
    confidence: np.ndarray
    loss: np.ndarray
    sure: str
    risk: str
    unit: str = ""

    def told(self, groups: Sequence[str] | None, n: int, seed: int) -> dict[str, Any] | None:
        """The risk-coverage curve and its numbers as JSON, with intervals over groups; None without labels."""
        known = np.isfinite(self.loss) & np.isfinite(self.confidence)
        if not known.any():
            return None
        confidence, loss = self.confidence[known], self.loss[known]
        own = None if groups is None else np.asarray(list(groups), object)[known]
        scores = bootstrap(coverage_scores, confidence, loss, groups=own, n=n, seed=seed)
        curve = risk_coverage(confidence, loss)
        shown = np.unique(np.linspace(0, len(curve.risk) - 1, MOST_POINTS).round().astype(int))
        return {
            "target": self.name,
            "confidence": self.sure,
            "risk": self.risk,
            "unit": self.unit,
            "items": int(known.sum()),
            "scores": {name: score._asdict() for name, score in scores.items()},
            "curve": {name: values[shown].tolist() for name, values in curve._asdict().items()},
            "best_curve": best_curve(loss),
        }


def best_curve(loss: np.ndarray) -> dict[str, list[float]]:
    """The curve of a confidence that orders the items by their loss."""
    risk = np.cumsum(np.sort(loss)) / np.arange(1, len(loss) + 1)
    shown = np.unique(np.linspace(0, len(loss) - 1, MOST_POINTS).round().astype(int))
    return {"coverage": ((shown + 1) / len(loss)).tolist(), "risk": risk[shown].tolist()}


def sureness(
    predictions: Mapping[str, np.ndarray], labels: Mapping[str, Any], unknown: np.ndarray | None
) -> list[Sureness]:
    """What can be said of the predictions of a trainer, target by target.

    Args:
        predictions: as a trainer with labels gives them. labels: what a checkpoint keeps of them (`label_facts`).
        unknown: [items] share of blocks that training did not see; without it, numbers have no confidence.
    """
    if "target" not in predictions:
        return []
    found = []
    for name, (column, unit) in numbers_of(predictions, labels).items():
        one = of_numbers(name, *column_of(predictions, column), unknown, unit)
        found += [] if one is None else [one]
    if labels.get("classes"):
        found.append(of_classes("class", predictions["pred"], column_of(predictions, 0)[1]))
    if labels.get("labels"):
        found.append(of_labels("labels", predictions["pred"], predictions["target"]))
    for column, name in enumerate(labels.get("names") or ()):
        if f"probability {name}" in predictions:
            found.append(of_classes(name, predictions[f"probability {name}"], column_of(predictions, column)[1]))
    return found


def of_numbers(
    name: str, pred: np.ndarray, target: np.ndarray, unknown: np.ndarray | None, unit: str = ""
) -> Sureness | None:
    """Predicted numbers [items], which have no confidence where the unknown blocks are not told."""
    if unknown is None:
        return None
    return Sureness(name, 1 - unknown, np.abs(pred - target), KNOWN_BLOCKS, ERROR, unit)


def of_classes(name: str, prob: np.ndarray, target: np.ndarray) -> Sureness:
    """Probabilities [items, classes], or [items] of class 1, beside class numbers [items]."""
    prob = np.asarray(prob, float)
    prob = prob if prob.ndim == 2 and prob.shape[1] > 1 else np.stack([1 - prob.ravel(), prob.ravel()], 1)
    wrong = np.where(np.isfinite(target), prob.argmax(1) != target, np.nan)
    return Sureness(name, prob.max(1), wrong, PROBABILITY, WRONG)


def of_labels(name: str, prob: np.ndarray, target: np.ndarray) -> Sureness:
    """Probabilities [items, labels] beside labels of 0 or 1 (NaN: not known)."""
    known = np.isfinite(target)
    wrong = np.where(known, (np.asarray(prob) > 0.5) != (target > 0.5), 0.0).sum(1)
    share = np.divide(wrong, known.sum(1), out=np.full(len(prob), np.nan), where=known.any(1))
    return Sureness(name, np.maximum(prob, 1 - prob).min(1), share, LEAST_SURE, WRONG_LABELS)


def unknown_by_id(loader: Any, ids: np.ndarray | None, seen: Iterable[int] | None) -> np.ndarray | None:
    """[predictions] share of blocks that training did not see, of whole items; None where that can't be told."""
    dataset = getattr(loader, "dataset", None)
    if ids is None or seen is None or not isinstance(dataset, InterfaceDataset):
        return None
    names = [n for part in dataset.parts for n in (part.ids if isinstance(part, ShardReader) else (i.id for i in part))]
    shares = dict(zip(names, unknown_fractions(counts_of_items(dataset), frozenset(seen)).tolist()))
    return np.array([shares.get(name, np.nan) for name in ids.tolist()])


def columns(found: Sequence[Sureness], unknown: np.ndarray | None) -> dict[str, np.ndarray]:
    """`unknown_fraction` and `confidence` of each item; `confidence NAME` of classes beside other targets."""
    table = {} if unknown is None else {"unknown_fraction": unknown}
    for one in found:
        named = one.sure == PROBABILITY and len(found) > 1
        table.setdefault(f"confidence {one.name}" if named else "confidence", one.confidence)
    return table


def draw(told: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """A picture of risk-coverage curves, one panel for each target."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(told), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, one in zip(figure.subplots(1, len(told), squeeze=False).flat, told):
        curve, best, scores = one["curve"], one["best_curve"], one["scores"]
        axes.axhline(scores["risk"]["value"], color="0.55", linestyle=":", label="chance (all items)")
        axes.plot(best["coverage"], best["risk"], color="0.55", linestyle="--", label="best possible")
        label = "surest first"
        axes.plot(
            curve["coverage"], curve["risk"], color="C0", marker="o" if len(curve["risk"]) < 40 else "", label=label
        )
        area, gain = scores["area"], scores["gain"]
        axes.set_title(f"{one['target']}: {one['items']} items\narea {span(area)}, gain {span(gain)}", fontsize=9)
        axes.set_xlabel(f"share of items answered, by {one['confidence']}", fontsize=8)
        axes.set_ylabel(one["risk"] + (f" ({one['unit']})" if one["unit"] else ""), fontsize=8)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)


def span(score: Mapping[str, float]) -> str:
    """A number with its interval, where it has one."""
    low, high = score["low"], score["high"]
    return f"{score['value']:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low == low and low is not None else "")


def in_words(told: Mapping[str, Any]) -> str:
    """One line about a curve."""
    scores, unit = told["scores"], f" {told['unit']}" if told["unit"] else ""
    if len(told["curve"]["risk"]) < 2:
        return f"{told['target']}: all items are equally sure ({told['confidence']}), so none can be left out"
    return (
        f"{told['target']}: {told['risk']} {span(scores['risk'])}{unit}, of the surest four fifths "
        f"{span(scores['risk_at_80'])}; area under the risk-coverage curve {span(scores['area'])}, "
        f"gain {span(scores['gain'])} (1: best, 0: chance)"
    )
