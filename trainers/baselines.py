"""Trivial predictors, fitted by scikit-learn on features that need no geometric model: the floor of every task."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from configs.errors import DataError

REGRESSION, BINARY, MULTICLASS = "regression", "binary_classifier", "multiclass_classifier"
MULTILABEL = "multilabel"
TASKS = (REGRESSION, BINARY, MULTICLASS, MULTILABEL)
STRENGTHS = np.logspace(-1, 5, 13)  # of the ridge penalty
WEAKNESSES = np.logspace(-3, 0, 4)  # inverse penalties of the logistic regression
INNER_FOLDS, TREES, LEAST_LEAF = 3, 200, 3


def mean_predictor(task: str) -> DummyRegressor | DummyClassifier:
    """The mean of the training labels, or the share of each class."""
    return DummyRegressor() if task == REGRESSION else DummyClassifier(strategy="prior")


def linear_predictor(task: str, groups: np.ndarray) -> GridSearchCV:
    """Ridge or logistic regression on standardised features; the penalty is chosen by folds of whole groups."""
    folds = GroupKFold(min(INNER_FOLDS, len(set(groups.tolist()))))
    if task == REGRESSION:
        model: Pipeline = make_pipeline(VarianceThreshold(), StandardScaler(), Ridge())
        return GridSearchCV(model, {"ridge__alpha": STRENGTHS}, cv=folds, scoring="neg_mean_squared_error")
    model = make_pipeline(VarianceThreshold(), StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
    return GridSearchCV(model, {"logisticregression__C": WEAKNESSES}, cv=folds, scoring="balanced_accuracy")


def forest_predictor(task: str, seed: int = 0) -> ExtraTreesRegressor | ExtraTreesClassifier:
    """Extremely randomised trees, which also find what is not linear."""
    options = {"n_estimators": TREES, "min_samples_leaf": LEAST_LEAF, "max_features": 0.3, "random_state": seed}
    return ExtraTreesRegressor(**options) if task == REGRESSION else ExtraTreesClassifier(**options)


def check_labels(task: str, labels: np.ndarray, n_classes: int) -> None:
    """Refuse training labels that nothing can be learnt from.

    Raises:
        DataError: no label, class numbers that are none, or a single class.
    """
    if not len(labels):
        raise DataError("holds no labels", "training set")
    if task == REGRESSION:
        return
    numbers = set(labels.tolist())
    if not numbers <= set(map(float, range(n_classes))):
        odd = sorted(numbers - set(map(float, range(n_classes))))
        raise DataError(f"has labels that are no numbers of {n_classes} classes: {odd[:5]}", "training set")
    if len(numbers) < 2:
        raise DataError("has labels of one class only", "training set")


def fit_predict(
    kind: str,
    task: str,
    train: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    test: np.ndarray,
    n_classes: int = 2,
    seed: int = 0,
) -> np.ndarray:
    """Fit on training features and predict for test features.

    Args:
        kind: `mean`, `linear` or `forest`. train, test: [items, features]. labels: [train items]; NaN is left out.
        groups: [train items], for the choice of the penalty.

    Returns:
        [test items] values or probabilities of class 1, or [test items, n_classes] probabilities.

    Raises:
        DataError: see `check_labels`; fewer than two groups.
    """
    there = np.isfinite(labels)
    train, labels, units = train[there], labels[there], np.asarray(groups, object)[there].astype(str)
    check_labels(task, labels, n_classes)
    if kind == "linear" and len(set(units.tolist())) < 2:
        raise DataError("has one group only; two are needed to choose a penalty", "training set")
    predictors = {"mean": mean_predictor, "forest": lambda task: forest_predictor(task, seed)}
    model = linear_predictor(task, units) if kind == "linear" else predictors[kind](task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about iterations, and classes that a fold lacks
        model.fit(train, labels, **({"groups": units} if kind == "linear" else {}))
    if task == REGRESSION:
        return model.predict(test)
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_.astype(int)] = model.predict_proba(test)
    return probabilities[:, 1] if task == BINARY else probabilities


def fit_predict_sets(
    kind: str,
    train: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    test: np.ndarray,
    seed: int = 0,
) -> np.ndarray:
    """`fit_predict` for each label by itself; one that holds in a single group is predicted by its frequency.

    Args:
        labels: [train items, labels] 0 or 1; NaN is left out. Others as for `fit_predict`.

    Returns:
        [test items, labels] probabilities.

    Raises:
        DataError: a label that holds for all training items, or for none.
    """
    found = []
    for column in labels.T:
        rare = len(set(groups[column == 1].tolist())) < 2 or len(set(groups[column == 0].tolist())) < 2
        found.append(fit_predict("mean" if rare else kind, BINARY, train, column, groups, test, seed=seed))
    return np.stack(found, axis=1)


def plan(features: Mapping[str, np.ndarray]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name of each baseline -> kind of predictor, and the features it sees."""
    plain = [name for name in features if name != "embedding"]
    rows: dict[str, tuple[str, tuple[str, ...]]] = {"mean": ("mean", (plain[0],))}
    rows |= {name: ("linear", (name,)) for name in plain}
    rows["all of these, trees"] = ("forest", tuple(plain))
    if "embedding" in features:
        rows["frozen embedding"] = ("linear", ("embedding",))
        rows["frozen embedding, trees"] = ("forest", ("embedding",))
        rows["frozen embedding and all, trees"] = ("forest", (*plain, "embedding"))
    return rows
