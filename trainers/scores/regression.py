"""Errors and correlations of predicted numbers, with missing targets, several targets and groups."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import kendalltau, pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

Scores = dict[str, float]
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "rmse": lambda pred, target: root_mean_squared_error(target, pred),
    "mae": lambda pred, target: mean_absolute_error(target, pred),
    "pearson": lambda pred, target: correlation(pearsonr, pred, target),
    "spearman": lambda pred, target: correlation(spearmanr, pred, target),
    "kendall": lambda pred, target: correlation(kendalltau, pred, target),
    "smape": lambda pred, target: float(np.mean(np.abs(pred - target) / (np.abs(pred) + np.abs(target) + LEAST))),
    "band_5pct": lambda pred, target: within_band(pred, target, 0.05),
    "band_10pct": lambda pred, target: within_band(pred, target, 0.10),
    "band_20pct": lambda pred, target: within_band(pred, target, 0.20),
}
LEAST = 1e-8  # keeps relative errors defined at 0
LEAST_GROUP = 5  # a rank correlation of fewer items says little


def within_band(pred: np.ndarray, target: np.ndarray, share: float) -> float:
    """Share of the predictions that are off by no more than a share of the target."""
    return float(np.mean(np.abs(pred - target) <= share * np.abs(target)))


def correlation(measure: Callable[..., tuple[float, float]], pred: np.ndarray, target: np.ndarray) -> float:
    """A correlation of scipy; NaN for fewer than two items or when either side is constant."""
    if len(pred) < 2 or np.ptp(pred) == 0 or np.ptp(target) == 0:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about nearly constant values
        return float(measure(pred, target)[0])


def known(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets, in double precision, of the items whose target is there."""
    pred, target = np.asarray(pred, float), np.asarray(target, float)
    if pred.shape != target.shape:
        raise ValueError(f"predictions of shape {pred.shape} for targets of shape {target.shape}")
    there = np.isfinite(target)
    return pred[there], target[there]


def regression_metrics(pred: np.ndarray, target: np.ndarray, names: Sequence[str] = ()) -> Scores:
    """RMSE, MAE, Pearson, Spearman, Kendall (tau-b), SMAPE from 0 to 1, and shares within 5, 10 and 20 % of the target.

    Args:
        pred, target: [items] or [items, targets]; NaN in `target` is missing. A prediction that is not finite makes
            every score of its target NaN.
        names: of the targets (default: their numbers).

    Returns:
        Of one target: `rmse`, `mae`, ... Of several: `rmse/NAME` of each and, as `rmse`, their mean over the targets
        for which it is defined.

    Raises:
        ValueError: arrays of different shapes, or another number of names than of targets.
    """
    pred, target = np.asarray(pred, float), np.asarray(target, float)
    if target.ndim < 2 or target.shape[1] == 1:
        return one_target(*known(pred.reshape(-1), target.reshape(-1)))
    names = names or [str(number) for number in range(target.shape[1])]
    columns = [one_target(*known(pred[:, i], target[:, i])) for i in range(target.shape[1])]
    each = {f"{measure}/{name}": s[measure] for name, s in zip(names, columns, strict=True) for measure in MEASURES}
    return {measure: mean_of_defined([s[measure] for s in columns]) for measure in MEASURES} | each


def one_target(pred: np.ndarray, target: np.ndarray) -> Scores:
    """Every measure of [items] numbers without missing ones."""
    if not len(pred) or not np.isfinite(pred).all():
        return dict.fromkeys(MEASURES, float("nan"))
    return {name: float(measure(pred, target)) for name, measure in MEASURES.items()}


def mean_of_defined(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    defined = [value for value in values if value == value]
    return float(np.mean(defined)) if defined else float("nan")


def spearman_by_group(
    pred: np.ndarray, target: np.ndarray, groups: Sequence[str] | np.ndarray, least: int = LEAST_GROUP
) -> Scores:
    """Spearman correlation inside each group.

    Args:
        pred, target: [items]; NaN in `target` is missing. groups: [items].
        least: groups with fewer known targets are left out.

    Returns:
        Group name -> correlation, for groups in which it is defined.
    """
    groups = np.asarray(groups, object).astype(str)
    found = {}
    for group in np.unique(groups).tolist():
        p, t = known(np.asarray(pred)[groups == group], np.asarray(target)[groups == group])
        if len(t) >= least and np.isfinite(p).all():
            found[group] = correlation(spearmanr, p, t)
    return {group: value for group, value in found.items() if value == value}


def within_group_spearman(
    pred: np.ndarray, target: np.ndarray, groups: Sequence[str] | np.ndarray, least: int = LEAST_GROUP
) -> Scores:
    """How well items are ranked inside their groups: mean and median over groups of `spearman_by_group`.

    A bootstrap over groups resamples the values of `spearman_by_group`, one for each group.
    """
    values = list(spearman_by_group(pred, target, groups, least).values())
    median = float(np.median(values)) if values else float("nan")
    return {"within_group_spearman": mean_of_defined(values), "within_group_spearman_median": median}
