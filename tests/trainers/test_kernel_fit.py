"""Small regressors: what they learn, what they may not see, and how blocks of features are weighed."""

import numpy as np
import pytest

from configs.errors import DataError
from data.descriptors import NAMES
from trainers.kernel_fit import (
    CHOSEN,
    Choice,
    Features,
    Scaling,
    choose_kernels,
    contact_model,
    fit_kernel,
    group_folds,
    kernel,
    left_out,
    linear,
    predictors,
    size_model,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
Y = np.sin(X[:, 0]) * 3 + X[:, 1] ** 2 - 10
GROUPS = np.array([f"group {number % 12}" for number in range(60)])


def test_what_is_not_linear_is_learnt() -> None:
    fit = fit_kernel(X, Y, 5, [Choice(0.9, 10.0)])
    assert np.sqrt(np.mean((fit(X) - Y) ** 2)) < 0.5 * Y.std()


def test_labels_may_be_moved_and_stretched() -> None:
    assert fit_kernel(X, 7 * Y + 100, 5, [Choice(), Choice(0.1)])(X) == pytest.approx(
        7 * fit_kernel(X, Y, 5, [Choice(), Choice(0.1)])(X) + 100, abs=0.05
    )


def test_both_blocks_of_features_have_the_same_size_and_constants_none() -> None:
    before = np.concatenate([X[:, :1] * 1000, X[:, 1:], np.ones((60, 1))], 1)
    scaling = Scaling.of(before, 1)
    after = before.copy()
    after[:, -1] = 5  # what never changed in training says nothing
    found = scaling(after)
    assert (found[:, :1] ** 2).sum(1).mean() == pytest.approx(1)
    assert (found[:, 1:] ** 2).sum(1).mean() == pytest.approx(1)
    assert not found[:, -1].any()
    distances = scaling.distances(found[:3], found)
    assert distances.sum(0) == pytest.approx(((found[:3, None] - found) ** 2).sum(-1))


def test_a_block_of_noise_gets_no_share() -> None:
    both = np.concatenate([X, RNG.normal(size=(60, 5))], 1)
    assert choose_kernels(both, Y, GROUPS, 5)[0].share == 0
    assert Choice(0.3, 1.0, 0.5).widths == (0.3, 0.15)


def test_the_prediction_is_the_mean_of_its_regressions() -> None:
    choices = [Choice(), Choice(0.9, 1.0)]
    single = [fit_kernel(X, Y, 2, [choice])(X) for choice in choices]
    assert fit_kernel(X, Y, 2, choices)(X) == pytest.approx(np.mean(single, axis=0))


def test_folds_hold_whole_groups_and_every_item_once() -> None:
    folds = group_folds(GROUPS, 5, 0)
    assert np.sum(folds, axis=0).tolist() == [1] * 60
    assert all(not set(GROUPS[test]) & set(GROUPS[~test]) for test in folds)
    assert len(group_folds(GROUPS, 99, 0)) == 12
    with pytest.raises(DataError, match="one group"):
        group_folds(np.full(5, "a"), 3, 0)


def test_no_item_is_predicted_by_a_fit_that_saw_its_group() -> None:
    """A fit that knows the labels of what it saw, and says 0 for others, never gets to use them."""

    def lookup(features, labels, groups):  # type: ignore[no-untyped-def]
        known = {tuple(row): label for row, label in zip(features.tolist(), labels)}
        return lambda asked: np.array([known.get(tuple(row), 0.0) for row in asked.tolist()])

    assert not left_out(lookup, np.arange(60)[:, None].astype(float), Y, GROUPS, 4, 1).any()
    assert np.corrcoef(left_out(kernel(5), X, Y, GROUPS, 4, 1), Y)[0, 1] > 0.5


def test_all_predictors_are_fitted_to_what_their_name_says() -> None:
    descriptors = np.log1p(RNG.integers(0, 9, (30, len(NAMES))).astype(float))
    blocks = {"descriptors": descriptors, "representation": X[:30], "composition": RNG.integers(0, 4, (30, 6))}
    features = Features(np.arange(30).astype(str), GROUPS[:30], Y[:30], blocks)
    found = predictors(features)
    assert list(found)[-1] == CHOSEN
    assert found[CHOSEN][1].shape[1] == len(NAMES) + 5
    for fit, table in found.values():
        assert np.isfinite(fit(table, Y[:30], GROUPS[:30])(table)).all()
    column = NAMES.index("contacts charged-charged 5.5")
    assert contact_model(descriptors)[:, 0] == pytest.approx(np.expm1(descriptors[:, column]))
    assert size_model(descriptors).shape == (30, 4)


def test_a_line_is_found_by_least_squares() -> None:
    assert linear(X, X @ np.arange(5) + 2, GROUPS)(X) == pytest.approx(X @ np.arange(5) + 2)
