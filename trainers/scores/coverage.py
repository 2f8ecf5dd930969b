"""What answering only where one is sure is worth: the risk over the share of items that are answered."""

from typing import NamedTuple

import numpy as np

from trainers.scores.regression import Scores

NAN = float("nan")


class RiskCoverage(NamedTuple):
    """Points of a risk-coverage curve, the surest items first: one for each confidence that occurs.

    Attributes:
        coverage: [points] share of the items that are at least as sure as `threshold`. risk: [points] their mean loss.
        threshold: [points] falling confidences.
    """

    coverage: np.ndarray
    risk: np.ndarray
    threshold: np.ndarray


def risk_coverage(confidence: np.ndarray, loss: np.ndarray) -> RiskCoverage:
    """The curve of El-Yaniv and Wiener (2010); equally sure items are answered together.

    Args:
        confidence, loss: [items], finite.
    """
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    ends = np.flatnonzero(np.append(sure[1:] != sure[:-1], len(sure) > 0)) + 1
    return RiskCoverage(ends / max(len(sure), 1), np.cumsum(loss[order])[ends - 1] / ends, sure[ends - 1])


def coverage_scores(confidence: np.ndarray, loss: np.ndarray) -> Scores:
    """One number each for a risk-coverage curve.

    Args:
        confidence, loss: [items], finite.

    Returns:
        `area`: under the curve, the mean over k of the risk of the k surest items (equally sure ones in random order,
        in the mean). `risk`: of all items, which is also the area when the confidence tells nothing. `best`: the area
        when the confidence orders the items by their loss. `gain`: (risk - area) / (risk - best), 1 for the best
        confidence, 0 for one that tells nothing, below 0 for one that misleads; NaN when all losses are equal.
        `risk_at_80`: of the surest four fifths. All NaN without items.
    """
    if not len(loss):
        return dict.fromkeys(("area", "risk", "best", "gain", "risk_at_80"), NAN)
    curve = risks(confidence, loss)
    area, whole, best = curve.mean(), loss.mean(), risks(-loss, loss).mean()
    gain = round((whole - area) / (whole - best), 12) + 0.0 if np.ptp(loss) > 0 else NAN
    fifths = curve[max(int(np.ceil(0.8 * len(loss) - 1e-9)), 1) - 1]
    return {
        "area": float(area),
        "risk": float(whole),
        "best": float(best),
        "gain": float(gain),
        "risk_at_80": float(fifths),
    }


def risks(confidence: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """[items] mean loss of the 1, 2, ... surest items, equally sure ones in random order, in the mean."""
    levels, level = np.unique(-confidence, return_inverse=True)
    sizes = np.bincount(level, minlength=len(levels))
    expected = np.bincount(level, weights=loss, minlength=len(levels)) / sizes
    return np.cumsum(np.repeat(expected, sizes)) / np.arange(1, len(loss) + 1)
