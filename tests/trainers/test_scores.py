"""Scores agree with hand-worked values and with scikit-learn; what is undefined is NaN, silently."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, label_ranking_average_precision_score, roc_auc_score, top_k_accuracy_score

from trainers import metrics
from trainers.scores import (
    METRIC_DIRECTION,
    binary_metrics,
    bootstrap,
    multiclass_metrics,
    regression_metrics,
    retrieval_metrics,
    smaller_is_better,
    spearman_by_group,
    within_group_spearman,
)
from trainers.scores.classification import BINARY
from trainers.scores.regression import MEASURES

NAN = float("nan")
numbers = st.floats(-100, 100, width=32)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_regression_on_four_numbers():
    scores = regression_metrics(np.array([1.0, 2, 4, 3]), np.array([1.0, 2, 3, 4]))
    assert scores == pytest.approx(
        {"rmse": math.sqrt(0.5), "mae": 0.5, "pearson": 0.8, "spearman": 0.8, "kendall": 2 / 3}
        | {"smape": 1 / 14, "band_5pct": 0.5, "band_10pct": 0.5, "band_20pct": 0.5}
    )


def test_missing_targets_do_not_count():
    pred, target = np.array([1.0, 99, 2, 4]), np.array([1.0, NAN, 3, 5])
    assert regression_metrics(pred, target) == regression_metrics(pred[[0, 2, 3]], target[[0, 2, 3]])


def test_several_targets_are_scored_one_by_one_and_on_average():
    pred = np.array([[1.0, 0, 7], [2, 0, 7], [3, 0, 7]])
    target = np.array([[2.0, 3, NAN], [3, 3, NAN], [4, NAN, NAN]])
    scores = regression_metrics(pred, target, ["kd", "ki", "none"])
    assert (scores["rmse/kd"], scores["rmse/ki"], scores["rmse"]) == (1, 3, 2)
    assert math.isnan(scores["rmse/none"]) and math.isnan(scores["pearson/ki"])
    assert scores["pearson"] == scores["pearson/kd"] == pytest.approx(1)
    with pytest.raises(ValueError, match="zip"):
        regression_metrics(pred, target, ["kd"])


def test_one_column_is_one_target():
    pred, target = np.array([[1.0], [2], [4]]), np.array([[1.0], [3], [4]])
    assert regression_metrics(pred, target, ["kd"]) == regression_metrics(pred[:, 0], target[:, 0])


def test_regression_golden():
    """The worked example of the losses: relative errors 1/6, 0 and 2."""
    scores = regression_metrics(np.array([7.0, 8, -3]), np.array([6.0, 8, -1]))
    assert (scores["mae"], scores["rmse"]) == pytest.approx((1, math.sqrt(5 / 3)))
    assert scores["smape"] == pytest.approx(0.192308, abs=5e-7)
    assert [scores[f"band_{p}pct"] for p in (5, 10, 20)] == pytest.approx([1 / 3, 1 / 3, 2 / 3])


def test_metrics_are_found_where_the_other_metrics_are():
    assert (metrics.regression_metrics, metrics.classification_metrics) == (regression_metrics, multiclass_metrics)


def test_macro_f1_vs_sklearn():
    rng = np.random.default_rng(0)
    prob, label = rng.dirichlet(np.ones(4), 30), rng.integers(0, 3, 30).astype(float)
    said = prob.argmax(1)
    scores = multiclass_metrics(prob, label)
    each = f1_score(label, said, labels=[0, 1, 2], average=None, zero_division=0)
    assert 3 in said and scores["f1_macro"] == pytest.approx(each.mean())
    assert scores["macro_f1"] == pytest.approx(f1_score(label, said, average="macro", zero_division=0))


@pytest.mark.parametrize(
    ("pred", "target", "undefined"),
    [
        ([], [], set(MEASURES)),
        ([1.0], [NAN], set(MEASURES)),
        ([1.0], [2.0], {"pearson", "spearman", "kendall"}),
        ([1.0, 1, 1], [1.0, 2, 3], {"pearson", "spearman", "kendall"}),
        ([1.0, 2, 3], [5.0, 5, 5], {"pearson", "spearman", "kendall"}),
        ([1.0, NAN, 3], [1.0, 2, 3], set(MEASURES)),
        ([1.0, 1 + 1e-15, 1], [1.0, 2, 3], set()),
    ],
)
def test_undefined_regression_scores_are_nan(pred, target, undefined):
    scores = regression_metrics(np.array(pred), np.array(target))
    assert {name for name, value in scores.items() if math.isnan(value)} == undefined


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.integers(3, 12), elements=numbers), st.integers(0, 99))
def test_ranks_and_linear_changes(target, seed):
    pred = np.random.default_rng(seed).normal(size=len(target))
    scores, stretched = regression_metrics(pred, target), regression_metrics(3 * pred + 7, target)
    order = np.random.default_rng(seed).permutation(len(target))
    for name in ("pearson", "spearman", "kendall"):
        assert stretched[name] == pytest.approx(scores[name], abs=1e-6, nan_ok=True)
    assert regression_metrics(pred[order], target[order]) == pytest.approx(scores, abs=1e-9, nan_ok=True)
    assert scores["mae"] <= scores["rmse"] + 1e-9
    assert regression_metrics(target, target)["rmse"] == 0


def test_ranking_inside_groups_ignores_what_separates_groups():
    groups = ["a"] * 5 + ["b"] * 5 + ["small"] * 4 + ["flat"] * 5
    target = np.array([*range(5), *range(100, 105), *range(4), *[1] * 5], float)
    pred = np.array([*range(5), *range(104, 99, -1), *range(4), *range(5)], float)
    assert spearman_by_group(pred, target, groups) == pytest.approx({"a": 1, "b": -1})
    scores = within_group_spearman(pred, target, groups)
    assert scores == pytest.approx({"within_group_spearman": 0, "within_group_spearman_median": 0})
    with_small = within_group_spearman(pred, target, groups, least=4)
    assert with_small == pytest.approx({"within_group_spearman": 1 / 3, "within_group_spearman_median": 1})
    assert all(map(math.isnan, within_group_spearman(pred[:3], target[:3], groups[:3]).values()))


def test_two_classes_on_four_items():
    scores = binary_metrics(np.array([0.9, 0.4, 0.6, 0.1]), np.array([1, 1, 0, 0]))
    assert scores == pytest.approx(
        {"auroc": 0.75, "average_precision": 5 / 6, "f1": 0.5, "mcc": 0, "accuracy": 0.5, "f1_macro": 0.5}
    )


def test_logits_are_cut_at_zero_and_missing_labels_left_out():
    scores = binary_metrics(np.array([2.0, -0.5, 0.2, -3, 9]), np.array([1, 1, 0, 0, NAN]))
    assert scores == pytest.approx(binary_metrics(np.array([0.9, 0.4, 0.6, 0.1]), np.array([1, 1, 0, 0])))
    assert binary_metrics(np.array([0.2, 0.1]), np.array([1, 0]), threshold=0.15)["accuracy"] == 1


@pytest.mark.parametrize(
    ("score", "label", "undefined"),
    [
        ([], [], set(BINARY)),
        ([0.2, NAN], [0, 1], set(BINARY)),
        ([0.2, 0.9], [0, 0], {"auroc", "average_precision", "f1", "mcc"}),
        ([0.2, 0.9], [1, 1], {"auroc", "average_precision", "mcc"}),
        ([0.3, 0.3], [0, 1], {"mcc"}),
    ],
)
def test_undefined_scores_of_two_classes_are_nan(score, label, undefined):
    scores = binary_metrics(np.array(score), np.array(label))
    assert {name for name, value in scores.items() if math.isnan(value)} == undefined


def test_three_classes_of_which_two_occur():
    prob = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.3, 0.6]])
    scores = multiclass_metrics(prob, np.array([0, 0, 1, 1]), ["zn", "ca", "mg"])
    assert (scores["accuracy"], scores["balanced_accuracy"]) == (0.5, 0.5)
    assert (scores["accuracy/zn"], scores["accuracy/ca"]) == (1, 0) and math.isnan(scores["accuracy/mg"])
    assert scores["macro_f1"] == pytest.approx((0.8 + 0 + 0) / 3)
    assert scores["auroc"] == pytest.approx((roc_auc_score([1, 1, 0, 0], prob[:, 0]) + 0.875) / 2)


def test_two_columns_equal_two_classes():
    rng = np.random.default_rng(0)
    p, label = rng.random(50), rng.integers(0, 2, 50)
    two, several = binary_metrics(p, label), multiclass_metrics(np.stack([1 - p, p], 1), label)
    assert several["auroc"] == pytest.approx(two["auroc"]) and several["mcc"] == pytest.approx(two["mcc"])
    assert several["accuracy"] == two["accuracy"]


@pytest.mark.parametrize(("prob", "label"), [(np.zeros((0, 3)), []), (np.full((2, 3), NAN), [0, 1])])
def test_nothing_to_score_gives_nan_under_every_name(prob, label):
    scores = multiclass_metrics(prob, np.array(label))
    assert all(map(math.isnan, scores.values())) and {"mcc", "accuracy/2"} < scores.keys()
    one_class = multiclass_metrics(np.eye(3)[[0, 0]], np.array([0, 0]))
    assert one_class["accuracy"] == 1 and math.isnan(one_class["auroc"]) and math.isnan(one_class["mcc"])


def test_retrieval_agrees_with_scikit_learn_and_hand():
    similarity = np.array([[3.0, 1, 2], [5, 4, 3], [1, 2, 0]])  # ranks 1, 2, 3
    scores = retrieval_metrics(similarity)
    assert scores["recall_at_1"] == pytest.approx(1 / 3) and scores["recall_at_5"] == 1
    assert scores["mean_reciprocal_rank"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    large = np.random.default_rng(1).normal(size=(40, 40)) + np.eye(40)
    scores = retrieval_metrics(large)
    for k in (1, 5, 10):
        assert scores[f"recall_at_{k}"] == top_k_accuracy_score(range(40), large, k=k)
    assert scores["mean_reciprocal_rank"] == pytest.approx(label_ranking_average_precision_score(np.eye(40), large))


def test_a_collapsed_model_retrieves_nothing():
    assert retrieval_metrics(np.ones((20, 20)))["recall_at_10"] == 0
    assert all(map(math.isnan, retrieval_metrics(np.ones((1, 1))).values()))
    with pytest.raises(ValueError, match="square"):
        retrieval_metrics(np.ones((2, 3)))


def mean(values):
    return {"mean": float(values.mean())}


def test_intervals_of_a_mean_are_those_of_theory():
    values = np.random.default_rng(3).normal(5, 2, 400)
    interval = bootstrap(mean, values)["mean"]
    assert interval.value == values.mean()
    assert interval.low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.03)
    assert bootstrap(mean, values, n=50) == bootstrap(mean, values, n=50) != bootstrap(mean, values, n=50, seed=1)


def test_whole_groups_are_resampled():
    values, groups = np.repeat([0.0, 1, 2, 3], 25), np.repeat(list("abcd"), 25)
    by_item, by_group = (bootstrap(mean, values, groups=g, n=400)["mean"] for g in (None, groups))
    assert by_group.high - by_group.low > 2 * (by_item.high - by_item.low)
    single = bootstrap(mean, values, groups=["one"] * 100, n=20)["mean"]
    assert single.value == 1.5 and np.isnan([single.low, single.high]).all()  # one group says nothing of others


def test_arrays_are_resampled_together():
    pred = np.arange(20.0)
    interval = bootstrap(regression_metrics, pred, pred + 1, n=30)
    assert interval["rmse"] == (1, 1, 1) and interval["pearson"].low == pytest.approx(1)


def test_resamples_without_a_score_do_not_count():
    label = np.array([1, *[0] * 19])
    scores = bootstrap(binary_metrics, np.linspace(1, 0, 20), label, n=100)
    assert scores["auroc"] == (1, 1, 1)
    never = bootstrap(binary_metrics, np.array([0.2, 0.7]), np.array([0, 0]), n=10)["auroc"]
    assert all(map(math.isnan, never))
    assert all(map(math.isnan, bootstrap(regression_metrics, np.zeros(0), np.zeros(0), n=5)["rmse"]))


def test_every_score_has_a_direction():
    rng = np.random.default_rng(0)
    target = rng.random((8, 2))
    made = (
        regression_metrics(target, target, ["a", "b"]).keys() | binary_metrics(target[:, 0], target[:, 1] > 0.5).keys()
    )
    made |= multiclass_metrics(target, np.arange(8) % 2).keys() | retrieval_metrics(np.eye(3)).keys()
    made |= within_group_spearman(target[:, 0], target[:, 1], ["g"] * 8).keys()
    assert {name.partition("/")[0] for name in made} <= METRIC_DIRECTION.keys()
    assert smaller_is_better("rmse/a") and smaller_is_better("loss") and not smaller_is_better("accuracy/ZN")
