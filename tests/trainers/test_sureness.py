"""Answering only where one is sure: the curve, its area, and what the final report and `ligare predict` tell of it."""

import numpy as np
import pytest

from trainers import sureness
from trainers.calibration import calibrate, interval_scores
from trainers.scores.coverage import coverage_scores, risk_coverage

NUMBERS = {"names": ["pK"], "unit": "pK", "transform": "none"}


def test_the_curve_by_hand() -> None:
    curve = risk_coverage(np.array([0.9, 0.2, 0.9, 0.5]), np.array([1.0, 4.0, 0.0, 2.0]))
    assert curve.threshold.tolist() == [0.9, 0.5, 0.2]
    assert curve.coverage.tolist() == [0.5, 0.75, 1]
    assert curve.risk.tolist() == [0.5, 1, 1.75]


def test_one_number_for_a_curve() -> None:
    loss = np.array([1.0, 0.0, 2.0, 4.0])
    scores = coverage_scores(np.array([0.9, 0.9, 0.5, 0.2]), loss)
    assert scores["area"] == pytest.approx((0.5 + 0.5 + 1 + 1.75) / 4)  # equally sure ones in either order
    assert scores["best"] == pytest.approx((0 + 0.5 + 1 + 1.75) / 4)
    assert scores["gain"] == pytest.approx((1.75 - scores["area"]) / (1.75 - scores["best"]))
    assert coverage_scores(-loss, loss)["gain"] == 1
    assert coverage_scores(loss, loss)["gain"] < 0
    flat = coverage_scores(np.ones(4), loss)
    assert flat["area"] == flat["risk"] == flat["risk_at_80"] == 1.75
    assert flat["gain"] == 0
    assert np.isnan(coverage_scores(np.ones(3), np.ones(3))["gain"])
    assert np.isnan(list(coverage_scores(np.zeros(0), np.zeros(0)).values())).all()


def test_equally_sure_items_have_the_mean_area_of_their_orders() -> None:
    rng = np.random.default_rng(0)
    confidence, loss = rng.integers(0, 4, 12).astype(float), rng.random(12)
    orders = [np.lexsort((rng.random(12), -confidence)) for _ in range(4000)]
    areas = [np.mean(np.cumsum(loss[order]) / np.arange(1, 13)) for order in orders]
    assert coverage_scores(confidence, loss)["area"] == pytest.approx(np.mean(areas), abs=0.005)


def test_numbers_are_as_sure_as_their_blocks_are_known_and_classes_as_they_are_likely() -> None:
    predictions = {
        "pred": np.array([[1.0, 1], [2, 0], [3, 0]]),
        "target": np.array([[1.5, 1], [np.nan, 0], [1, 1]]),
        "probability site": np.array([[0.2, 0.8], [0.7, 0.3], [0.6, 0.4]]),
    }
    scale = {"scale": {"unit": "pK"}}
    labels = {"names": ["pK", "site"], "targets": {"pK": scale, "site": {"classes": ["in", "out"]}}}
    number, site = sureness.sureness(predictions, labels, np.array([0, 0.25, 0.5]))
    assert (number.confidence.tolist(), number.unit) == ([1, 0.75, 0.5], "pK")
    np.testing.assert_array_equal(number.loss, [0.5, np.nan, 2])
    assert (site.confidence.tolist(), site.loss.tolist()) == ([0.8, 0.7, 0.6], [0, 0, 1])
    columns = sureness.columns([number, site], np.array([0, 0.25, 0.5]))
    assert list(columns) == ["unknown_fraction", "confidence", "confidence site"]
    told = number.told(None, n=20, seed=0)
    assert told is not None and told["items"] == 2
    assert [one.name for one in sureness.sureness(predictions, labels, None)] == ["site"]


def test_two_classes_may_come_as_one_probability() -> None:
    one = sureness.of_classes("class", np.array([0.9, 0.3, 0.5]), np.array([1, 1, np.nan]))
    assert one.confidence.tolist() == [0.9, 0.7, 0.5]
    np.testing.assert_array_equal(one.loss, [0, 1, np.nan])


def test_what_is_told_of_a_set_is_short_and_says_when_nothing_can_be_left_out() -> None:
    rng = np.random.default_rng(1)
    told = sureness.Sureness("pK", rng.random(5000), rng.random(5000), "a", "b").told(None, 0, 0)
    assert told is not None
    assert len(told["curve"]["risk"]) <= sureness.MOST_POINTS
    assert told["curve"]["coverage"][-1] == told["best_curve"]["coverage"][-1] == 1
    same = sureness.Sureness("pK", np.ones(9), rng.random(9), "a", "b").told(None, 0, 0)
    assert same is not None and "all items are equally sure" in sureness.in_words(same)
    assert sureness.Sureness("pK", np.ones(2), np.full(2, np.nan), "a", "b").told(None, 0, 0) is None


def test_residuals_of_held_out_items_make_intervals_for_others() -> None:
    rng = np.random.default_rng(2)
    pred, target = rng.normal(size=(200, 1)), np.zeros((200, 1))
    target[7] = np.nan
    kept = calibrate({"pred": pred, "target": target}, [f"g{i % 40}" for i in range(200)], NUMBERS, "validation set")
    assert len(kept["pK"].residuals) == 199
    assert len(set(kept["pK"].groups)) == 40
    assert not any(name.startswith("g") and name[1:].isdigit() for name in kept["pK"].groups)
    other = {"pred": rng.normal(size=(500, 1)), "target": np.zeros((500, 1))}
    found = interval_scores(other, None, NUMBERS, kept, 50, 0)["pK"]
    for level in ("0.8", "0.9", "0.95"):
        assert found[level]["held"] == found[level]["held_by_group"]  # every item is a group
        assert abs(found[level]["held"]["value"] - float(level)) < 0.06
    assert found["0.8"]["width"] < found["0.9"]["width"] < found["0.95"]["width"]
    assert calibrate({"pred": pred, "target": target}, None, {"classes": ["a", "b"]}, "") == {}
