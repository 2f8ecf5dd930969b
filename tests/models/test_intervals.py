"""Intervals hold what they promise: for new items, for new groups, of one model and of models of cross-validation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import CheckpointError, ConfigError
from models.intervals import Calibration, check_level, intervals, least_groups, n_groups


def calibration(residuals: list[float], groups: list[str] | None = None) -> Calibration:
    return Calibration(tuple(residuals), tuple(groups or map(str, range(len(residuals)))), "validation set")


def share_inside(low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 9), min_size=1, max_size=40), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_without_groups_it_is_the_split_conformal_quantile(residuals: list[float], level: float) -> None:
    """The ceil((n + 1) level)-th smallest residual on either side (Lei et al., 2018)."""
    place = math.ceil((len(residuals) + 1) * level - 1e-9)
    half = sorted(residuals)[place - 1] if place <= len(residuals) else math.inf
    low, high = intervals(np.array([[2.0, -1.0]]), [calibration(residuals)], level)
    assert high.tolist() == [2 + half, -1 + half]
    assert low.tolist() == [2 - half, -1 - half]


def test_a_group_counts_once_whatever_its_size() -> None:
    """Three groups of weight 1/4 each: the hundred copies of the small error are one quarter."""
    groups = ["a"] * 100 + ["b", "c"]
    low, high = intervals(np.zeros((1, 1)), [calibration([0.1] * 100 + [2.0, 3.0], groups)], 0.5)
    assert (low[0], high[0]) == (-2, 2)
    low, high = intervals(np.zeros((1, 1)), [calibration([0.1] * 100 + [2.0, 3.0])], 0.5)
    assert (low[0], high[0]) == (-0.1, 0.1)


def test_too_few_groups_bound_nothing() -> None:
    assert [least_groups(level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    for n in (8, 9):
        low, high = intervals(np.zeros((1, 1)), [calibration([1.0] * n)], 0.9)
        assert np.isfinite(high[0]) == np.isfinite(low[0]) == (n == 9)
    with pytest.raises(ConfigError, match="must be above 0 and below 1, got 1"):
        check_level(1.0)


def test_models_of_cross_validation_pool_their_groups_and_keep_their_own_prediction() -> None:
    """Of two folds with three groups each, every residual goes with the model that had not learnt from it."""
    folds = [calibration([1.0, 2.0, 3.0], list("abc")), calibration([10.0, 20.0, 30.0], list("def"))]
    assert n_groups(folds) == 6
    low, high = intervals(np.array([[0.0], [100.0]]), folds, 6 / 7)
    assert (low[0], high[0]) == (-3, 130)  # of 0 -+ (1, 2, 3) and 100 -+ (10, 20, 30), six are needed of six
    low, high = intervals(np.array([[0.0], [100.0]]), folds, 3 / 7)
    assert (low[0], high[0]) == (3, 70)  # the third smallest upper, the third largest lower end
    again = [*folds, calibration([1.0, 2.0, 3.0], list("abc"))]
    assert n_groups(again) == 6


def test_intervals_hold_the_share_they_promise_for_items_of_new_groups() -> None:
    """Errors with a part in common to a group. Weighing items instead would promise too much: 0.9 holds less."""
    rng = np.random.default_rng(0)
    by_group, by_item = [], []
    for _ in range(300):
        sizes = np.where(rng.random(13) < 0.3, 40, 2)  # twelve groups to calibrate on, one that is new
        scale = np.where(sizes > 2, 0.3, 2.0)  # large groups are easier
        errors = [s * (rng.normal() + 0.3 * rng.normal(size=n)) for s, n in zip(scale, sizes)]
        names = [str(g) for g, e in enumerate(errors[:-1]) for _ in e]
        residuals = np.abs(np.concatenate(errors[:-1])).tolist()
        new = np.zeros((1, len(errors[-1])))
        by_group.append(share_inside(*intervals(new, [calibration(residuals, names)], 0.9), errors[-1]))
        by_item.append(share_inside(*intervals(new, [calibration(residuals)], 0.9), errors[-1]))
    assert np.mean(by_group) > 0.88
    assert np.mean(by_item) < 0.85


def test_what_is_stored_comes_back_and_damage_is_told() -> None:
    one = calibration([0.5, 1.25], ["a", "b"])
    assert Calibration.from_dict(one.to_dict()) == one
    good = one.to_dict()
    for bad in ([], {}, good | {"residuals": [1.0]}, good | {"residuals": [1.0, -2.0]}, good | {"residuals": ["x", 1]}):
        with pytest.raises(CheckpointError, match="holds a damaged calibration"):
            Calibration.from_dict(bad)
