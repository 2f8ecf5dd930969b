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
    either_order,
    fit_kernel,
    group_folds,
    kernel,
    left_out,
    linear,
    predictors,
    size_model,
    slope_of,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
Y = np.sin(X[:, 0]) * 3 + X[:, 1] ** 2 - 10
ALIKE = ("counts",) * 5
GROUPS = np.array([f"group {number % 12}" for number in range(60)])


def test_what_is_not_linear_is_learnt() -> None:
    fit = fit_kernel(X, Y, ALIKE, [Choice(0.9, 10.0)])
    assert np.sqrt(np.mean((fit(X) - Y) ** 2)) < 0.5 * Y.std()


def test_labels_may_be_moved_and_stretched() -> None:
    assert fit_kernel(X, 7 * Y + 100, ALIKE, [Choice(), Choice(0.1)])(X) == pytest.approx(
        7 * fit_kernel(X, Y, ALIKE, [Choice(), Choice(0.1)])(X) + 100, abs=0.05
    )


def test_every_kind_of_descriptor_weighs_the_same_and_constants_nothing() -> None:
    before = np.concatenate([X[:, :1] * 1000, X[:, 1:4], X, np.ones((60, 1))], 1)
    scaling = Scaling.of(before, ("one", "many", "many", "many"))
    after = before.copy()
    after[:, -1] = 5  # what never changed in training says nothing
    found = scaling(after)
    spread = before[:, :4].std(0)
    apart = np.abs(before[:3, None, :4] - before[:, :4]) / spread
    descriptors, others = scaling.distances(found[:3], found)
    assert descriptors == pytest.approx((apart[..., 0] + apart[..., 1:].mean(-1)) / 2)
    assert (found[:, 4:] ** 2).sum(1).mean() == pytest.approx(1)
    assert not found[:, -1].any()
    assert others == pytest.approx(((found[:3, None, 4:] - found[:, 4:]) ** 2).sum(-1))
    alone = Scaling.of(X, ())
    assert not alone.distances(alone(X), alone(X))[0].any()


def test_a_block_of_noise_gets_no_share() -> None:
    both = np.concatenate([X, RNG.normal(size=(60, 5))], 1)
    assert choose_kernels(both, Y, GROUPS, ALIKE)[0].share == 0
    assert Choice(0.3, 1.0, 0.5).widths == (0.3, 0.15)


def test_the_prediction_is_the_mean_of_its_regressions() -> None:
    choices = [Choice(), Choice(0.9, 1.0)]
    single = [fit_kernel(X, Y, ALIKE[:2], [choice])(X) for choice in choices]
    assert fit_kernel(X, Y, ALIKE[:2], choices)(X) == pytest.approx(np.mean(single, axis=0))


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
    assert np.corrcoef(left_out(kernel(ALIKE), X, Y, GROUPS, 4, 1), Y)[0, 1] > 0.5


def test_all_predictors_are_fitted_to_what_their_name_says() -> None:
    descriptors = np.log1p(RNG.integers(0, 9, (30, len(NAMES))).astype(float))
    blocks = {"descriptors": descriptors, "representation": X[:30], "composition": RNG.integers(0, 4, (30, 6))}
    blocks["lead"] = RNG.normal(size=(30, 1))
    features = Features(np.arange(30).astype(str), GROUPS[:30], Y[:30], blocks)
    found = predictors(features)
    assert list(found)[-1] == CHOSEN
    assert found[CHOSEN][1].shape[1] == len(NAMES) + 5 + 1
    for fit, table in found.values():
        assert np.isfinite(fit(table, Y[:30], GROUPS[:30])(table)).all()
    column = NAMES.index("contacts charged-charged 5.5")
    assert contact_model(descriptors)[:, 0] == pytest.approx(np.expm1(descriptors[:, column]))
    assert size_model(descriptors).shape == (30, 4)


def test_predictions_do_not_depend_on_the_order_of_the_sides() -> None:
    """In these data the larger side comes first, and what it is like decides."""
    lead, representation = np.abs(RNG.normal(size=(60, 1))), RNG.normal(size=(60, 5))
    given = np.concatenate([X, representation, lead], 1)
    other = np.concatenate([X, representation[:, [0, 3, 4, 1, 2]], -lead], 1)
    fit = either_order(ALIKE)(given, representation[:, 1] * 4, GROUPS)
    assert fit(other) == pytest.approx(fit(given))
    certain = np.flatnonzero(lead[:, 0] > 1)
    assert np.corrcoef(fit(given)[certain], representation[certain, 1])[0, 1] > 0.5
    assert slope_of(lead[:, 0]) > 1 > abs(slope_of(RNG.normal(size=60)))
    assert slope_of(np.zeros(9)) == 0


def test_a_line_is_found_by_least_squares() -> None:
    assert linear(X, X @ np.arange(5) + 2, GROUPS)(X) == pytest.approx(X @ np.arange(5) + 2)
