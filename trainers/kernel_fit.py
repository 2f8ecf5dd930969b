"""Fit small regressors to features of interfaces, and measure them on groups that they have not seen.

Support vector regression with a Gaussian kernel; its width, penalty and mixture of features are chosen by inner folds
of whole groups, so that what is measured on the outer folds has played no part. Everything else here is a floor to
compare it with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVR

from configs.errors import DataError
from data.descriptors import NAMES
from trainers.baselines import forest_predictor

WIDTHS, PENALTIES = (0.03, 0.1, 0.3, 0.9), (0.3, 1.0, 3.0, 10.0)
SHARES = (0.0, 0.3, 1.0)  # of the blocks of features behind the first, in the squared distance
INSENSITIVE = 0.17  # errors that cost nothing, in deviations of the labels: half a kcal/mol or so
INNER_FOLDS = 4
CONSTANT = 1e-9  # a smaller deviation is rounding
CONTACT_MODEL = ("charged-charged", "apolar-charged", "polar-polar", "apolar-polar")
"""Contacts of the linear model of Vangone and Bonvin, eLife 2015;4:e07454 (it has the surface outside as well)."""

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""(features, labels, groups) of the training items -> features -> predictions."""


class Features(NamedTuple):
    """Of a data set.

    Attributes:
        ids, groups, labels: [items]. blocks: name -> [items, n] numbers: descriptors, representation.
    """

    ids: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    blocks: Mapping[str, np.ndarray]

    def joined(self, names: Sequence[str]) -> np.ndarray:
        """[items, n] some blocks side by side."""
        return np.concatenate([self.blocks[name] for name in names], 1)


@dataclass(frozen=True)
class Scaling:
    """Brings features to one scale: every feature of a block weighs the same, and all blocks do, or by their shares.

    Attributes:
        centre, scale: [features]; the scale of what never changes is 0.
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, sizes: Sequence[int], share: float = 1.0) -> "Scaling":
        """sizes: number of features of each block. share: of the blocks behind the first."""
        deviation = features.std(axis=0)
        moving = deviation > CONSTANT * np.maximum(1, np.abs(features).max(axis=0))
        number = np.concatenate([np.full(n, max(moving[start : start + n].sum(), 1)) for start, n in spans(sizes)])
        scale = np.where(moving, 1 / np.where(moving, deviation * np.sqrt(number), 1), 0)
        scale[sizes[0] :] *= np.sqrt(share)
        return cls(features.mean(axis=0), scale)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.centre) * self.scale


def spans(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(start, length) of blocks that lie one after another."""
    return list(zip(np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int).tolist(), sizes))


@dataclass(frozen=True)
class KernelFit:
    """A fitted kernel regression.

    Attributes:
        scaling: of features. supports: [supports, features] scaled. weights: [supports]. intercept: a label.
        width: factor of the squared distance.
    """

    scaling: Scaling
    supports: np.ndarray
    weights: np.ndarray
    intercept: float
    width: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[items] predictions."""
        distance = cdist(self.scaling(features), self.supports, "sqeuclidean")
        return np.exp(-self.width * distance) @ self.weights + self.intercept


class Choice(NamedTuple):
    """What is chosen for a kernel regression.

    Attributes:
        width: factor of the squared distance. penalty: C, in deviations of the labels. share: see `Scaling.of`.
    """

    width: float = 0.3
    penalty: float = 3.0
    share: float = 1.0


def fit_kernel(features: np.ndarray, labels: np.ndarray, sizes: Sequence[int], choice: Choice) -> KernelFit:
    """Fit with given options.

    Args:
        features: [items, n]. labels: [items]. sizes: number of features of each block, see `Scaling`.
    """
    scaling = Scaling.of(features, sizes, choice.share)
    own = scaling(features)
    likeness = np.exp(-choice.width * cdist(own, own, "sqeuclidean"))
    places, weights, intercept = solved(likeness, labels, choice.penalty)
    return KernelFit(scaling, own[places], weights, intercept, choice.width)


def solved(likeness: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Places of the supports, their weights, and the intercept."""
    mean, deviation = labels.mean(), max(labels.std(), CONSTANT)
    machine = SVR(kernel="precomputed", C=penalty, epsilon=INSENSITIVE).fit(likeness, (labels - mean) / deviation)
    return machine.support_, machine.dual_coef_[0] * deviation, float(machine.intercept_[0] * deviation + mean)


