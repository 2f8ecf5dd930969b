"""The pictures of a run's report, as SVG text that needs no other file."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from scripts.plot_training import plain
from trainers.predicted import Predicted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_POINTS = 2000  # more are drawn as pixels
MANY_CLASSES = 12
BLUE, RED, GREY = "#1f6fb4", "#c23b31", "0.55"
# Letters stay letters, so that the files are small.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "ligare", "font.size": 9}


def as_svg(figure: Figure) -> str:
    """The figure as an SVG document, the same each time."""
    with rc_context(STYLE), io.StringIO() as text:
        figure.savefig(text, format="svg", dpi=130, metadata={"Date": None})
        return text.getvalue()


def parity(found: Predicted) -> Figure:
    """Predicted against measured values, and the distribution of errors."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1))
        low, high = extent(found.target, found.pred)
        left.plot([low, high], [low, high], color=GREY, linewidth=1)
        crowd = len(found.ids) > MANY_POINTS
        left.scatter(found.target, found.pred, s=5 if crowd else 12, alpha=0.4, color=BLUE, lw=0, rasterized=crowd)
        unit = f" ({found.unit})" if found.unit else ""
        left.set(xlim=(low, high), ylim=(low, high), xlabel=f"value{unit}", ylabel=f"predicted{unit}", aspect="equal")
        right.hist(found.pred - found.target, bins=min(40, max(5, len(found.ids) // 6)), color=BLUE, alpha=0.75)
        right.axvline(0, color=GREY, linewidth=1)
        right.set(xlabel=f"predicted - value{unit}", ylabel="items")
        return figure


def extent(*several: np.ndarray) -> tuple[float, float]:
    """A range that holds all finite values, with a margin."""
    values = np.concatenate([np.asarray(one, float) for one in several])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def classes(found: Predicted) -> Figure:
    """ROC and precision-recall curves of each class against the rest (of two classes: the second), and the confusion
    matrix; the matrix alone where there are no probabilities."""
    with rc_context(STYLE):
        if found.prob is None:
            figure = Figure(figsize=(4.4, 3.8), layout="constrained")
            confusion(figure.subplots(), found)
            return figure
        figure = Figure(figsize=(12.6, 3.8), layout="constrained")
        roc, recall, matrix = figure.subplots(1, 3)
        numbers = [1] if len(found.classes) == 2 else range(len(found.classes))
        drawn = [number for number in numbers if 0 < (found.target == number).sum() < len(found.target)]
        for number in drawn[:MANY_CLASSES]:
            one_class(roc, recall, found, number)
        roc.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC", aspect="equal")
        recall.set(xlabel="recall", ylabel="precision", title="precision and recall", xlim=(0, 1.02), ylim=(0, 1.05))
        if drawn:
            roc.legend(fontsize=7, loc="lower right")
        confusion(matrix, found)
        return figure


def one_class(roc: "Axes", recall: "Axes", found: Predicted, number: int) -> None:
    """Both curves of one class against the rest."""
    from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

    right = found.target == number
    score = found.prob[:, number]  # type: ignore[index]
    false, true, _ = roc_curve(right, score)
    label = f"{short(found.classes[number])}: area {roc_auc_score(right, score):.3f}"
    (line,) = roc.plot(false, true, linewidth=1.4, label=label)
    precision, found_share, _ = precision_recall_curve(right, score)
    recall.plot(found_share, precision, linewidth=1.4, color=line.get_color())
    recall.axhline(right.mean(), color=line.get_color(), linestyle=":", linewidth=0.8)


def confusion(axes: "Axes", found: Predicted) -> None:
    """Items by their class and the predicted one; colours are shares of the class."""
    n = len(found.classes)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (found.target.astype(int), found.pred.astype(int)), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = [short(name) for name in found.classes]
    axes.set_xticks(range(n), names, rotation=60 if n > 3 else 0, fontsize=8 if n <= 20 else 5)
    axes.set_yticks(range(n), names, fontsize=8 if n <= 20 else 5)
    axes.set(xlabel="predicted", ylabel="class", title="items")
    if n <= 20:
        for row, column in np.ndindex(n, n):
            dark = share[row, column] > 0.55
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", color="w" if dark else "k", size=7
            )


def group_bars(groups: pd.DataFrame, whole: float, what: str) -> Figure:
    """Mean error of each group, and of all items as a line."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.9 + 0.23 * len(groups)), layout="constrained")
        axes = figure.subplots()
        labels = [f"{short(row.group) or '(no name)'} ({row.items})" for row in groups.itertuples()]
        axes.barh(range(len(groups)), groups["error"], color=BLUE, height=0.7)
        axes.set_yticks(range(len(groups)), labels, fontsize=8)
        axes.margins(y=0.5 / len(groups))
        axes.invert_yaxis()
        axes.axvline(whole, color=RED, linewidth=1.2, label="all items")
        axes.set_xlabel(what)
        axes.legend(fontsize=7, loc="lower right")
        return figure


def coverage(found: Predicted, what: str) -> Figure | None:
    """What is gained when the least sure items are left out; None without confidences."""
    drawn = found.coverage()
    if drawn is None:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.6), layout="constrained")
        axes = figure.subplots()
        share, kept, best = drawn
        enough = share * len(found.ids) >= min(5, len(found.ids))
        kept, best = (1 - kept, 1 - best) if found.classes else (kept, best)
        axes.plot(share[enough], kept[enough], color=BLUE, linewidth=1.8, label="the surest are kept")
        axes.plot(share[enough], best[enough], color=GREY, linestyle="--", linewidth=1, label="the best are kept")
        axes.axhline(kept[-1], color=RED, linewidth=1, linestyle=":", label="all, or at random")
        axes.set(xlabel="share of items that is kept", ylabel=what, xlim=(0, 1.01))
        axes.legend(fontsize=7)
        axes.grid(alpha=0.25)
        return figure


def short(name: object, most: int = 28) -> str:
    """A name that fits beside an axis."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(name))
    return plain(text if len(text) <= most else f"{text[: most - 3]}...")
