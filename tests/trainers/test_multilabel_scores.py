"""Scores of sets of labels agree with scikit-learn; labels without a positive take no part, and that is told."""

import math
import warnings

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, label_ranking_average_precision_score

from trainers.scores import multilabel_metrics, smaller_is_better
from trainers.scores.multilabel import average_precisions, top_recall

NAN = float("nan")


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_set(seed: int, items: int = 60, labels: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and labels; each holds for an item and not for another."""
    rng = np.random.default_rng(seed)
    label = (rng.random((items, labels)) < 0.3).astype(float)
    label[0], label[1] = 0, 1
    return rng.integers(0, 8, (items, labels)) / 8, label


def test_map_golden() -> None:
    found = average_precisions(np.array([[0.9], [0.8], [0.7], [0.1]]), np.array([[1.0], [0], [1], [0]]))
    assert found.tolist() == pytest.approx([0.833333], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    prob, label = random_set(seed)
    scores = multilabel_metrics(prob, label)
    each = [average_precision_score(label[:, column], prob[:, column]) for column in range(7)]
    assert [scores[f"ap/{column}"] for column in range(7)] == pytest.approx(each)
    assert scores["macro_ap"] == pytest.approx(average_precision_score(label, prob, average="macro"))
    assert scores["micro_ap"] == pytest.approx(average_precision_score(label, prob, average="micro"))
    some = label.any(axis=1)
    assert scores["sample_ap"] == pytest.approx(label_ranking_average_precision_score(label[some], prob[some]))
    assert scores["f1"] == pytest.approx(f1_score(label, prob > 0.5, average="micro"))
    assert scores["f1_10pct"] == pytest.approx(f1_score(label, prob > 0.1, average="micro"))


def test_unknown_labels_count_nowhere() -> None:
    prob, label = random_set(4)
    label[5:20, 2] = NAN
    kept = np.isfinite(label[:, 2])
    scores = multilabel_metrics(prob, label)
    assert scores["ap/2"] == pytest.approx(average_precision_score(label[kept, 2], prob[kept, 2]))
    known = np.isfinite(label)
    assert scores["micro_ap"] == pytest.approx(average_precision_score(label[known], prob[known]))
    changed = np.where(known, prob, 1 - prob)
    assert multilabel_metrics(changed, label) == pytest.approx(scores)


def test_a_label_without_a_positive_is_not_scored() -> None:
    prob, label = random_set(5)
    label[:, 3], label[:, 4] = 0, 1
    scores = multilabel_metrics(prob, label, list("abcdefg"))
    assert scores["labels_scored"] == 5
    assert math.isnan(scores["ap/d"]) and math.isnan(scores["ap/e"])
    assert scores["macro_ap"] == pytest.approx(np.mean([scores[f"ap/{name}"] for name in "abcfg"]))


def test_nothing_to_score_is_nan() -> None:
    names = ["a", "b"]
    whole = multilabel_metrics(*random_set(0, labels=2), names, [0.5, 0.1])
    for prob, label in ((np.zeros((0, 2)), np.zeros((0, 2))), (np.zeros((3, 2)), np.full((3, 2), NAN))):
        scores = multilabel_metrics(prob, label, names, [0.5, 0.1])
        assert scores.keys() == whole.keys()
        assert all(math.isnan(value) for value in scores.values())
    negative = multilabel_metrics(np.full((3, 2), 0.2), np.zeros((3, 2)), names)
    assert math.isnan(negative["macro_ap"]) and math.isnan(negative["f1"]) and negative["labels_scored"] == 0


def test_the_frequency_is_what_a_model_has_to_beat() -> None:
    """It gives every item the same, so a label's average precision is its share, and items share one ranking."""
    prob, label = random_set(6)
    frequency = label.mean(axis=0)
    scores = multilabel_metrics(prob, label, frequency=frequency)
    assert scores["macro_ap_by_frequency"] == pytest.approx(frequency.mean())
    some = label.any(axis=1)
    same = np.broadcast_to(frequency, label.shape)
    wanted = label_ranking_average_precision_score(label[some], same[some])
    assert scores["sample_ap_by_frequency"] == pytest.approx(wanted)
    assert multilabel_metrics(label, label)["macro_ap"] == 1


def test_recall_of_the_likeliest_works_with_fewer_labels_than_ten() -> None:
    label = np.array([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])
    prob = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.1], [1, 1, 1]])
    assert top_recall(prob, label) == 1
    assert top_recall(prob, label, k=2) == pytest.approx((0.5 + 0) / 2)


def test_every_score_has_a_direction() -> None:
    names = multilabel_metrics(*random_set(0), frequency=np.ones(7))
    assert not any(smaller_is_better(name) for name in names)
