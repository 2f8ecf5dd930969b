"""Confidence intervals of any scores by resampling items, or whole groups of items."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A score with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    metric_fn: Callable[..., Mapping[str, float]],
    *arrays: np.ndarray,
    groups: Sequence[str] | np.ndarray | None = None,
    n: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Percentile intervals (Efron and Tibshirani 1993, chapter 13) of every score that `metric_fn` returns.

    `scipy.stats.bootstrap` does one number at a time and knows no groups; here one resample serves all scores.

    Args:
        metric_fn: the arrays, resampled together along their first axis -> name -> score.
        arrays: [items, ...].
        groups: [items]; whole groups are drawn, for items of a group are not independent. Default: items are drawn.
        n: resamples. seed: of the draws. confidence: of the interval.

    Returns:
        Name -> (score of the arrays as they are, low, high). Resamples in which a score is undefined (one class only)
        do not count; if these are more than half, its ends are NaN.
    """
    arrays = tuple(np.asarray(array) for array in arrays)
    units = units_of(len(arrays[0]), groups)
    whole = metric_fn(*arrays)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(n if len(units) > 1 else 0):  # of a single one every resample is the same
        chosen = np.concatenate([units[i] for i in rng.integers(len(units), size=len(units))])
        for name, value in metric_fn(*(array[chosen] for array in arrays)).items():
            if name in drawn and value == value:
                drawn[name].append(value)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals = {}
    for name, values in drawn.items():
        low, high = np.quantile(values, tails) if values and 2 * len(values) >= n else (np.nan, np.nan)
        intervals[name] = Interval(float(whole[name]), float(low), float(high))
    return intervals


def units_of(n_items: int, groups: Sequence[str] | np.ndarray | None) -> list[np.ndarray]:
    """The item numbers of each unit of resampling."""
    if groups is None:
        return list(np.arange(n_items)[:, None])
    names, group_of_item = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    order, sizes = np.argsort(group_of_item, kind="stable"), np.bincount(group_of_item, minlength=len(names))
    return np.split(order, np.cumsum(sizes)[:-1]) if len(names) else []