def choose_kernel(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, sizes: Sequence[int], seed: int = 0
) -> Choice:
    """The options with the smallest squared error over inner folds of whole groups."""
    cost = {Choice(*some): 0.0 for some in product(WIDTHS, PENALTIES, SHARES if len(sizes) > 1 else (1.0,))}
    for test in group_folds(groups, INNER_FOLDS, seed):
        for share in {choice.share for choice in cost}:
            scaling = Scaling.of(features[~test], sizes, share)
            known, asked = scaling(features[~test]), scaling(features[test])
            inside, across = cdist(known, known, "sqeuclidean"), cdist(asked, known, "sqeuclidean")
            for choice in (one for one in cost if one.share == share):
                places, weights, intercept = solved(np.exp(-choice.width * inside), labels[~test], choice.penalty)
                pred = np.exp(-choice.width * across[:, places]) @ weights + intercept
                cost[choice] += float(((pred - labels[test]) ** 2).sum())
    return min(cost, key=lambda choice: cost[choice])


def group_folds(groups: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
    """[items] masks of the test items of n folds of whole groups, shuffled.

    Raises:
        DataError: a single group.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise DataError("are all of one group; two or more are needed to leave groups out", "items")
    mixed = np.random.default_rng(seed).permutation(names)
    return [np.isin(groups, some) for some in np.array_split(mixed, min(n, len(names)))]


def left_out(fit: Fit, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, n: int, seed: int) -> np.ndarray:
    """[items] predictions for every item by a fit that has not seen its group."""
    found = np.full(len(labels), np.nan)
    for test in group_folds(groups, n, seed):
        found[test] = fit(features[~test], labels[~test], groups[~test])(features[test])
    return found


def kernel(sizes: Sequence[int], seed: int = 0) -> Fit:
    """Kernel regression whose options are chosen inside of the training items."""

    def fit(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> KernelFit:
        return fit_kernel(features, labels, sizes, choose_kernel(features, labels, groups, sizes, seed))

    return fit


def linear(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Least squares."""
    return LinearRegression().fit(features, labels).predict


def trees(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Extremely randomised trees."""
    return forest_predictor("regression").fit(features, labels).predict


def mean(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The mean label."""
    return lambda asked: np.full(len(asked), labels.mean())


def contact_model(descriptors: np.ndarray) -> np.ndarray:
    """[items, 4] the numbers of contacts that the published linear model uses, from signed logarithms."""
    columns = [NAMES.index(f"contacts {kind} 5.5") for kind in CONTACT_MODEL]
    return np.expm1(descriptors[:, columns])


def size_model(descriptors: np.ndarray) -> np.ndarray:
    """[items, 4] logarithms of the numbers of atoms and blocks of either side."""
    names = [f"{what} of {side} side" for side in ("larger", "smaller") for what in ("atoms", "blocks")]
    return descriptors[:, [NAMES.index(name) for name in names]]


def predictors(features: Features) -> dict[str, tuple[Fit, np.ndarray]]:
    """Name of each regressor -> how it is fitted, and to what."""
    d, r = features.blocks["descriptors"], features.blocks["representation"]
    both = features.joined(("descriptors", "representation"))
    return {
        "mean": (mean, d),
        "sizes, linear": (linear, size_model(d)),
        "contacts by class, linear": (linear, contact_model(d)),
        "descriptors, trees": (trees, d),
        "descriptors, kernel": (kernel([d.shape[1]]), d),
        "frozen representation, kernel": (kernel([r.shape[1]]), r),
        CHOSEN: (kernel([d.shape[1], r.shape[1]]), both),
    }


CHOSEN = "descriptors and frozen representation, kernel"
"""The regressor that is kept."""
