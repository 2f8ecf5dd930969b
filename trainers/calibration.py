"""Residuals of held-out items, kept with a checkpoint for its intervals; and how often intervals hold the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.intervals import Calibration, fingerprint, intervals
from trainers.scores import Interval, bootstrap

LEVELS = (0.8, 0.9, 0.95)
MOST_ITEMS = 50_000
"""More residuals say nothing new, and a checkpoint stays small."""
VALIDATION, HELD_OUT = "validation set", "held-out fold"


def numbers_of(predictions: Mapping[str, np.ndarray], labels: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Name of each target that is a number -> its column of `pred` and `target`, and its unit."""
    if labels.get("classes") or not {"pred", "target"} <= set(predictions):
        return {}
    mixed = labels.get("targets")
    names = labels.get("names") or ()
    if mixed is None:
        return {name: (column, str(labels.get("unit") or "")) for column, name in enumerate(names)}
    scales = {name: mixed[name].get("scale") for name in names}
    return {name: (i, str(scales[name]["unit"])) for i, name in enumerate(names) if scales[name] is not None}


def column_of(predictions: Mapping[str, np.ndarray], column: int) -> tuple[np.ndarray, np.ndarray]:
    """[items] prediction and target, NaN where missing."""
    return tuple(
        np.asarray(predictions[n], float).reshape(len(predictions[n]), -1)[:, column] for n in ("pred", "target")
    )  # type: ignore[return-value]


def calibrate(
    predictions: Mapping[str, np.ndarray], groups: Sequence[str] | None, labels: Mapping[str, Any], source: str
) -> dict[str, Calibration]:
    """Target -> calibration by the predictions of items that training did not see; empty for classes.

    Args:
        predictions: `pred` and `target` [items, targets] in the unit of the transformed labels. groups: [items]; None:
            every item is one. labels: what a checkpoint keeps of them (`label_facts`). source: of the items.
    """
    found = {}
    for name, (column, _) in numbers_of(predictions, labels).items():
        pred, target = column_of(predictions, column)
        names = np.array([str(i) for i in range(len(pred))] if groups is None else list(groups), object)
        places = np.flatnonzero(np.isfinite(pred) & np.isfinite(target))
        if len(places) > MOST_ITEMS:
            places = np.sort(np.random.default_rng(0).choice(places, MOST_ITEMS, replace=False))
        sizes = np.abs(pred - target)[places]
        rounded = tuple(float(f"{value:.6g}") for value in sizes)
        if rounded:
            found[name] = Calibration(rounded, tuple(fingerprint(str(name)) for name in names[places]), source)
    return found


def interval_scores(
    predictions: Mapping[str, np.ndarray],
    groups: Sequence[str] | None,
    labels: Mapping[str, Any],
    calibrations: Mapping[str, Calibration],
    n: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Target -> level -> `share_held` of the items of another set, mean `width` of their intervals (infinite with too
    few groups), and `unit`."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, (column, unit) in numbers_of(predictions, labels).items():
        pred, target = column_of(predictions, column)
        known = np.isfinite(pred) & np.isfinite(target)
        if name not in calibrations or not known.any():
            continue
        own = None if groups is None else np.asarray(list(groups), object)[known]
        for level in LEVELS:
            low, high = intervals(pred[known][None], [calibrations[name]], level)
            inside = (low <= target[known]) & (target[known] <= high)
            held = {key: share._asdict() for key, share in share_held(inside, own, n, seed).items()}
            width = float(np.mean(high - low))
            found.setdefault(name, {})[f"{level:g}"] = held | {"width": width, "unit": unit}
    return found


def share_held(inside: np.ndarray, groups: Sequence[str] | np.ndarray | None, n: int, seed: int) -> dict[str, Interval]:
    """`held`, the share of items inside their intervals, and `held_by_group`, the mean of the shares of groups, which
    is what intervals promise; with bootstrap intervals over groups."""
    inside = np.asarray(inside, float)
    names = np.arange(len(inside)) if groups is None else np.asarray(list(groups), object).astype(str)
    _, group, sizes = np.unique(names, return_inverse=True, return_counts=True)

    def shares(held: np.ndarray, weight: np.ndarray) -> dict[str, float]:
        return {"held": float(held.mean()), "held_by_group": float(np.average(held, weights=weight))}

    return bootstrap(shares, inside, 1 / sizes[group], groups=groups, n=n, seed=seed)
