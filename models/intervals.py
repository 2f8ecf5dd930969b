"""Intervals of predicted numbers that hold a stated share of the truths: conformal prediction by groups.

The method is the hierarchical jackknife+ of Lee, Barber and Willett (2023, arXiv 2306.06342), which treats groups (of
related complexes), not items, as exchangeable: for one model it is their hierarchical split conformal prediction, and
with every item a group of its own the usual one; for models of cross-validation it is CV+ (Barber et al., 2021).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from configs.errors import CheckpointError, ConfigError

CALIBRATION = "calibration"
"""Entry of a checkpoint's facts: target -> `Calibration` as plain values."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Calibration:
    """How far off a model was on items that it had not learnt from, for one target.

    Attributes:
        residuals: absolute errors, in the unit of the transformed labels. groups: of the items, as `fingerprint`s, so
            that a checkpoint does not tell names, but calibrations of several models know their common groups.
        source: of the items: `validation set`, or `held-out fold`.
    """

    residuals: tuple[float, ...]
    groups: tuple[str, ...]
    source: str

    def to_dict(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any) -> "Calibration":
        """What `to_dict` gave.

        Raises:
            CheckpointError: something else.
        """
        wrong = CheckpointError("holds a damaged calibration of intervals", CALIBRATION)
        if not isinstance(values, Mapping) or set(values) != {"residuals", "groups", "source"}:
            raise wrong
        try:
            residuals, groups = np.asarray(values["residuals"], float), tuple(map(str, values["groups"]))
        except (TypeError, ValueError):
            raise wrong from None
        if residuals.shape != (len(groups),) or not np.isfinite(residuals).all() or (residuals < 0).any():
            raise wrong
        return cls(tuple(residuals.tolist()), groups, str(values["source"]))


def fingerprint(group: str) -> str:
    """A short name of a group that does not tell the group."""
    return hashlib.sha256(group.encode()).hexdigest()[:10]


def calibrations_of(model: Any) -> dict[str, Calibration]:
    """Target -> calibration of a loaded checkpoint; empty where it keeps none."""
    stored = model.facts.get(CALIBRATION) or {}
    if not isinstance(stored, Mapping):
        raise CheckpointError("holds a damaged calibration of intervals", CALIBRATION)
    return {name: Calibration.from_dict(values) for name, values in stored.items()}


def intervals(values: np.ndarray, calibrations: Sequence[Calibration], level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends [items] that hold the truth of an item of a new group with probability `level`.

    That holds in the mean over groups drawn as those of the calibration were, for one model. Of several models the
    guarantee is 2 `level` - 1 (0.8 for 0.9), though the share is usually about `level`. The ends are infinite when the
    calibration has too few groups (`least_groups`).

    Args:
        values: [models, items] predictions, in the unit of the residuals. calibrations: of each model.
    """
    residuals, owner, weights = _pooled(calibrations)
    low, high = np.full(values.shape[1], -np.inf), np.full(values.shape[1], np.inf)
    if weights.sum() < level - ROUNDING:
        return low, high
    if len(calibrations) == 1:
        half = _quantile(residuals, weights, level)
        return values[0] - half, values[0] + half
    for item in range(values.shape[1]):
        said = values[owner, item]
        ends = -_quantile(residuals - said, weights, level), _quantile(residuals + said, weights, level)
        low[item], high[item] = min(ends), max(ends)  # of models that are far apart they may cross: nothing is lost
    return low, high


def _pooled(calibrations: Sequence[Calibration]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[pairs] residuals, number of the model, and weight: each of the K groups has 1 / (K + 1), shared by its pairs;
    the rest is at infinity."""
    residuals = np.array([one for calibration in calibrations for one in calibration.residuals])
    owner = np.repeat(np.arange(len(calibrations)), [len(calibration.residuals) for calibration in calibrations])
    names = np.array([one for calibration in calibrations for one in calibration.groups], str)
    _, group, sizes = np.unique(names, return_inverse=True, return_counts=True)
    return residuals, owner, 1 / ((len(sizes) + 1) * sizes[group])


def _quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    """The smallest value that has at least a share `level` of the weight at or below it."""
    order = np.argsort(values, kind="stable")
    place = int(np.searchsorted(np.cumsum(weights[order]), level - ROUNDING))
    return float(values[order[place]]) if place < len(values) else np.inf


def n_groups(calibrations: Sequence[Calibration]) -> int:
    """Groups of the calibrations of some models, together."""
    return len({group for one in calibrations for group in one.groups})


def least_groups(level: float) -> int:
    """Groups that finite ends need at a level: 9 for 0.9."""
    return int(np.ceil(level / (1 - level) - ROUNDING))


def check_level(level: float) -> None:
    """ConfigError unless an interval can have this level."""
    if not 0 < level < 1:
        raise ConfigError(f"must be above 0 and below 1, got {level}", "--interval")
